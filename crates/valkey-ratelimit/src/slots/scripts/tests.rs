//! The script held against a model, on random traces of several processes.
#![allow(clippy::unwrap_used)]
