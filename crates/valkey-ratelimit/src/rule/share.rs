//! How much of a limit processes may hold in advance.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::quota::Quota;

/// A part of a limit, in millionths: `1%`.
///
/// ```
/// use valkey_ratelimit::Share;
///
/// let share: Share = "1%".parse()?;
/// assert_eq!(share.of(60_000), 600);
/// assert_eq!("0.5%".parse::<Share>()?.to_string(), "0.5%");
/// assert!("80%".parse::<Share>().is_err());
/// # Ok::<(), valkey_ratelimit::InvalidShare>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Share(u32);

/// No part of a limit, or too much of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no share of a limit that may be held in advance: above 0% and at most 50%, as in 1% or 0.5%"
)]
pub struct InvalidShare(String);

/// Leases are good for at most so long: what a process holds and does not use comes back soon.
const LONGEST: Duration = Duration::from_secs(1);
/// And for no less, or they would be over before they are there.
const SHORTEST: Duration = Duration::from_millis(10);

impl Share {
    /// So much of a limit, rounded down.
    pub fn of(self, limit: u64) -> u64 {
        (u128::from(limit) * u128::from(self.0) / 1_000_000) as u64
    }

    /// How much may be held at any time, and how long a lease is good for, as a quota: never more than the share is leased in
    /// any stretch of that time, so never more is outstanding. None where leases would be too small or too short to be of use.
    ///
    /// An eighth of the time in which the share is used up on average, so that a burst of eight times the rate still goes by
    /// leases.
    pub(crate) fn held(self, quota: Quota) -> Option<Quota> {
        let most = self.of(quota.limit());
        let average = quota.window().mul_f64(f64::from(self.0) / 1e6);
        let valid = (average / 8).clamp(SHORTEST, LONGEST);
        if most < 4 || valid > average {
            return None;
        }
        Quota::new(most, valid).ok()
    }
}

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidShare(text.to_owned());
        let number = text.trim().strip_suffix('%').ok_or_else(invalid)?;
        let percent: f64 = number.trim_end().parse().map_err(|_| invalid())?;
        // Not a number is in no range.
        if !(percent > 0.0 && percent <= 50.0) {
            return Err(invalid());
        }
        #[expect(clippy::cast_sign_loss, reason = "above 0")]
        let millionths = (percent * 10_000.0).round() as u32;
        if millionths == 0 { Err(invalid()) } else { Ok(Self(millionths)) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_small_part() {
        for text in ["", "1", "0%", "-1%", "51%", "NaN%", "inf%", "0.00001%", "1 percent"] {
            assert!(text.parse::<Share>().is_err_and(|error| error.to_string().contains("1%")), "{text}");
        }
        assert_eq!("50 %".parse::<Share>().map(|share| share.of(u64::from(u32::MAX))), Ok(2_147_483_647));
    }

    #[test]
    fn leases_are_short_and_only_where_they_are_of_use() {
        let held = |share: &str, quota: &str| {
            share.parse::<Share>().expect("a share").held(quota.parse().expect("a quota"))
        };
        let quota = |text: &str| Some(text.parse::<Quota>().expect("a quota"));
        assert_eq!(held("1%", "60000/1m"), quota("600/75ms"));
        assert_eq!(held("1%", "60000/1day"), quota("600/1s"));
        assert_eq!(held("2%", "10000/1s"), quota("200/10ms"));
        assert_eq!(held("0.5%", "10000/1s"), None, "over before it is there");
        assert_eq!(held("1%", "300/1m"), None, "three at a time are not worth it");
    }
}
