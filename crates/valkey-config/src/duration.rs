//! Durations as people write them: `500ms`, `1.5h`, `1h30m`, `1m 30s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Every unit that is understood, in nanoseconds. Months and years have the lengths `humantime` gives them.
const UNITS: &[(&[&str], u64)] = &[
    (&["ns", "nsec", "nanos"], 1),
    (&["us", "µs", "μs", "usec", "micros"], 1_000),
    (&["ms", "msec", "millis"], 1_000_000),
    (&["s", "sec", "secs", "second", "seconds"], 1_000_000_000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000_000_000),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600_000_000_000),
    (&["d", "day", "days"], 86_400_000_000_000),
    (&["w", "week", "weeks"], 604_800_000_000_000),
    (&["M", "month", "months"], 2_630_016_000_000_000),
    (&["y", "year", "years"], 31_557_600_000_000_000),
];

/// The units a duration is written back in, largest first; Go reads all of them.
const WRITTEN: [(&str, u128); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A [`Duration`] in the spelling of Go (`1h30m`, `500ms`, `1.5h`) or of `humantime` (`1m 30s`, `2days`).
///
/// A settings struct holds plain [`Duration`]s, which are read by the same rules; this type is for command lines
/// and for other places that go through [`FromStr`], [`fmt::Display`] or serde.
///
/// ```
/// use std::time::Duration;
/// use valkey_config::HumanDuration;
///
/// let timeout: HumanDuration = "1h30m".parse()?;
/// assert_eq!(Duration::from(timeout), Duration::from_secs(5400));
/// assert_eq!(timeout.to_string(), "1h30m");
/// assert!("90".parse::<HumanDuration>().is_err(), "a bare number has no unit");
/// # Ok::<(), valkey_config::DurationError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(pub Duration);

/// Why a text is not a duration. Repeats of it no more than a number or a word.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DurationError {
    /// A number without a unit: nobody can tell seconds from milliseconds.
    #[error("a bare number has no unit: write {0}s for seconds or {0}ms for milliseconds")]
    BareNumber(String),
    /// Nothing was written.
    #[error("it is empty")]
    Empty,
    /// A duration cannot be below zero.
    #[error("it must not be negative")]
    Negative,
    /// More than 2^64 seconds.
    #[error("it is too long")]
    TooLong,
    /// A unit that is not known.
    #[error("`{0}` is not a unit: use ns, us, ms, s, m, h or d")]
    Unit(String),
    /// Something else stands where a number should.
    #[error("a number was expected before each unit")]
    MissingNumber,
    /// A number stands alone after others that have a unit.
    #[error("a unit was expected after each number")]
    MissingUnit,
}

/// Reads a duration as Go and `humantime` write it.
///
/// # Errors
///
/// [`DurationError`] says what is wrong; a bare number other than `0` is refused.
///
/// ```
/// use std::time::Duration;
/// use valkey_config::parse_duration;
///
/// assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
/// assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
/// assert_eq!(parse_duration("250µs"), Ok(Duration::from_micros(250)));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    if rest.starts_with('-') {
        return Err(DurationError::Negative);
    }
    // Zero is zero in every unit, and Go accepts it, too.
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (nanos, left) = parse_part(rest, text)?;
        total = total.checked_add(nanos).ok_or(DurationError::TooLong)?;
        rest = left.trim_start();
    }
    let seconds = u64::try_from(total / 1_000_000_000).map_err(|_| DurationError::TooLong)?;
    Ok(Duration::new(seconds, (total % 1_000_000_000) as u32))
}

/// Reads one number with its unit; returns its nanoseconds and what follows.
fn parse_part<'t>(rest: &'t str, whole: &str) -> Result<(u128, &'t str), DurationError> {
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (integer, after) = rest.split_at(digits);
    let (fraction, after) = match after.strip_prefix('.') {
        None => ("", after),
        Some(after) => after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())),
    };
    if integer.is_empty() && fraction.is_empty() {
        return Err(DurationError::MissingNumber);
    }
    let after = after.trim_start();
    let (unit, left) = after.split_at(after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len()));
    if unit.is_empty() {
        return Err(if left.is_empty() && rest.len() == whole.len() {
            DurationError::BareNumber(excerpt(whole))
        } else {
            DurationError::MissingUnit
        });
    }
    let (_, nanos) = UNITS
        .iter()
        .find(|(names, _)| names.contains(&unit))
        .ok_or_else(|| DurationError::Unit(excerpt(unit)))?;
    let nanos = u128::from(*nanos);
    let whole_units = match integer {
        "" => 0,
        digits => digits.parse::<u128>().map_err(|_| DurationError::TooLong)?,
    };
    // Digits beyond the eighteenth are below a nanosecond in every unit; like Go, they are dropped.
    let fraction = &fraction[..fraction.len().min(18)];
    let parts = fraction.parse::<u128>().unwrap_or(0) * nanos / 10_u128.pow(fraction.len() as u32);
    let total =
        whole_units.checked_mul(nanos).and_then(|n| n.checked_add(parts)).ok_or(DurationError::TooLong)?;
    Ok((total, left))
}

/// Enough of `text` to recognise it in an error.
fn excerpt(text: &str) -> String {
    text.chars().take(24).collect()
}

/// Writes a duration so that people, Go and [`parse_duration`] read it, without loss.
///
/// ```
/// use std::time::Duration;
/// use valkey_config::format_duration;
///
/// assert_eq!(format_duration(Duration::from_millis(1500)), "1s500ms");
/// assert_eq!(format_duration(Duration::from_secs(86_400)), "24h");
/// ```
pub fn format_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, nanos) in WRITTEN {
        if rest >= nanos {
            text.push_str(&(rest / nanos).to_string());
            text.push_str(unit);
            rest %= nanos;
        }
    }
    text
}

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        parse_duration(text).map(Self)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format_duration(self.0))
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::codec::decode_setting(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> Result<u128, DurationError> {
        parse_duration(text).map(|duration| duration.as_nanos())
    }

    #[test]
    fn go_forms() {
        for (text, expected) in [
            ("0", 0),
            ("0s", 0),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("+5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1h0m0.25s", 3_600_250_000_000),
            ("1.0000000000000000000000001s", 1_000_000_000),
        ] {
            assert_eq!(nanos(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn humantime_forms() {
        for text in ["1m 30s", "2days 4h", "1week", "15min", "3 hours", "1year 2months", "1s 20ms 5us"] {
            assert_eq!(parse_duration(text).ok(), humantime::parse_duration(text).ok(), "{text}");
            assert!(parse_duration(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_the_remedy() {
        let error = parse_duration("90").expect_err("no unit");
        assert_eq!(error, DurationError::BareNumber("90".to_owned()));
        assert!(error.to_string().contains("write 90s"), "{error}");
        assert!(matches!(parse_duration("1.5"), Err(DurationError::BareNumber(_))));
        assert_eq!(parse_duration("1h30"), Err(DurationError::MissingUnit));
    }

    #[test]
    fn other_mistakes_are_named() {
        assert_eq!(parse_duration(" "), Err(DurationError::Empty));
        assert_eq!(parse_duration("-5s"), Err(DurationError::Negative));
        assert_eq!(parse_duration("5 parsecs"), Err(DurationError::Unit("parsecs".to_owned())));
        assert_eq!(parse_duration("soon"), Err(DurationError::MissingNumber));
        assert_eq!(parse_duration("."), Err(DurationError::MissingNumber));
        assert_eq!(parse_duration("99999999999999999999y"), Err(DurationError::TooLong));
        assert_eq!(parse_duration(&"9".repeat(60)), Err(DurationError::BareNumber("9".repeat(24))));
    }

    #[test]
    fn the_longest_duration_survives() {
        let longest = Duration::MAX;
        assert_eq!(parse_duration(&format_duration(longest)), Ok(longest));
    }
}
