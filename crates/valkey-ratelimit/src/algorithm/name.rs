//! What the ways of counting are called in files and on command lines.

use super::Algorithm;
use super::bucket::Bucket;
use crate::quota::Quota;

/// A name that no algorithm has, or one with too much or too little beside it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAlgorithm {
    /// There is none of that name.
    #[error("`{0}` is no algorithm: one of {all}", all = NAMES.join(", "))]
    Name(String),
    /// A bucket without a size.
    #[error("gcra needs a burst: how much may come at once, at least 1")]
    NoBurst,
    /// A size, and no bucket.
    #[error("a burst says nothing to {0}: leave it out, or take gcra")]
    Burst(&'static str),
}

const NAMES: [&str; 5] = ["sliding-window", "sliding-log", "gcra", "sliding-counter", "fixed-window"];

impl Algorithm {
    /// The algorithm of a name: `sliding-window`, `sliding-log`, `gcra`, which needs a burst, `sliding-counter` or
    /// `fixed-window`. An underscore does as well as the hyphen.
    ///
    /// ```
    /// use valkey_ratelimit::Algorithm;
    ///
    /// assert_eq!(Algorithm::named("sliding-log", None)?, Algorithm::SlidingLog);
    /// assert_eq!(Algorithm::named("gcra", Some(20))?, Algorithm::Gcra { burst: 20 });
    /// assert!(Algorithm::named("gcra", None).is_err());
    /// # Ok::<(), valkey_ratelimit::InvalidAlgorithm>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidAlgorithm`].
    pub fn named(name: &str, burst: Option<u64>) -> Result<Self, InvalidAlgorithm> {
        let algorithm = match name.replace('_', "-").as_str() {
            "sliding-window" => Self::SlidingWindow,
            "sliding-log" => Self::SlidingLog,
            "gcra" => return burst.map(|burst| Self::Gcra { burst }).ok_or(InvalidAlgorithm::NoBurst),
            "sliding-counter" => Self::SlidingCounter,
            "fixed-window" => Self::FixedWindow,
            _ => return Err(InvalidAlgorithm::Name(name.to_owned())),
        };
        if burst.is_some() { Err(InvalidAlgorithm::Burst(algorithm.name())) } else { Ok(algorithm) }
    }

    /// Its name, as [`named`](Self::named) takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlidingWindow => "sliding-window",
            Self::SlidingLog => "sliding-log",
            Self::Gcra { .. } => "gcra",
            Self::SlidingCounter => "sliding-counter",
            Self::FixedWindow => "fixed-window",
        }
    }

    /// The largest burst that is not cut short.
    pub(crate) fn most_burst(quota: Quota) -> u64 {
        Bucket::most(quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in NAMES {
            let burst = (name == "gcra").then_some(3);
            assert_eq!(Algorithm::named(name, burst).map(Algorithm::name), Ok(name));
            assert_eq!(Algorithm::named(&name.replace('-', "_"), burst).map(Algorithm::name), Ok(name));
        }
        assert_eq!(Algorithm::named("gcra", None), Err(InvalidAlgorithm::NoBurst));
        assert_eq!(Algorithm::named("sliding-log", Some(1)), Err(InvalidAlgorithm::Burst("sliding-log")));
        let unknown = Algorithm::named("sliding", None).expect_err("no name").to_string();
        assert!(
            unknown.contains("`sliding`") && unknown.contains("sliding-window, sliding-log"),
            "{unknown}"
        );
    }

    #[test]
    fn a_bucket_drains_within_a_hundred_years() {
        let most = |text: &str| Algorithm::most_burst(text.parse().expect("a quota"));
        assert_eq!((most("1/366days"), most("1/1s")), (100, 3_162_240_000));
    }
}
