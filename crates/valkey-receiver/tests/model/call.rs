//! What is asked of a queue, and what it answers; the model and the server are given the same.

use bytes::Bytes;
use valkey_envelope::Lane;

use crate::queue::{Field, Place};

/// One step: a script of ours, a plain command of somebody else, or something that time or the server does.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Join(Join),
    Take(Take),
    Reap(Reap),
    Release(Release),
    Push(Push),
    Control(Vec<(String, String)>),
    Replay(Vec<(String, Lane)>),
    DeadRemove(Vec<String>),
    Purge {
        place: Place,
        most: usize,
    },
    HandBack(HandBack),
    HandBackRaw {
        place: Place,
        most: usize,
    },
    /// A foreign producer: `LPUSH`.
    PlainPush(Vec<Bytes>),
    /// A foreign consumer: `RPOP`.
    PlainPop,
    /// An idle consumer's blocking move returns with a message, whether or not anybody is left to hear of it.
    Park,
    /// Time passes: a lease ends. Far in the future: the clock stepped back.
    LeaseEnds {
        cid: String,
        at_ms: u64,
    },
    /// Time passes: a delayed message is due.
    Due {
        member: Bytes,
        at_ms: u64,
    },
    /// A producer lets the public list expire.
    PublicExpires {
        at_ms: u64,
    },
    /// The run that joins and reaps knew was another one.
    ServerRestarted {
        known: String,
    },
    /// Time passes: a whole window of deduplication.
    WindowPasses {
        generation: u64,
        window_ms: u64,
    },
    /// `SCRIPT FLUSH`
    ForgetScripts,
}

#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub(crate) cid: String,
    pub(crate) lease_ms: u64,
    /// The newest format of a queue that the caller knows.
    pub(crate) knows: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct Take {
    pub(crate) cid: String,
    pub(crate) number: u64,
    pub(crate) lease_ms: u64,
    pub(crate) want: usize,
    pub(crate) byte_limit: usize,
    pub(crate) acks: Vec<Field>,
    /// After how many ms, and whether it counts as an attempt.
    pub(crate) retries: Vec<(Field, u64, bool)>,
    /// With the story that is kept beside it.
    pub(crate) deads: Vec<(Field, String)>,
    pub(crate) backs: Vec<Field>,
}

#[derive(Clone, Debug)]
pub(crate) struct Reap {
    pub(crate) cid: String,
    pub(crate) lease_ms: u64,
    pub(crate) max_crashes: u32,
    pub(crate) limit: usize,
    pub(crate) byte_limit: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) cid: String,
    pub(crate) limit: usize,
    pub(crate) byte_limit: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Push {
    /// 0: ids are ignored.
    pub(crate) window_ms: u64,
    pub(crate) generation: u64,
    pub(crate) max_length: Option<usize>,
    pub(crate) items: Vec<Item>,
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) lane: Lane,
    /// 0: now.
    pub(crate) due_ms: u64,
    pub(crate) member_id: String,
    pub(crate) dedup: Option<String>,
    pub(crate) raw: Bytes,
}

#[derive(Clone, Debug)]
pub(crate) struct HandBack {
    pub(crate) source: Source,
    /// As the caller saw them (of a hand: the field), and what a plain consumer is to find.
    pub(crate) elements: Vec<(Bytes, Bytes)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Source {
    Redo,
    Delayed,
    InFlight(String),
}

/// An answer, flat, as the opening comment of the script describes it, without the server's time.
pub(crate) type Answer = Vec<Bytes>;

/// The answer with these parts.
macro_rules! answer {
    ($($part:expr),* $(,)?) => { vec![$(bytes::Bytes::from($part.to_string())),*] };
}
pub(crate) use answer;

impl Call {
    /// Where in the script's answer its clock is, in ms; `None` if it does not tell.
    pub(crate) const fn clock_at(&self) -> Option<usize> {
        match self {
            Self::Join(_) | Self::Take(_) | Self::Reap(_) | Self::Push(_) => Some(1),
            Self::Release(_) => Some(0),
            _ => None,
        }
    }
}
