//! The command line as a script sees it: exit codes, stdout, stderr.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod bench;
mod dead;
mod demo;
mod doctor;
mod exit_codes;
mod hostile;
mod queue;
mod receive;
mod route;
mod send;
mod support;
mod versions;
