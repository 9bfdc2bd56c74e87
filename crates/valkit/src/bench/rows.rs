//! The rows of the queue's bench: one load each.

use super::{
    lab::Lab,
    load::{Load, Measured, Way},
};
use crate::failure::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    RawSend,
    Send,
    SendMany,
    SendSingly,
    RawReceive,
    Receive,
    RawReceiveFour,
    ReceiveFour,
    MoveAndRemove,
    EndToEnd,
}

// === impl Row ===

impl Row {
    pub(crate) const ALL: [Self; 10] = [
        Self::RawSend,
        Self::Send,
        Self::SendMany,
        Self::SendSingly,
        Self::RawReceive,
        Self::Receive,
        Self::RawReceiveFour,
        Self::ReceiveFour,
        Self::MoveAndRemove,
        Self::EndToEnd,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RawSend => "raw send: LPUSH of encoded batches",
            Self::Send => "send_all, batches",
            Self::SendMany => "send_all, all at once",
            Self::SendSingly => "send, 64 tasks",
            Self::RawReceive => "raw receive: RPOP of batches",
            Self::Receive => "receive and ack",
            Self::RawReceiveFour => "raw receive, four consumers",
            Self::ReceiveFour => "receive and ack, four consumers",
            Self::MoveAndRemove => "BLMOVE and LREM, one by one",
            Self::EndToEnd => "send, receive and ack at once",
        }
    }

    const fn load(self, messages: usize) -> Load {
        // One by one is slow, and as telling with fewer.
        let (way, hands, messages) = match self {
            Self::RawSend => (Way::RawSend, 1, messages),
            Self::Send => (Way::Send, 1, messages),
            Self::SendMany => (Way::SendMany, 1, messages),
            Self::SendSingly => (Way::SendSingly, 64, messages / 4),
            Self::RawReceive => (Way::RawReceive, 1, messages),
            Self::Receive => (Way::Receive, 1, messages),
            Self::RawReceiveFour => (Way::RawReceive, 4, messages),
            Self::ReceiveFour => (Way::Receive, 4, messages),
            Self::MoveAndRemove => (Way::MoveAndRemove, 1, messages / 20),
            Self::EndToEnd => (Way::EndToEnd, 1, messages),
        };
        Load { way, hands, messages, waiting: 0 }
    }

    /// Runs the row on a clean queue.
    pub(crate) async fn measure(self, lab: &Lab, messages: usize) -> Result<Measured, Failure> {
        self.load(messages).measure(lab).await
    }
}
