//! The commands with types, as methods of [`Pinned`](crate::Pinned).
//!
//! None of them asks for `all` where it writes: such a reply may hold keys and hashes of passwords.

mod domain;
mod groups;
mod staged;
mod users;

pub use self::users::{Deletion, Found};
