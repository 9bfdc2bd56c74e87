//! The script of this crate: what goes into it, and what its answer means.

use std::time::Duration;

use valkey_connection::{Arg, Reply, Script, ScriptCall};
use valkey_envelope::{Lane, QueueKeys};

use crate::item::Item;

static PUSH: Script = Script::new("push", include_str!("../lua/push.lua"));

/// One call of `push.lua` carries no more items; the script refuses more.
pub(crate) const MAX_ITEMS: usize = 256;

/// How the items of one call are to be pushed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PushRules {
    /// The dedup window and the generation that the caller believes to be current.
    pub(crate) dedup: Option<Generation>,
    /// The sender's own limit of waiting messages; the lower of it and the queue's own counts.
    pub(crate) max_length: Option<u64>,
}

/// One slice of time, as long as the dedup window; ids are remembered for the current and the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) window_ms: u64,
    pub(crate) number: u64,
}

impl Generation {
    pub(crate) fn at(now_ms: u64, window: Duration) -> Self {
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { window_ms, number: now_ms / window_ms }
    }
}

/// The script's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Each item has its fate.
    Done { now_ms: u64, fates: Vec<Fate>, limit: Option<u64> },
    /// Nothing was done: the server's clock is in another generation.
    Stale { now_ms: u64 },
}

/// What the script did with one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Duplicate,
    Full,
    Pushed,
    Scheduled,
}

/// The call for at most [`MAX_ITEMS`] items.
pub(crate) fn push(keys: &QueueKeys, rules: PushRules, items: &[Item]) -> ScriptCall {
    let (window_ms, number) =
        rules.dedup.map_or((0, 0), |generation| (generation.window_ms, generation.number));
    let mut call = PUSH
        .call()
        .key(keys.public())
        .key(keys.lane(Lane::High))
        .key(keys.lane(Lane::Low))
        .key(keys.delayed())
        .key(keys.control())
        .key(keys.dedup(number))
        .key(keys.dedup(number.saturating_sub(1)))
        .key(keys.woken())
        .key(keys.redo())
        .key(keys.bell())
        .arg(window_ms)
        .arg(number)
        .arg(rules.max_length.map_or_else(|| Arg::from_static(""), Arg::from));
    for item in items {
        let id = if rules.dedup.is_some() { Arg::from(item.id.as_str()) } else { Arg::from_static("") };
        let due = if item.due_ms == 0 { Arg::from_static("0") } else { Arg::from(item.due_ms) };
        call = call.args([lane(item.lane), due, Arg::from(item.frame_head()), id, Arg::from(&item.raw)]);
    }
    call
}

const fn lane(lane: Lane) -> Arg {
    Arg::from_static(match lane {
        Lane::High => "h",
        Lane::Low => "l",
        Lane::Normal => "n",
    })
}

/// Reads the answer to a call with `items` items; `None` if it is not an answer of this script.
pub(crate) fn read(reply: Reply, items: usize) -> Option<Pushed> {
    let mut fields = reply.into_array().ok()?.into_iter();
    let state = fields.next()?.into_bytes().ok()?;
    let now_ms = u64::try_from(fields.next()?.as_int().ok()?).ok()?;
    match &*state {
        b"stale" => Some(Pushed::Stale { now_ms }),
        b"ok" => {
            let letters = fields.next()?.into_bytes().ok()?;
            let fates: Vec<Fate> = letters.iter().filter_map(|letter| Fate::from_letter(*letter)).collect();
            let limit = fields.next()?.into_string().ok()?;
            (fates.len() == items).then(|| Pushed::Done { now_ms, fates, limit: limit.parse().ok() })
        }
        _ => None,
    }
}

impl Fate {
    fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'd' => Some(Self::Duplicate),
            b'f' => Some(Self::Full),
            b'p' => Some(Self::Pushed),
            b's' => Some(Self::Scheduled),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Reply {
        Reply::Bytes(text.into())
    }

    #[test]
    fn an_answer_has_a_fate_for_each_item() {
        let reply = |fates| Reply::Array(vec![text("ok"), text("1700000000000"), text(fates), text("7")]);
        assert_eq!(
            read(reply("pdsf"), 4),
            Some(Pushed::Done {
                now_ms: 1_700_000_000_000,
                fates: vec![Fate::Pushed, Fate::Duplicate, Fate::Scheduled, Fate::Full],
                limit: Some(7),
            })
        );
        assert_eq!(read(reply("pds"), 4), None);
        assert_eq!(read(reply("pdsx"), 4), None);
    }

    #[test]
    fn stale_carries_the_clock_and_anything_else_is_no_answer() {
        assert_eq!(read(Reply::Array(vec![text("stale"), text("5")]), 1), Some(Pushed::Stale { now_ms: 5 }));
        assert_eq!(read(Reply::Nil, 1), None);
        assert_eq!(read(Reply::Array(vec![text("ok")]), 1), None);
    }

    #[test]
    fn a_generation_is_as_long_as_the_window() {
        let window = Duration::from_mins(1);
        assert_eq!(Generation::at(59_999, window).number, 0);
        assert_eq!(Generation::at(60_000, window).number, 1);
    }
}
