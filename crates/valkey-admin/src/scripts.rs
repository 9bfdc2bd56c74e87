//! The scripts, and how their answers are read.

use valkey_connection::{Reply, Script};

use crate::error::Error;

pub(crate) static CONTROL: Script = Script::new("control", include_str!("../lua/control.lua"));
pub(crate) static DEAD_READ: Script = Script::new("dead_read", include_str!("../lua/dead_read.lua"));
pub(crate) static DEAD_REMOVE: Script = Script::new("dead_remove", include_str!("../lua/dead_remove.lua"));
pub(crate) static HAND_BACK: Script = Script::new("hand_back", include_str!("../lua/hand_back.lua"));
pub(crate) static HAND_BACK_RAW: Script =
    Script::new("hand_back_raw", include_str!("../lua/hand_back_raw.lua"));
pub(crate) static INFLIGHT: Script = Script::new("inflight", include_str!("../lua/inflight.lua"));
pub(crate) static PEEK: Script = Script::new("peek", include_str!("../lua/peek.lua"));
pub(crate) static PROBE: Script = Script::new("probe", include_str!("../lua/probe.lua"));
pub(crate) static PURGE: Script = Script::new("purge", include_str!("../lua/purge.lua"));
pub(crate) static REPLAY: Script = Script::new("replay", include_str!("../lua/replay.lua"));
pub(crate) static RIGHTS: Script = Script::new("rights", include_str!("../lua/rights.lua"));
pub(crate) static STATS: Script = Script::new("stats", include_str!("../lua/stats.lua"));

/// The elements of an array of known length.
pub(crate) fn fields<const N: usize>(what: &'static str, reply: Reply) -> Result<[Reply; N], Error> {
    reply.into_array()?.try_into().map_err(|_| Error::UnexpectedReply(what))
}

/// A count: never negative in any answer of ours.
#[expect(clippy::needless_pass_by_value, reason = "replies are taken apart by value")]
pub(crate) fn count(reply: Reply) -> Result<u64, Error> {
    Ok(u64::try_from(reply.as_int()?).unwrap_or(0))
}

/// A number that scripts send as text (milliseconds, scores), `None` if it is empty or nil.
pub(crate) fn millis(what: &'static str, reply: Reply) -> Result<Option<u64>, Error> {
    if reply.is_nil() {
        return Ok(None);
    }
    score(what, &reply.into_string()?)
}

/// A score as text: `1753000000123`, in JSON-ish exponent form for huge ones, never negative here.
pub(crate) fn score(what: &'static str, text: &str) -> Result<Option<u64>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(whole) = text.parse() {
        return Ok(Some(whole));
    }
    let number: f64 = text.parse().map_err(|_| Error::UnexpectedReply(what))?;
    #[expect(clippy::cast_sign_loss, reason = "clamped to what is not negative first")]
    Ok(Some(number.max(0.0) as u64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::score;

    #[test]
    fn scores_of_all_sorts_are_read() {
        assert_eq!(score("x", "1753000000123").unwrap(), Some(1_753_000_000_123));
        assert_eq!(score("x", "0").unwrap(), Some(0));
        assert_eq!(score("x", "1.5e12").unwrap(), Some(1_500_000_000_000));
        assert_eq!(score("x", "-5").unwrap(), Some(0));
        assert_eq!(score("x", "inf").unwrap(), Some(u64::MAX));
        assert_eq!(score("x", "").unwrap(), None);
        assert!(score("x", "soon").is_err());
    }
}
