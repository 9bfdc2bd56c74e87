//! Settling consumes the delivery: twice does not compile.

use valkey_receiver::Delivery;

async fn twice(delivery: Delivery) {
    let _ = delivery.ack().await;
    let _ = delivery.snooze(std::time::Duration::ZERO).await;
}

fn main() {
    drop(twice);
}
