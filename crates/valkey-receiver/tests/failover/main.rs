//! Senders and consumers under load while the primary changes: by Sentinel, by hand of an operator, in a cluster. The
//! ledger says what was lost, and when it had been sent.
#![allow(clippy::unwrap_used)]

mod cluster;
mod load;
mod sentinel;
#[path = "../support/mod.rs"]
mod support;
