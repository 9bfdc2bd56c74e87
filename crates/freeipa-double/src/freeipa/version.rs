//! Which FreeIPA this is.

use serde::{Deserialize, Serialize};

/// Which FreeIPA the double is. They differ in what a login of a disabled or locked account is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Version {
    /// 4.12.4: says `invalid-password` of disabled and locked accounts, too.
    #[default]
    #[serde(rename = "4.12.4")]
    V4_12_4,
    /// 4.13.1: says `user-locked` of them.
    #[serde(rename = "4.13.1")]
    V4_13_1,
}

/// What a client of some version of the API understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ApiVersion {
    pub(crate) major: u32,
    minor: u32,
}

// === impl Version ===

impl Version {
    /// The server's version, as it stands in every reply.
    pub fn server(self) -> &'static str {
        match self {
            Self::V4_12_4 => "4.12.4",
            Self::V4_13_1 => "4.13.1",
        }
    }

    /// The version of its API.
    pub fn api(self) -> &'static str {
        match self {
            Self::V4_12_4 => "2.254",
            Self::V4_13_1 => "2.257",
        }
    }
}

impl std::str::FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::V4_12_4, Self::V4_13_1]
            .into_iter()
            .find(|version| version.server() == text)
            .ok_or_else(|| format!("{text:?} is no version the double can be; take 4.12.4 or 4.13.1"))
    }
}

// === impl ApiVersion ===

impl ApiVersion {
    /// What clients are that do not say.
    pub(crate) const UNSAID: Self = Self { major: 2, minor: 51 };

    /// From `2.251`; further parts are read, and do not count.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
        let version = Self { major: parts.next()??, minor: parts.next().unwrap_or(Some(0))? };
        parts.all(|part| part.is_some()).then_some(version)
    }

    /// Whether results may carry messages.
    pub(crate) fn has_messages(self) -> bool {
        self.minor >= 52
    }

    /// Whether keys keep their type; else lists of them are one text.
    pub(crate) fn has_typed_keys(self) -> bool {
        self.minor >= 83
    }

    /// Whether times are objects; else they are texts.
    pub(crate) fn has_times(self) -> bool {
        self.minor >= 84
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn versions_are_read_as_numbers() {
        let version = ApiVersion::parse("2.251").unwrap();
        assert!(version.has_messages() && version.has_typed_keys() && version.has_times());
        let old = ApiVersion::parse("2.9").unwrap();
        assert!(!old.has_messages(), "9 is less than 52");
        for text in ["", "x", "2.x", "2.1.x"] {
            assert_eq!(ApiVersion::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn who_does_not_say_understands_neither_times_nor_messages() {
        assert!(!ApiVersion::UNSAID.has_times() && !ApiVersion::UNSAID.has_messages());
    }
}
