//! A route's first argument is a payload to be decoded.

use valkey_receiver::{Message, Router};

async fn whole(_: Message) {}

struct Opaque;

async fn opaque(_: Opaque) {}

fn main() {
    let _ = Router::new().kind("a", whole);
    let _ = Router::new().kind("b", opaque);
}
