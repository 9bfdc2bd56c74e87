//! Two versions on one queue: other scripts, a newer format of the queue, newer envelopes.
#![allow(clippy::unwrap_used)]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/hand.rs"]
mod hand;
#[path = "../support/ledger.rs"]
mod ledger;
#[path = "../support/mod.rs"]
mod support;

mod envelopes;
mod format;
mod other;
mod scripts;

/// The consumers of the present version that are killed.
#[test]
fn consumer_process() {
    let Some(part) = child::Part::given() else { return };
    scripts::play(part);
}
