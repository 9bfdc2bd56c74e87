//! How fast a bot may send.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

/// Messages to all chats in a second.
const IN_ALL: usize = 30;
/// Messages to one group in a minute.
const TO_GROUP: usize = 20;
const SECOND: SignedDuration = SignedDuration::from_secs(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// What was sent lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    all: VecDeque<Timestamp>,
    by_chat: BTreeMap<i64, VecDeque<Timestamp>>,
}

// === impl Pace ===

impl Pace {
    /// Sends one more, or says after how many seconds it may be tried again.
    pub(super) fn send(&mut self, chat: i64, now: Timestamp) -> Result<(), u64> {
        forget(&mut self.all, now, SECOND);
        let (most, within) = if chat < 0 { (TO_GROUP, MINUTE) } else { (1, SECOND) };
        let lately = self.by_chat.entry(chat).or_default();
        forget(lately, now, within);
        for (queue, most, within) in [(&*lately, most, within), (&self.all, IN_ALL, SECOND)] {
            if queue.len() >= most {
                let oldest = queue.front().copied().unwrap_or(now);
                let wait = oldest.saturating_add(within).unwrap_or(now).duration_since(now);
                return Err(u64::try_from(wait.as_secs()).unwrap_or_default().max(1));
            }
        }
        lately.push_back(now);
        self.all.push_back(now);
        Ok(())
    }
}

fn forget(queue: &mut VecDeque<Timestamp>, now: Timestamp, within: SignedDuration) {
    while queue.front().is_some_and(|at| now.duration_since(*at) >= within) {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_to_a_chat_and_thirty_in_all() {
        let (mut pace, now) = (Pace::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(pace.send(1, now), Ok(()));
        assert_eq!(pace.send(1, now), Err(1));
        assert_eq!(pace.send(1, now + SECOND), Ok(()));
        for chat in 2..31 {
            assert_eq!(pace.send(chat, now + SECOND), Ok(()), "{chat}");
        }
        assert_eq!(pace.send(99, now + SECOND), Err(1));
    }

    #[test]
    fn twenty_a_minute_to_a_group() {
        let (mut pace, now) = (Pace::default(), Timestamp::UNIX_EPOCH);
        for at in 0..20 {
            assert_eq!(pace.send(-1, now + SignedDuration::from_secs(at)), Ok(()));
        }
        assert_eq!(pace.send(-1, now + SignedDuration::from_secs(20)), Err(40));
        assert_eq!(pace.send(-1, now + SignedDuration::from_secs(60)), Ok(()));
    }
}
