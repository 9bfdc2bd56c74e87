//! Senders and consumers of ours under load while the primary changes: by Sentinel, by hand of an operator, in a cluster. The
//! ledger says what was lost, and when it had been sent.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod cluster;
mod handover;
mod ledger;
mod load;
mod look;
mod news;
mod sentinel;
