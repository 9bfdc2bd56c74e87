//! How safe a server keeps what it acknowledges: what it says about itself, a trial, and the judgement over both.

mod examine;
mod facts;
mod judge;

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

pub use self::facts::{SyncFacts, Trial};
use crate::error::Error;
use crate::reply::Reply;

/// When the server syncs its append-only file to the disk (`appendfsync`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// Before it answers (`always`).
    Always,
    /// Once a second, in the background (`everysec`).
    EverySecond,
    /// When the operating system thinks fit (`no`).
    Never,
}

/// Why a server cannot promise a durability. `Display` says it with the remedy.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DurabilityRefusal {
    /// It called writes synced faster than its policy can sync them.
    AnswersEarly {
        /// Writes of the trial, each of which waited for its sync.
        writes: u32,
        /// How long they took together.
        took: Duration,
    },
    /// It answers at its clock ticks, and these are so far apart that a trial says nothing.
    CannotTell {
        /// Ticks a second (`hz`), if known.
        hz: Option<u32>,
    },
    /// The policy is `no`: nobody knows when the disk has it.
    NeverSynced,
    /// It has no append-only file.
    NoAppendOnlyFile,
    /// The trial write was not acknowledged in time.
    NotAnswered {
        /// What was not answered.
        why: String,
    },
    /// The user may not ask for the policy, and without it an answer at once may be the truth or not.
    NotTold {
        /// What the server said.
        why: String,
    },
    /// Fewer replicas are connected than are to have each message.
    TooFewReplicas {
        /// Connected and in sync.
        connected: u32,
        /// Asked for.
        wanted: NonZeroU32,
    },
    /// The server has no `WAITAOF`.
    Unsupported {
        /// Its version, if known.
        version: Option<String>,
    },
    /// The policy is `everysec`, and no trial was made.
    Untried,
}

// === impl SyncPolicy ===

impl SyncPolicy {
    /// The word of the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::EverySecond => "everysec",
            Self::Never => "no",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Always, Self::EverySecond, Self::Never].into_iter().find(|policy| policy.as_str() == text)
    }

    /// From the answer to `CONFIG GET appendfsync`.
    pub(crate) fn from_config(reply: Reply) -> Result<Self, Error> {
        let (_, value) = reply
            .into_pairs()?
            .into_iter()
            .next()
            .ok_or_else(|| Error::unexpected("appendfsync", "an empty answer"))?;
        Self::parse(&value.into_string()?)
            .ok_or_else(|| Error::unexpected("always, everysec or no", "another word"))
    }
}

impl fmt::Display for SyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl DurabilityRefusal ===

impl DurabilityRefusal {
    /// Whether it may pass without anybody changing a setting.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::NotAnswered { .. } | Self::TooFewReplicas { .. })
    }

    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::AnswersEarly { .. } | Self::CannotTell { .. } | Self::NeverSynced | Self::Untried => {
                "set appendfsync to `always`, or send `replicated(N)` if there are replicas"
            }
            Self::NoAppendOnlyFile => "set appendonly to `yes` and appendfsync to `always`",
            Self::NotAnswered { .. } => "look at INFO replication and INFO persistence",
            Self::NotTold { .. } => "grant the user +config|get",
            Self::TooFewReplicas { .. } => "connect more replicas, or ask for fewer",
            Self::Unsupported { .. } => {
                "Valkey of any version and Redis from 7.2 on have it; `replicated(N)` works here, too, if there are replicas"
            }
        }
    }
}

impl fmt::Display for DurabilityRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnswersEarly { writes, took } => write!(
                f,
                "appendfsync is `everysec`: the server syncs to disk once a second, but called {writes} writes, one \
                 after the other, synced within {took:.1?}: it answers before the sync"
            )?,
            Self::CannotTell { hz: Some(hz) } => write!(
                f,
                "whether the server answers before the sync cannot be tried with hz {hz}, as it answers \
                 at its clock ticks"
            )?,
            Self::CannotTell { hz: None } => {
                f.write_str(
                    "whether the server answers before the sync cannot be tried without knowing its hz",
                )?;
            }
            Self::NeverSynced => {
                f.write_str("appendfsync is `no`: nobody knows when the disk has a message")?;
            }
            Self::NoAppendOnlyFile => {
                f.write_str("the server has no append-only file (appendonly is `no`)")?;
            }
            Self::NotAnswered { why } => {
                write!(f, "a trial write was not acknowledged ({why}), nothing of yours was sent")?;
            }
            Self::NotTold { why } => write!(
                f,
                "the user may not ask for appendfsync, and an answer at once may be the truth or not ({why})"
            )?,
            Self::TooFewReplicas { connected, wanted } => {
                write!(f, "{connected} replicas are connected, {wanted} are to have each message")?;
            }
            Self::Unsupported { version: Some(version) } => write!(f, "{version} has no WAITAOF")?,
            Self::Unsupported { version: None } => f.write_str("the server has no WAITAOF")?,
            Self::Untried => f.write_str(
                "appendfsync is `everysec`, under which the engines we know call a write synced before it is",
            )?,
        }
        write!(f, " ({})", self.remedy())
    }
}

impl std::error::Error for DurabilityRefusal {}
