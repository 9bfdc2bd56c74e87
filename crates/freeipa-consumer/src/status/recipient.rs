//! Who is told.

use std::fmt;

/// Whom a report is for, and where it goes. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Recipient {
    /// The chat that gets the report.
    pub chat_id: i64,
    /// The person, if the message said so, or the chat is a person's.
    pub user_id: Option<i64>,
    /// The language of the person's client.
    pub language: Option<String>,
}

impl Recipient {
    /// From what a message says of user and chat; the private chat with a person has the person's id. `None` if it says neither.
    pub fn new(user_id: Option<i64>, chat_id: Option<i64>, language: Option<String>) -> Option<Self> {
        let person = user_id.filter(|id| *id > 0);
        // Kept apart from the chat: where that one moves to is not the person's own any more.
        let user_id = user_id.or(chat_id.filter(|id| *id > 0));
        Some(Self { chat_id: chat_id.or(person)?, user_id, language })
    }

    /// The person, whose private chat has the same number.
    pub(crate) fn person(&self) -> Option<i64> {
        self.user_id.or(Some(self.chat_id)).filter(|id| *id > 0)
    }

    /// Whether nobody but the person reads that chat. Only there a password may be told: a message can name any chat.
    pub fn is_private(&self) -> bool {
        self.chat_id > 0 && self.user_id.is_none_or(|user_id| user_id == self.chat_id)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient").field("is_private", &self.is_private()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_the_persons_own_chat_is_private() {
        for (user_id, chat_id, expected) in [
            (Some(42), Some(42), Some((42, true))),
            (Some(42), None, Some((42, true))),
            (None, Some(42), Some((42, true))),
            (Some(42), Some(43), Some((43, false))),
            (Some(42), Some(-100), Some((-100, false))),
            (None, Some(-100), Some((-100, false))),
            (Some(-100), Some(-100), Some((-100, false))),
            (Some(-5), None, None),
            (None, None, None),
        ] {
            let recipient = Recipient::new(user_id, chat_id, None);
            assert_eq!(recipient.as_ref().map(|to| (to.chat_id, to.is_private())), expected);
        }
    }

    #[test]
    fn a_chat_that_moves_is_private_no_more() {
        for user_id in [Some(42), None] {
            let mut recipient = Recipient::new(user_id, Some(42), None).unwrap();
            recipient.chat_id = 9999;
            assert!(!recipient.is_private() && recipient.person() == Some(42));
        }
    }
}
