//! How safe a message is to be before its send is answered, and how certain the answer is.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use valkey_config::{Invalid, Raw, Setting};

use crate::error::SendError;
use crate::receipt::Receipt;

/// How safe a message is to be before its send is answered with a [`Receipt`].
///
/// ```
/// use valkey_sender::Durability;
///
/// assert_eq!("replicated:2".parse::<Durability>()?, Durability::Replicated(2.try_into()?));
/// assert_eq!(Durability::Durable.to_string(), "durable");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// The server's memory has it. Whether it outlives the server is up to the server's persistence.
    #[default]
    Fast,
    /// The server's disk has it: a power cut takes nothing that was confirmed. A failover to a replica may.
    Durable,
    /// The memory of the server and of so many replicas has it: a failover to one of these takes nothing that was
    /// confirmed.
    Replicated(NonZeroU32),
}

/// What the answer to a send is worth; see [`Certainty::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Certainty {
    /// The queue has the message (or had it), as safe as was asked for.
    Confirmed,
    /// The message may be in the queue, and may be less safe than was asked for.
    Unknown,
    /// The message is not in the queue.
    Rejected,
}

/// A text that names no durability; `Display` quotes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDurability(String);

// === impl Durability ===

impl FromStr for Durability {
    type Err = InvalidDurability;

    /// `fast`, `durable`, and `replicated:2` or `replicated(2)`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let replicated = |text: &str| {
            let count = text.strip_prefix("replicated")?;
            let count = count.strip_prefix(':').or_else(|| count.strip_prefix('(')?.strip_suffix(')'))?;
            count.parse().ok().map(Self::Replicated)
        };
        match text {
            "fast" => Ok(Self::Fast),
            "durable" => Ok(Self::Durable),
            _ => replicated(text).ok_or_else(|| InvalidDurability(text.to_owned())),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fast => f.write_str("fast"),
            Self::Durable => f.write_str("durable"),
            Self::Replicated(count) => write!(f, "replicated({count})"),
        }
    }
}

impl Setting for Durability {
    fn type_name() -> String {
        "`fast`, `durable` or `replicated(N)`".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        raw.into_text()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| Invalid::expected(Self::type_name()))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for InvalidDurability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no durability: expected `fast`, `durable` or `replicated(N)` with N from 1, which may also be \
             written `replicated:N`",
            self.0
        )
    }
}

impl std::error::Error for InvalidDurability {}

// === impl Certainty ===

impl Certainty {
    /// What the answer to a send is worth. For what exactly it is confirmed, see [`Receipt::durability`].
    ///
    /// ```no_run
    /// # use valkey_sender::{Certainty, Sender};
    /// # async fn run(sender: Sender, envelope: valkey_envelope::Envelope) {
    /// match Certainty::of(&sender.send(envelope).await) {
    ///     Certainty::Confirmed => {}
    ///     Certainty::Unknown => { /* with dedup: send it again under the same id */ }
    ///     Certainty::Rejected => { /* it is not there */ }
    /// }
    /// # }
    /// ```
    pub fn of(answer: &Result<Receipt, SendError>) -> Self {
        match answer {
            Ok(receipt) if receipt.is_accepted() => Self::Confirmed,
            Err(error) if error.outcome_unknown() => Self::Unknown,
            Ok(_) | Err(_) => Self::Rejected,
        }
    }

    /// `confirmed`, `unknown` or `rejected`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Unknown => "unknown",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use valkey_envelope::{MessageId, QueueName};

    #[test]
    fn durabilities_are_read_and_shown() {
        for (text, shown) in [
            ("fast", "fast"),
            ("durable", "durable"),
            ("replicated:2", "replicated(2)"),
            ("replicated(3)", "replicated(3)"),
        ] {
            assert_eq!(text.parse::<Durability>().expect("valid").to_string(), shown);
        }
        for text in
            ["", "Fast", "replicated", "replicated:0", "replicated:", "replicated(2", "replicated2", "safe"]
        {
            let told = text.parse::<Durability>().expect_err("not valid").to_string();
            assert!(
                told.starts_with(&format!("`{text}` is no")) && told.contains("`replicated(N)`"),
                "{told}"
            );
        }
    }

    #[test]
    fn every_answer_is_one_of_three() {
        let id = || MessageId::from("1");
        let queue: QueueName = "q".parse().expect("a name");
        let durability = Durability::Durable;
        let unknown = SendError::Unknown { queue: queue.clone(), id: id(), deduplicated: true, source: None };
        for (answer, certainty) in [
            (Ok(Receipt::Sent { id: id(), durability }), Certainty::Confirmed),
            (Ok(Receipt::Scheduled { id: id(), durability }), Certainty::Confirmed),
            (Ok(Receipt::Duplicate { id: id(), durability }), Certainty::Confirmed),
            (Ok(Receipt::Shed { id: id() }), Certainty::Rejected),
            (Err(unknown), Certainty::Unknown),
            (Err(SendError::QueueFull { queue, id: id(), limit: 1 }), Certainty::Rejected),
        ] {
            assert_eq!(Certainty::of(&answer), certainty, "{answer:?}");
        }
    }
}
