//! The rules that keep messages safe, one by one, against a real server: most send the scripts by hand, in the orders
//! that failures make.
#![allow(clippy::unwrap_used)]

#[path = "../support/hand.rs"]
mod hand;
#[path = "../support/mod.rs"]
mod support;

mod bounds;
mod late;
mod leases;
mod order;
mod park;
mod reap;
mod squatter;
mod suspects;
