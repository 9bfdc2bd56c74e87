//! Senders and receivers of ours on a server that fails, under load and with books: what was answered, what was handled,
//! what is lost and what came twice.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod aof;
mod bed;
mod books;
mod breaker;
mod crew;
mod flipped_bit;
mod full_server;
mod hardened;
mod killed_sender;
mod max_clients;
mod power_cut;
mod slow_line;
mod snapshots;
mod somebodys_hand;
mod unsafe_store;
