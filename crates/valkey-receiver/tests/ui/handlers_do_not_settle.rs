//! The receiver settles with the handler's outcome; a handler that could settle, too, would do it twice.

use valkey_receiver::{Handler, Message, Outcome};

async fn settles(message: Message) -> Outcome {
    message.ack().await;
    Outcome::Ack
}

fn main() {
    fn takes(_: impl Handler) {}
    takes(settles);
}
