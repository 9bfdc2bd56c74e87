//! The ways of counting, each a state machine over integers: no clock, no store, no floating point.
//!
//! Times are microseconds of one clock, the primary's. A clock that steps back makes nothing older: the state then counts as
//! of the earlier time, and ages from there.

mod bucket;
mod counter;
mod fixed;
mod log;
mod name;
mod ring;
mod ticks;

use self::bucket::Bucket;
use self::counter::Counter;
use self::fixed::Fixed;
use self::log::Log;
pub use self::name::InvalidAlgorithm;
use self::ring::Ring;
use crate::quota::Quota;

/// How a limit counts. `L` is the quota's limit and `W` its window.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Never more than `L` in any trailing `W`. What was charged comes back at most `W / 60` late, since a ring of 61
    /// sub-windows stands for the window.
    #[default]
    SlidingWindow,
    /// Never more than `L` in any trailing `W`, and nothing comes back late: each unit of cost is remembered by itself, which
    /// takes memory and time for each.
    SlidingLog,
    /// A bucket of `burst` that drains `L` in each `W`: never more than `burst + L` in any trailing `W`, spread evenly once
    /// the burst is used. The generic cell rate algorithm, counted as a leaky bucket.
    Gcra {
        /// How much may come at once, at least 1 and at most what drains in a hundred years.
        burst: u64,
    },
    /// The share of the window before that still counts is estimated: right for even traffic, at worst `2 L - 1`.
    SlidingCounter,
    /// Windows begin at multiples of `W` of Unix time: at worst `2 L` around such an instant.
    FixedWindow,
}

/// A request to a limit: up to `times` requests that cost `cost` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What one request takes of the limit, at least 1.
    pub cost: u64,
    /// How many requests at once; each is granted or not. 0 only looks.
    pub times: u64,
}

/// What became of an [`Ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How many of the requests are granted, and charged.
    pub granted: u64,
    /// How much is left of the limit now.
    pub remaining: u64,
    /// In how many microseconds one more request of this cost will be granted if nobody else comes; 0 if it would be now,
    /// [`Answer::NEVER`] if it costs more than there ever is.
    pub next_after: u64,
    /// In how many microseconds the state is as if nobody had ever come, if nobody comes.
    pub reset_after: u64,
    /// Where the charge stands, for giving it back.
    pub mark: Mark,
}

/// Where a charge stands: the sub-window, window or instant that it was counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark(pub u64);

/// What is remembered of one subject under one limit. Made by [`Algorithm::start`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Ring(Box<Ring>),
    Log(Log),
    Bucket(Bucket),
    Counter(Counter),
    Fixed(Fixed),
}

impl Algorithm {
    /// The state of a subject that was never seen.
    pub fn start(self, quota: Quota) -> State {
        State(match self {
            Self::SlidingWindow => Kind::Ring(Box::new(Ring::new(quota))),
            Self::SlidingLog => Kind::Log(Log::new(quota)),
            Self::Gcra { burst } => Kind::Bucket(Bucket::new(quota, burst)),
            Self::SlidingCounter => Kind::Counter(Counter::new(quota)),
            Self::FixedWindow => Kind::Fixed(Fixed::new(quota)),
        })
    }

    /// The most that is admitted in any trailing window.
    pub fn worst(self, quota: Quota) -> u64 {
        let limit = quota.limit();
        match self {
            Self::SlidingWindow | Self::SlidingLog => limit,
            Self::Gcra { burst } => burst + limit,
            Self::SlidingCounter => 2 * limit - 1,
            Self::FixedWindow => 2 * limit,
        }
    }
}

impl Ask {
    /// One request of this cost.
    pub fn one(cost: u64) -> Self {
        Self::times(cost, 1)
    }

    /// So many requests of this cost each.
    pub fn times(cost: u64, times: u64) -> Self {
        Self { cost: cost.max(1), times }
    }

    /// How much would be left, and when this cost would be granted; charges nothing.
    pub fn peek(cost: u64) -> Self {
        Self::times(cost, 0)
    }

    /// How many of the requests fit into so much.
    fn fit(self, room: u64) -> u64 {
        self.times.min(room / self.cost)
    }
}

impl Answer {
    /// More is asked than there ever is.
    pub const NEVER: u64 = u64::MAX;
}

impl State {
    /// Grants as many of the requests as there is room for, and charges them.
    pub fn ask(&mut self, now_us: u64, ask: Ask) -> Answer {
        match &mut self.0 {
            Kind::Ring(ring) => ring.ask(now_us, ask),
            Kind::Log(log) => log.ask(now_us, ask),
            Kind::Bucket(bucket) => bucket.ask(now_us, ask),
            Kind::Counter(counter) => counter.ask(now_us, ask),
            Kind::Fixed(fixed) => fixed.ask(now_us, ask),
        }
    }

    /// Takes back what was charged under `mark`, as far as it still counts there, and says how much that was.
    ///
    /// What has expired meanwhile makes no room: somebody else may have been admitted in its place already.
    pub fn give_back(&mut self, now_us: u64, mark: Mark, amount: u64) -> u64 {
        match &mut self.0 {
            Kind::Ring(ring) => ring.give_back(now_us, mark, amount),
            Kind::Log(log) => log.give_back(now_us, mark, amount),
            Kind::Bucket(bucket) => bucket.give_back(now_us, mark, amount),
            Kind::Counter(counter) => counter.give_back(now_us, mark, amount),
            Kind::Fixed(fixed) => fixed.give_back(now_us, mark, amount),
        }
    }

    /// The same charges under another quota of the same algorithm; of another algorithm it is a fresh state.
    ///
    /// Nothing is forgotten that would count under the new quota, and nobody waits for longer than its window.
    #[must_use]
    pub fn under(&self, algorithm: Algorithm, quota: Quota, now_us: u64) -> Self {
        Self(match (&self.0, algorithm) {
            (Kind::Ring(ring), Algorithm::SlidingWindow) => Kind::Ring(Box::new(ring.under(quota, now_us))),
            (Kind::Log(log), Algorithm::SlidingLog) => Kind::Log(log.under(quota)),
            (Kind::Bucket(bucket), Algorithm::Gcra { burst }) => {
                Kind::Bucket(bucket.under(quota, burst, now_us))
            }
            (Kind::Counter(counter), Algorithm::SlidingCounter) => {
                Kind::Counter(counter.under(quota, now_us))
            }
            (Kind::Fixed(fixed), Algorithm::FixedWindow) => Kind::Fixed(fixed.under(quota, now_us)),
            _ => return algorithm.start(quota),
        })
    }

    /// Whether it counts as of a later time: the clock stepped back. A log has no time of its own.
    #[cfg(test)]
    pub(crate) fn is_ahead(&self, now_us: u64) -> bool {
        match &self.0 {
            Kind::Ring(ring) => ring.is_ahead(now_us),
            Kind::Log(_) => false,
            Kind::Bucket(bucket) => bucket.is_ahead(now_us),
            Kind::Counter(counter) => counter.is_ahead(now_us),
            Kind::Fixed(fixed) => fixed.is_ahead(now_us),
        }
    }

    /// The algorithm's letter and numbers, as scripts take them.
    pub(crate) fn terms(&self) -> (&'static str, [u64; 4]) {
        match &self.0 {
            Kind::Ring(ring) => ("R", ring.terms()),
            Kind::Log(log) => ("L", log.terms()),
            Kind::Bucket(bucket) => ("G", bucket.terms()),
            Kind::Counter(counter) => ("C", counter.terms()),
            Kind::Fixed(fixed) => ("F", fixed.terms()),
        }
    }
}
