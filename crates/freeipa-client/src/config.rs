//! What a server says of itself.

use std::fmt;
use std::ops::Deref;

use crate::entry::Entry;
use crate::envelope::Reply;

/// The settings of the domain: an [`Entry`] with names for what is asked most.
#[derive(Clone, PartialEq)]
pub struct DomainConfig {
    entry: Entry,
}

impl DomainConfig {
    pub(crate) fn new(entry: Entry) -> Self {
        Self { entry }
    }

    /// How long a login may be.
    pub fn max_username_length(&self) -> Option<usize> {
        self.entry.integer("ipamaxusernamelength").and_then(|length| usize::try_from(length).ok())
    }

    /// The domain of the mail address that a user gets who is made without one.
    pub fn default_mail_domain(&self) -> Option<&str> {
        self.entry.text("ipadefaultemaildomain")
    }

    /// The group that every new user is put into.
    pub fn default_group(&self) -> Option<&str> {
        self.entry.text("ipadefaultprimarygroup")
    }
}

impl Deref for DomainConfig {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl fmt::Debug for DomainConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DomainConfig").field(&self.entry).finish()
    }
}

/// What a server says to a ping.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// The version of the server, such as `4.12.4`.
    pub version: Option<String>,
    /// The newest version of the API that it has, such as `2.254`.
    pub api_version: Option<String>,
    /// Who asked, by the server's account: `svc-registrar@EXAMPLE.ORG`.
    pub principal: Option<String>,
}

impl ServerInfo {
    pub(crate) fn of(reply: &Reply) -> Self {
        let summary = reply.result().get("summary").and_then(serde_json::Value::as_str).unwrap_or_default();
        let after = |words: &str| {
            let word = summary.split_once(words)?.1.split_whitespace().next()?;
            Some(word.trim_end_matches('.').to_owned())
        };
        Self {
            version: reply.version().map(str::to_owned).or_else(|| after("server version ")),
            api_version: after("API version "),
            principal: reply.principal().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_ping_tells_versions() {
        let bytes = br#"{"result":{"summary":"IPA server version 4.12.4. API version 2.254"},"error":null,"principal":"p@R"}"#;
        let info = ServerInfo::of(&crate::envelope::decode(bytes).unwrap().unwrap());
        assert_eq!(info.version.as_deref(), Some("4.12.4"));
        assert_eq!(info.api_version.as_deref(), Some("2.254"));
        assert_eq!(info.principal.as_deref(), Some("p@R"));
    }
}
