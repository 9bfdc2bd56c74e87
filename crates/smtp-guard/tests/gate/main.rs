//! The gate between real sockets, in front of a mail server that stands in for one, over a real Valkey.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod carrying;
mod drain;
mod headers;
mod limits;
mod outage;
mod support;
