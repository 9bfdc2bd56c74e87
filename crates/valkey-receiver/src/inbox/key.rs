//! Under which key a message's effect is remembered.

use std::fmt;
use std::sync::Arc;

use crate::handler::Message;
use crate::inbox::NO_INBOX_KEY;
use crate::outcome::Outcome;
use crate::telemetry::InboxFate;

/// The longest key, in bytes. Ours have 36; foreign ids may be anything.
const LONGEST_KEY: usize = 200;

/// What becomes of a message without a key: it came without an id, or your closure gave none; also if the key has more
/// than 200 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMissingKey {
    /// It is kept among the dead letters as `no_inbox_key`, and its handler is not called.
    #[default]
    DeadLetter,
    /// Its handler is called each time it comes: its effect happens **at least once**.
    RunEachTime,
}

type KeyOf = dyn Fn(&Message) -> Option<String> + Send + Sync;

/// How keys are made.
#[derive(Clone, Default)]
pub(crate) struct KeyRule {
    key: Option<Arc<KeyOf>>,
    pub(crate) missing: OnMissingKey,
}

// === impl KeyRule ===

impl KeyRule {
    pub(crate) fn by(&mut self, key: impl Fn(&Message) -> Option<String> + Send + Sync + 'static) {
        self.key = Some(Arc::new(key));
    }

    /// The key, or what becomes of a message that has none.
    pub(crate) fn of(&self, message: &Message) -> Result<String, Outcome> {
        let key = match &self.key {
            Some(key) => key(message),
            None => Some(message.envelope().id().as_str().to_owned()),
        };
        match (key.filter(|key| (1..=LONGEST_KEY).contains(&key.len())), self.missing) {
            (Some(key), _) => Ok(key),
            // One that nothing else has: the mark guards only this one run.
            (None, OnMissingKey::RunEachTime) => Ok(format!("-{}", uuid::Uuid::now_v7().simple())),
            (None, OnMissingKey::DeadLetter) => {
                InboxFate::NoKey.count(message.queue());
                let why = "no id of 1 to 200 bytes to remember its effect by";
                Err(Outcome::dead_letter_as(NO_INBOX_KEY.into(), why))
            }
        }
    }
}

impl fmt::Debug for KeyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_some() { "own" } else { "id" };
        f.debug_struct("KeyRule").field("key", &key).field("missing", &self.missing).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use valkey_envelope::Envelope;

    use super::*;

    fn message(id: &str) -> Message {
        Message::detached(Envelope::new(&1).unwrap().with_id(id), &"q".parse().unwrap())
    }

    #[test]
    fn the_id_is_the_key_unless_a_closure_makes_one() {
        let mut rule = KeyRule::default();
        assert_eq!(rule.of(&message("a")), Ok("a".to_owned()));
        rule.by(|message| Some(format!("mail:{}", message.envelope().id().as_str())));
        assert_eq!(rule.of(&message("a")), Ok("mail:a".to_owned()));
    }

    #[test]
    fn a_message_without_a_key_is_a_dead_letter_unless_it_may_run_each_time() {
        let mut rule = KeyRule::default();
        for id in ["", &"x".repeat(201)] {
            let Err(Outcome::DeadLetter { reason, .. }) = rule.of(&message(id)) else { panic!("{id}") };
            assert_eq!(reason.as_str(), "no_inbox_key");
        }
        rule.missing = OnMissingKey::RunEachTime;
        assert_ne!(rule.of(&message("")).unwrap(), rule.of(&message("")).unwrap());
        rule.by(|_| None);
        assert!(rule.of(&message("a")).unwrap().starts_with('-'));
    }
}
