//! A function that is not async, one that answers a number, a closure that does not name its argument's type.

use valkey_receiver::{Message, Outcome, Receiver};

fn not_async(_: Message) -> Outcome {
    Outcome::Ack
}

async fn number(_: Message) -> u32 {
    7
}

async fn serves(a: Receiver, b: Receiver) {
    let _ = a.serve(not_async);
    let _ = b.serve(number);
}

fn main() {
    drop(serves);
}
