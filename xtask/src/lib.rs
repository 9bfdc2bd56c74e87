//! The workspace's chores, one file a verb; `.ci/run` and the README call the same ones.
//!
//! ```text
//! cargo xtask demo     registrations become accounts, three consumers, one of them killed: the books balance
//! cargo xtask test     every test, against real Valkeys
//! cargo xtask faults   every fault that the guarantees name, and what was lost: nothing
//! cargo xtask registrations   a queue becomes accounts, each once, through kills and outages: the books balance
//! cargo xtask smtp     three mail servers with one limit, real mail, kills: exactly so much passes
//! cargo xtask ci       everything that must hold, step by step, with a table at the end
//! ```
//!
//! A verb returns an error that says what to do about it; it never goes on after a failed step.

mod alone;
mod bench;
mod ci;
mod cli;
mod deny;
mod docs;
mod engines;
mod faults;
mod image;
mod layers;
mod lua;
mod mixed;
mod registrations;
mod setup;
mod smtp;
mod test;
mod tidy;

mod books;
mod http;
mod interrupt;
mod metadata;
mod process;
mod run;
mod server;
mod valkit;
mod workspace;

pub use cli::main;

/// Documents whose Rust blocks use several crates; compiled as documentation tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/configuration.md")]
    struct Configuration;
    #[doc = include_str!("../../docs/inbox.md")]
    struct Inbox;
}
