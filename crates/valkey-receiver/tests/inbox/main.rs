//! Handlers behind an inbox, whose consumers are killed, stopped and flooded with duplicates; how often each effect
//! happened is counted where it happened.
#![allow(clippy::unwrap_used)]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/mod.rs"]
mod support;

mod consumer;
mod kills;
mod marks;
mod rollback;
mod sleepers;
mod store;
mod writes;

/// The consumers that are killed.
#[test]
fn consumer_process() {
    let Some(part) = child::Part::given() else { return };
    consumer::play(part);
}
