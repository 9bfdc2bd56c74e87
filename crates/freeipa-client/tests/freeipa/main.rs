//! The client against a FreeIPA, or what is as strict as one: accounts, rights, faults.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod accounts;
mod check;
mod errors;
mod faults;
mod guard;
mod logins;
mod secrets;
mod staged;
mod support;
