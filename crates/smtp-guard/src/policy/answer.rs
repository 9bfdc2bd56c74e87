//! What Postfix is told.
//!
//! A refusal is `450` rather than `DEFER_IF_PERMIT`: it ends the other restrictions, so that who is over a limit costs no more
//! lookups. Whatever should refuse for good stands before `check_policy_service`, and then was asked already. `421`
//! would end the client's session, and with it the messages of others that a relay sends over it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use valkey_ratelimit::RuleName;

use crate::settings::Per;

/// What Postfix is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// Nothing speaks against it: `DUNNO`, the other restrictions decide.
    Dunno(Why),
    /// Too many messages: `450 4.7.1`.
    TooMuchMail(Refused),
    /// Too many recipients: `452 4.5.3`.
    TooManyRecipients(Refused),
    /// The limits could not be asked, and the limit says that nobody passes then: `451 4.3.2`.
    Unavailable,
}

/// Why nothing speaks against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// There was room.
    Room,
    /// Nothing to count: it was counted before, or no limit is about it.
    Nothing,
    /// The limits could not be asked.
    Fallback,
}

/// Who was refused, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// The limit.
    pub rule: RuleName,
    /// Whom it is about.
    pub per: Per,
    /// The client.
    pub client: Option<IpAddr>,
    /// After how long there will be room; none if there never will.
    pub retry_after: Option<Duration>,
}

// === impl Answer ===

impl Answer {
    /// The word for metrics and logs.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Dunno(Why::Room) => "passed",
            Self::Dunno(Why::Nothing) => "uncounted",
            Self::Dunno(Why::Fallback) => "fallback",
            Self::TooMuchMail(_) => "too_much_mail",
            Self::TooManyRecipients(_) => "too_many_recipients",
            Self::Unavailable => "unavailable",
        }
    }

    /// As it goes over the line.
    pub(crate) fn to_wire(&self) -> String {
        format!("action={self}\n\n")
    }
}

/// The action alone. No text of a client is in it: it is one line, whatever somebody calls himself.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dunno(_) => f.write_str("DUNNO"),
            Self::TooMuchMail(refused) => write!(f, "450 4.7.1 Error: too much mail {refused}"),
            Self::TooManyRecipients(refused) => write!(f, "452 4.5.3 Error: too many recipients {refused}"),
            Self::Unavailable => {
                f.write_str("451 4.3.2 Error: limits cannot be checked now, try again later")
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.per, self.client) {
            (Per::Client, Some(client)) => write!(f, "from {client}")?,
            (Per::Client, None) => f.write_str("from this client")?,
            (Per::Sender, _) => f.write_str("from this sender")?,
            (Per::SaslUser, _) => f.write_str("from this user")?,
            (Per::RecipientDomain, _) => f.write_str("for this domain")?,
        }
        match self.retry_after {
            Some(after) => write!(f, ", try again in {}s", after.as_millis().div_ceil(1_000).max(1))?,
            None => f.write_str(" at once")?,
        }
        write!(f, " (limit {})", self.rule)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn answers_are_what_postfix_takes() {
        let refused = |per, millis| Refused {
            rule: "minute".parse().unwrap(),
            per,
            client: "192.0.2.7".parse().ok(),
            retry_after: Some(Duration::from_millis(millis)),
        };
        for (answer, wire) in [
            (Answer::Dunno(Why::Room), "DUNNO"),
            (
                Answer::TooMuchMail(refused(Per::Client, 1_001)),
                "450 4.7.1 Error: too much mail from 192.0.2.7, try again in 2s (limit minute)",
            ),
            (
                Answer::TooManyRecipients(refused(Per::RecipientDomain, 0)),
                "452 4.5.3 Error: too many recipients for this domain, try again in 1s (limit minute)",
            ),
            (
                Answer::TooManyRecipients(Refused { retry_after: None, ..refused(Per::Sender, 0) }),
                "452 4.5.3 Error: too many recipients from this sender at once (limit minute)",
            ),
            (Answer::Unavailable, "451 4.3.2 Error: limits cannot be checked now, try again later"),
        ] {
            assert_eq!(answer.to_wire(), format!("action={wire}\n\n"));
        }
    }
}
