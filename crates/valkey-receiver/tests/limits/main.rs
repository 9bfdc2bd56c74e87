//! What an operator's limits, and clocks that are wrong, do to consumers at work: they hold, and no message pays for it.
#![allow(clippy::unwrap_used)]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/fleet.rs"]
mod fleet;
#[path = "../support/hand.rs"]
mod hand;
#[path = "../support/ledger.rs"]
mod ledger;
#[path = "../support/mod.rs"]
mod support;

mod caps;
mod clients;
mod leaps;
mod pause;
mod worker;

/// Ten times as much of everything.
fn scale() -> u32 {
    if valkey_testkit::is_long() { 10 } else { 1 }
}

/// A consumer, if this process is to be one.
#[test]
fn consumer_process() {
    if let Some(part) = child::Part::given() {
        worker::live(part);
    }
}
