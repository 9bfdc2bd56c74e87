//! The three lanes of a queue.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How urgent a message is. Each lane is a list of its own; a take serves the higher ones first.
///
/// In an envelope and in settings a lane is its name (`high`, `normal`, `low`); in frames, which scripts read, it
/// is one character (`h`, `n`, `l`).
///
/// ```
/// use valkey_envelope::Lane;
///
/// assert_eq!("high".parse(), Ok(Lane::High));
/// assert_eq!(Lane::Low.to_string(), "low");
/// assert_eq!(Lane::from_char('n'), Some(Lane::Normal));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Served before the others.
    High,
    /// The public list `queue:NAME`, where messages of plain producers are.
    #[default]
    Normal,
    /// Served when nothing else waits.
    Low,
}

/// The text is not the name of a [`Lane`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such priority: expected `high`, `normal` or `low`")]
pub struct InvalidLane(());

// === impl Lane ===

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The name: `high`, `normal` or `low`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The character that stands for the lane in frames: `h`, `n` or `l`.
    pub const fn as_char(self) -> char {
        match self {
            Self::High => 'h',
            Self::Normal => 'n',
            Self::Low => 'l',
        }
    }

    /// The lane of a frame character, if it is one.
    pub const fn from_char(lane: char) -> Option<Self> {
        match lane {
            'h' => Some(Self::High),
            'n' => Some(Self::Normal),
            'l' => Some(Self::Low),
            _ => None,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Lane {
    type Err = InvalidLane;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == name).ok_or(InvalidLane(()))
    }
}

#[cfg(test)]
mod tests {
    use super::Lane;

    #[test]
    fn name_and_character_lead_back_to_the_lane() {
        for lane in Lane::ALL {
            assert_eq!(lane.as_str().parse(), Ok(lane));
            assert_eq!(Lane::from_char(lane.as_char()), Some(lane));
        }
        assert!("High".parse::<Lane>().is_err());
        assert_eq!(Lane::from_char('x'), None);
    }
}
