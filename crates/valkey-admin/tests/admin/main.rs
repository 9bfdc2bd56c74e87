//! The operator's verbs against a real server.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod big;
mod control;
mod dead;
mod doctor;
mod doctor_refusals;
mod engines;
mod hand_back;
mod look;
mod purge;
mod squatters;
mod support;
