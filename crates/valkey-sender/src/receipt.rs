//! What became of a message that was not refused.

use valkey_envelope::MessageId;

use crate::durability::Durability;

/// The good answers to a send.
#[non_exhaustive]
#[must_use = "a receipt may say that the message was shed"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The queue accepted this id before, within the dedup window; nothing was added.
    ///
    /// Also the answer when the earlier acceptance was a try of this very send whose reply was lost.
    Duplicate {
        /// The id of the message.
        id: MessageId,
        /// How safe it is.
        durability: Durability,
    },
    /// It lies in the delayed set and goes to its lane when due.
    Scheduled {
        /// The id of the message.
        id: MessageId,
        /// How safe it is.
        durability: Durability,
    },
    /// It lies in its lane, ready to be received.
    Sent {
        /// The id of the message.
        id: MessageId,
        /// How safe it is.
        durability: Durability,
    },
    /// The queue was full and the policy is [`OnFull::Shed`](crate::OnFull::Shed): the message is dropped.
    Shed {
        /// The id of the message.
        id: MessageId,
    },
}

impl Receipt {
    /// The id of the message, whatever became of it.
    pub fn id(&self) -> &MessageId {
        match self {
            Self::Duplicate { id, .. }
            | Self::Scheduled { id, .. }
            | Self::Sent { id, .. }
            | Self::Shed { id } => id,
        }
    }

    /// How safe the message is: what the send asked for, and the server has confirmed. `None` if it was shed.
    pub fn durability(&self) -> Option<Durability> {
        match self {
            Self::Duplicate { durability, .. }
            | Self::Scheduled { durability, .. }
            | Self::Sent { durability, .. } => Some(*durability),
            Self::Shed { .. } => None,
        }
    }

    /// Whether the queue has, or had, the message: everything but [`Receipt::Shed`].
    pub fn is_accepted(&self) -> bool {
        !matches!(self, Self::Shed { .. })
    }
}
