// One call at a time.
async fn both(mut connection: valkey_connection::DedicatedConnection) {
    let first = connection.execute(valkey_connection::Command::new("PING"));
    let second = connection.execute(valkey_connection::Command::new("PING"));
    let _ = (first.await, second.await);
}

fn main() {}
