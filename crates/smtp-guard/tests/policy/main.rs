//! The policy service over real sockets and a real Valkey, asked as Postfix asks.
#![allow(clippy::unwrap_used)]

mod counting;
mod documented;
mod hostile;
mod outage;
mod reload;
mod support;
