//! One shared rate limit for many nodes.
//!
//! What stands so far is the arithmetic: each [`Algorithm`] as a pure state machine over integers, with the clock as an
//! argument. The scripts that keep the same states in Valkey are tested against these.
//!
//! ```
//! use valkey_ratelimit::{Algorithm, Ask, Quota};
//!
//! let quota: Quota = "100/1m".parse()?;
//! let mut window = Algorithm::SlidingWindow.start(quota);
//! let answer = window.ask(0, Ask::times(1, 120));
//! assert_eq!((answer.granted, answer.remaining), (100, 0));
//! assert_eq!(answer.next_after, 61_000_000); // microseconds: a sub-window later than the window
//! # Ok::<(), valkey_ratelimit::InvalidQuota>(())
//! ```

mod algorithm;
mod quota;
mod scripts;

pub use self::algorithm::{Algorithm, Answer, Ask, Mark, State};
pub use self::quota::{InvalidQuota, Quota};
