// A blocking call would stop everybody on the shared connection: it exists on dedicated ones only.
async fn park(connection: valkey_connection::Connection) {
    let _ = connection.blocking_move("source", "destination", std::time::Duration::from_secs(1)).await;
}

fn main() {}
