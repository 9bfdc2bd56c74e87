//! Push: messages into lanes or the delayed set, unless they are duplicates or there is no room.

use valkey_envelope::{Frame, Lane};

use super::Queue;
use crate::call::{Answer, Push, answer};

impl Queue {
    pub(super) fn push(&mut self, now_ms: u64, call: &Push) -> Answer {
        if call.window_ms > 0 && now_ms / call.window_ms != call.generation {
            return answer!["stale"];
        }
        let configured = self.control.number("max_length").map(|limit| limit as usize);
        let limit = [call.max_length, configured].into_iter().flatten().min();
        let mut room = limit.map(|limit| limit.saturating_sub(self.waiting() + self.delayed.len()));
        let mut fates = String::new();
        for item in &call.items {
            let id = item.dedup.as_ref().filter(|_| call.window_ms > 0);
            if id.is_some_and(|id| self.was_seen(call.generation, id)) {
                fates.push('d');
                continue;
            }
            if room == Some(0) {
                fates.push('f');
                continue;
            }
            room = room.map(|room| room - 1);
            if let Some(id) = id {
                let seen = self.seen.entry(call.generation).or_default();
                seen.ids.insert(id.clone());
                seen.until_ms = (call.generation + 2) * call.window_ms;
            }
            if item.due_ms > now_ms {
                self.delay(item.due_ms, item.member_id.clone(), Frame::fresh(item.lane, item.raw.clone()));
                fates.push('s');
            } else {
                self.lane(item.lane).push_back(item.raw.clone());
                if item.lane == Lane::Normal {
                    self.public_expiry = None;
                }
                fates.push('p');
            }
        }
        answer!["ok", fates, limit.map(|limit| limit.to_string()).unwrap_or_default()]
    }

    /// An id is remembered in the generation it was pushed in and the next one.
    fn was_seen(&self, generation: u64, id: &str) -> bool {
        let generations = [Some(generation), generation.checked_sub(1)].into_iter().flatten();
        generations.filter_map(|number| self.seen.get(&number)).any(|seen| seen.ids.contains(id))
    }

    /// What is remembered as of the generation now current becomes that of the one before.
    pub(super) fn window_passes(&mut self, generation: u64, window_ms: u64) {
        self.seen.remove(&(generation - 1));
        if let Some(mut seen) = self.seen.remove(&generation) {
            seen.until_ms = (generation + 1) * window_ms;
            self.seen.insert(generation - 1, seen);
        }
    }
}
