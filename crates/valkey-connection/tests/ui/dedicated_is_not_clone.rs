// Two owners of one blocking connection would wait for each other.
fn share(connection: valkey_connection::DedicatedConnection) {
    let _ = connection.clone();
}

fn main() {}
