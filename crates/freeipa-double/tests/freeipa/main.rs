//! The FreeIPA double, driven over HTTPS by a client that knows nothing of it.
#![allow(clippy::unwrap_used)]

mod client;
mod envelope;
mod faults;
mod flow;
mod login;
mod others;
mod samples;
mod users;
