//! Limits of a queue from both of its ends, and through the operator's tools.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod backpressure;
mod bench;
mod clocks;
mod dedup;
mod huge;
mod names;
mod nonsense;

/// Ten times as much of everything.
fn scale() -> usize {
    if valkey_testkit::is_long() { 10 } else { 1 }
}
