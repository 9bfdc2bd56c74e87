//! Where a message of a queue can be.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use valkey_envelope::{Lane, QueueKeys};

/// A part of a queue. Ordered as a consumer would come to the messages in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Claimed by consumers.
    InFlight,
    /// What idle consumers were woken with and will take next; counts as ready.
    Woken,
    /// Reclaimed after a crash, and due retries; counts as ready.
    Redo,
    /// The high lane.
    High,
    /// The public list `queue:NAME`, the normal lane.
    Public,
    /// The low lane.
    Low,
    /// Waiting for their time: delayed first deliveries and retries.
    Delayed,
    /// The dead letters.
    Dead,
}

/// The text names no [`Place`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no part of a queue is called {0:?}: expected in-flight, woken, redo, high, public, low, delayed or dead"
)]
pub struct InvalidPlace(String);

// === impl Place ===

impl Place {
    /// All places, in the order of the enum.
    pub const ALL: [Self; 8] = [
        Self::InFlight,
        Self::Woken,
        Self::Redo,
        Self::High,
        Self::Public,
        Self::Low,
        Self::Delayed,
        Self::Dead,
    ];

    /// The places whose messages are ready to be taken.
    pub const READY: [Self; 5] = [Self::Woken, Self::Redo, Self::High, Self::Public, Self::Low];

    /// The name on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in-flight",
            Self::Woken => "woken",
            Self::Redo => "redo",
            Self::High => "high",
            Self::Public => "public",
            Self::Low => "low",
            Self::Delayed => "delayed",
            Self::Dead => "dead",
        }
    }

    /// The key of the place; none for what is in flight, which has a key per consumer.
    pub(crate) fn key(self, keys: &QueueKeys) -> Option<&str> {
        Some(match self {
            Self::InFlight => return None,
            Self::Woken => keys.woken(),
            Self::Redo => keys.redo(),
            Self::High => keys.lane(Lane::High),
            Self::Public => keys.public(),
            Self::Low => keys.lane(Lane::Low),
            Self::Delayed => keys.delayed(),
            Self::Dead => keys.dead(),
        })
    }

    /// The type of the place's key, in the server's words.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::InFlight => "hash",
            Self::Delayed | Self::Dead => "zset",
            _ => "list",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|place| place.as_str() == name)
            .ok_or_else(|| InvalidPlace(name.to_owned()))
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Place;

    #[test]
    fn names_lead_back_and_others_are_refused() {
        for place in Place::ALL {
            assert_eq!(place.as_str().parse(), Ok(place));
        }
        let refused = "normal".parse::<Place>().unwrap_err().to_string();
        assert!(refused.contains("\"normal\"") && refused.contains("public"), "{refused}");
    }
}
