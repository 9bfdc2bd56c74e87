//! The sender against a real Valkey.
#![allow(clippy::unwrap_used)]

mod books;
mod bounded;
mod dedup;
mod durability;
mod failures;
mod loss;
mod model;
mod rig;
mod sending;
mod service;
mod ways;
