//! How much in how long.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// At most so much in any stretch of time of a length: `100/1m`.
///
/// ```
/// use valkey_ratelimit::Quota;
///
/// let quota: Quota = "100/1m".parse()?;
/// assert_eq!((quota.limit(), quota.window_us()), (100, 60_000_000));
/// assert_eq!("5/h".parse::<Quota>()?.to_string(), "5/1h");
/// let error = "100/min/s".parse::<Quota>().unwrap_err();
/// assert!(error.to_string().contains("100/1m"), "{error}");
/// # Ok::<(), valkey_ratelimit::InvalidQuota>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    limit: u64,
    window_us: u64,
}

/// Why something is no quota.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuota {
    /// Not of the form amount, slash, time.
    #[error("`{0}` is no quota: expected an amount and a time, as in 100/1m or 5/s")]
    Form(String),
    /// Nothing would ever be allowed, or more than can be counted.
    #[error("a limit of {0} is out of range: 1 to {max}", max = Quota::MAX_LIMIT)]
    Limit(u64),
    /// Too short to be measured over a network, or too long to be counted in microseconds.
    #[error("a window of {} is out of range: 1ms to 366days", humantime::format_duration(*.0))]
    Window(Duration),
}

impl Quota {
    /// What a counter of 32 bits holds.
    pub const MAX_LIMIT: u64 = u32::MAX as u64;
    const MIN_WINDOW: Duration = Duration::from_millis(1);
    const MAX_WINDOW: Duration = Duration::from_hours(366 * 24);

    /// So much in a window of this length. Parts of a microsecond are dropped.
    ///
    /// # Errors
    /// [`InvalidQuota::Limit`], [`InvalidQuota::Window`].
    pub fn new(limit: u64, window: Duration) -> Result<Self, InvalidQuota> {
        if !(1..=Self::MAX_LIMIT).contains(&limit) {
            return Err(InvalidQuota::Limit(limit));
        }
        if !(Self::MIN_WINDOW..=Self::MAX_WINDOW).contains(&window) {
            return Err(InvalidQuota::Window(window));
        }
        Ok(Self { limit, window_us: window.as_micros() as u64 })
    }

    /// How much.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// In how long, in microseconds.
    pub fn window_us(&self) -> u64 {
        self.window_us
    }

    /// In how long.
    pub fn window(&self) -> Duration {
        Duration::from_micros(self.window_us)
    }
}

impl FromStr for Quota {
    type Err = InvalidQuota;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || InvalidQuota::Form(text.to_owned());
        let (limit, window) = text.split_once('/').ok_or_else(form)?;
        let (limit, window) = (limit.trim(), window.trim());
        let limit = limit.replace('_', "").parse().map_err(|_| form())?;
        // `5/s` is `5/1s`.
        let counted = if window.starts_with(|first: char| first.is_ascii_digit()) { "" } else { "1" };
        let window = humantime::parse_duration(&format!("{counted}{window}")).map_err(|_| form())?;
        Self::new(limit, window)
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.limit, humantime::format_duration(self.window()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_quota_says_what_one_is() {
        for text in ["", "100", "100/", "/1m", "-1/1m", "100/1m/1m", "100/1 apple", "1e3/1m"] {
            assert_eq!(text.parse::<Quota>(), Err(InvalidQuota::Form(text.to_owned())), "{text}");
        }
        assert_eq!("0/1m".parse::<Quota>(), Err(InvalidQuota::Limit(0)));
        assert_eq!("5000000000/1m".parse::<Quota>(), Err(InvalidQuota::Limit(5_000_000_000)));
        assert_eq!("1/1us".parse::<Quota>(), Err(InvalidQuota::Window(Duration::from_micros(1))));
        assert!("1/2y".parse::<Quota>().is_err_and(|error| error.to_string().contains("366days")));
    }

    #[test]
    fn a_quota_reads_what_it_writes() {
        for text in ["100/1m", "1/1ms", "4294967295/1day", "20/1h 30m"] {
            assert_eq!(text.parse::<Quota>().map(|quota| quota.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("1_000/min".parse::<Quota>(), "1000/1m".parse());
    }
}
