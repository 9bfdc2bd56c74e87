//! The client on the wire: real TLS, and answers byte by byte, among them those that no well-behaved server library would send.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod check;
mod logins;
mod losses;
mod servers;
mod sessions;
mod support;
