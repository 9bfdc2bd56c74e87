//! A service that is not awaited does nothing, a delivery that is not settled counts as a failure.
#![deny(unused_must_use)]

use valkey_receiver::{Message, Outcome, Receiver};

async fn handle(_: Message) -> Outcome {
    Outcome::nack("later");
    Outcome::Ack
}

async fn forgets(receiver: Receiver) {
    receiver.serve(handle);
}

fn main() {
    drop(forgets);
}
