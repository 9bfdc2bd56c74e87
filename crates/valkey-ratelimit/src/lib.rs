//! One shared rate limit for many nodes.
//!
//! ```text
//!  check(rule, subject, cost) ─► Memory: refused for a while yet, or some of it held ─► Combiner ─► check.lua: many keys a call
//!                                                                                                       │
//!                                       Algorithm: the same states as pure models, which the script is held against
//! ```
//!
//! # What is promised
//!
//! - [`Algorithm::SlidingWindow`] and [`Algorithm::SlidingLog`] never admit more than the limit in any trailing window, by the
//!   clock of the primary, however many nodes ask. The others state what they admit at worst: [`Algorithm::worst`].
//! - A refusal is a [`Decision`]; that the store could not be asked is a [`LimitError`]. Neither is ever the other.
//! - Whoever is refused costs no round trip until there may be room again, and nobody is refused so whom the store would
//!   admit, unless something was given back meanwhile: that is seen a tenth of the window later at most, or 5 s.
//! - A call ends within its deadline; while the store is away it ends at once, as the rule says: [`OnUnavailable`].
//! - With [a lease](Rule::with_lease) most checks of a busy subject cost no round trip, and no trailing window admits more than the
//!   limit and the share that may be held in advance.
//! - Several limits are asked [at once](Limiter::check_all), and all are charged or none.
//! - [`Slots`] limit what is held at the same time, such as connections. Nothing leaks: who crashes frees all after its lease.
//!
//! ```
//! use valkey_ratelimit::{Algorithm, Ask, Quota};
//!
//! // The arithmetic alone, without a store: the clock is an argument.
//! let quota: Quota = "100/1m".parse()?;
//! let mut window = Algorithm::SlidingWindow.start(quota);
//! let answer = window.ask(0, Ask::times(1, 120));
//! assert_eq!((answer.granted, answer.remaining), (100, 0));
//! assert_eq!(answer.next_after, 61_000_000); // microseconds: a sub-window later than the window
//! # Ok::<(), valkey_ratelimit::InvalidQuota>(())
//! ```
//!
//! # Features
//!
//! - `tower`: `RateLimitLayer`, limits in front of any service.
//! - `headers`: what HTTP says of limits. The fields `RateLimit` and `Retry-After`, and the answers 429 and 503.

mod algorithm;
mod allow;
mod asking;
mod combiner;
mod decision;
mod error;
mod fallback;
#[cfg(feature = "headers")]
mod headers;
mod ladder;
#[cfg(feature = "tower")]
mod layer;
mod lease;
mod limiter;
mod memory;
mod outage;
#[cfg(feature = "headers")]
mod problem;
mod quota;
mod rule;
mod rules;
mod scripts;
#[cfg(feature = "tower")]
mod service;
mod several;
mod slots;
mod subject;
mod survey;
mod telemetry;
mod unavailable;

pub use self::algorithm::{Algorithm, Answer, Ask, InvalidAlgorithm, Mark, State};
pub use self::allow::{AllowList, InvalidAllowed};
pub use self::decision::{Allowed, Decision, Denied, Source, Standing, Ticket};
pub use self::error::LimitError;
#[cfg(feature = "headers")]
pub use self::headers::RateLimitHeaders;
#[cfg(feature = "tower")]
pub use self::layer::{RateLimitLayer, Refusal, Toll, Verdict};
pub use self::limiter::Limiter;
pub use self::outage::Health;
pub use self::quota::{InvalidQuota, Quota};
pub use self::rule::{
    InvalidPrefix, InvalidRule, InvalidRuleName, InvalidShare, Network, PREFIX, Prefix, Rule, RuleName, Share,
};
pub use self::rules::{Rules, RulesError, RulesFile, RulesProblem};
#[cfg(feature = "tower")]
pub use self::service::{RateLimit, RateLimitFuture};
pub use self::several::Demand;
pub use self::slots::{
    Acquired, Full, InvalidNodeId, NodeId, Permit, SlotError, SlotRule, SlotSettings, Slots,
};
pub use self::subject::Subject;
pub use self::survey::{Survey, Surveyed, Usage};
pub use self::unavailable::OnUnavailable;

// The example of the document is a test of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rate-limiting.md")]
struct RateLimiting;
