//! Join, reap and release: how a consumer gets its lease, and how what it held comes back.

use std::collections::btree_map::Entry;

use valkey_envelope::Frame;

use super::take::lane_letter;
use super::{FENCED, Field, LONGEST_LEASE_MS, Queue};
use crate::call::{Answer, Join, Reap, Release, answer};

impl Queue {
    /// The format of the queue, if it is beyond what somebody knows. What is no number is of somebody who knows more.
    pub(crate) fn format_beyond(&self, knows: Option<u32>) -> Option<&str> {
        let format = self.control.settings.get("version")?;
        let newest = f64::from(knows.unwrap_or(1));
        let is_known = format.parse::<f64>().is_ok_and(|format| format <= newest);
        (!is_known).then_some(format)
    }

    /// Only a join makes a consumer, and only of a name that is none and holds nothing, by somebody who knows the format.
    pub(super) fn join(&mut self, now_ms: u64, call: &Join) -> Answer {
        if let Some(format) = self.format_beyond(call.knows) {
            return answer!["newer", format];
        }
        if self.consumers.contains_key(&call.cid) || self.hands.contains_key(&call.cid) {
            return answer!["fenced"];
        }
        let longest = self
            .control
            .lease_ms
            .filter(|known| (call.lease_ms..=LONGEST_LEASE_MS).contains(known))
            .unwrap_or(call.lease_ms);
        self.control.lease_ms = Some(longest);
        if self.server_restarted() {
            self.give_everybody_a_lease(now_ms + longest);
        }
        self.control.run_id = Some(self.run_id.clone());
        self.consumers.insert(call.cid.clone(), now_ms + call.lease_ms);
        answer!["joined"]
    }

    /// What a dead consumer held goes to the end of redo with a crash more, or, if it alone can be to blame and has been
    /// often enough, to the dead letters.
    pub(super) fn reap(&mut self, now_ms: u64, call: &Reap) -> Answer {
        let longest = self.control.lease_ms.unwrap_or(0).min(LONGEST_LEASE_MS).max(call.lease_ms);
        let restarted = self.server_restarted();
        if restarted {
            self.give_everybody_a_lease(now_ms + longest);
        }
        // A deadline that no lease can have given is from before the clock stepped back.
        for deadline in self.consumers.values_mut().filter(|deadline| **deadline > now_ms + 2 * longest) {
            *deadline = now_ms + longest;
        }
        self.control.run_id = Some(self.run_id.clone());

        let cid = &call.cid;
        let Some(deadline) = self.consumers.get(cid).copied() else { return answer!["gone", 0, 0, 0] };
        if deadline > now_ms {
            return answer![if restarted { "spared" } else { "alive" }, 0, 0, 0];
        }
        if deadline != FENCED {
            self.consumers.insert(cid.clone(), FENCED);
            if let Some(hand) = self.hands.get_mut(cid).filter(|hand| !hand.held.is_empty()) {
                hand.crowd = Some(hand.held.len());
            }
        }
        let alone = self.hand(cid).and_then(|hand| hand.crowd) == Some(1);
        let (mut moved, mut buried) = (0, 0);
        for (field, claimed_ms, mut frame) in self.oldest(cid, call.limit, call.byte_limit) {
            frame.crashes += 1;
            if alone && frame.crashes >= call.max_crashes {
                self.bury(now_ms, field, cid, crash_story(now_ms, cid, claimed_ms, &frame), frame.raw);
                buried += 1;
            } else {
                self.redo.push_back(frame);
                moved += 1;
            }
        }
        let left = self.held(cid);
        if left == 0 {
            self.forget(cid);
        }
        self.count("reclaimed", moved);
        self.count("dead", buried);
        answer!["reaped", moved, buried, left]
    }

    /// What a consumer still holds goes back uncounted to where it came from, the oldest to be taken first.
    pub(super) fn release(&mut self, call: &Release) -> Answer {
        let cid = &call.cid;
        if let Entry::Occupied(mut deadline) = self.consumers.entry(cid.clone()) {
            deadline.insert(FENCED);
        }
        let (mut released, mut bytes) = (0, 0);
        while released < call.limit && bytes < call.byte_limit {
            let Some((_, held)) = self.hands.get_mut(cid).and_then(|hand| hand.held.pop_last()) else {
                break;
            };
            bytes += held.value().len();
            self.back_to_head(held.frame);
            released += 1;
        }
        let left = self.held(cid);
        if left == 0 {
            self.forget(cid);
        }
        answer![released, left]
    }

    /// Takes the messages claimed first out of a hand.
    fn oldest(&mut self, cid: &str, limit: usize, byte_limit: usize) -> Vec<(Field, u64, Frame)> {
        let (mut oldest, mut bytes) = (Vec::new(), 0);
        while oldest.len() < limit && bytes < byte_limit {
            let first = self.hands.get_mut(cid).and_then(|hand| hand.held.pop_first());
            let Some((field, held)) = first else { break };
            bytes += held.value().len();
            oldest.push((field, held.claimed_ms, held.frame));
        }
        oldest
    }

    fn server_restarted(&self) -> bool {
        self.control.run_id.as_ref().is_some_and(|known| *known != self.run_id)
    }

    /// An outage of the server is nobody's crash. Who is fenced stays so.
    fn give_everybody_a_lease(&mut self, until_ms: u64) {
        for deadline in self.consumers.values_mut().filter(|deadline| **deadline != FENCED) {
            *deadline = until_ms;
        }
    }
}

fn crash_story(now_ms: u64, cid: &str, claimed_ms: u64, frame: &Frame) -> String {
    let Frame { crashes, attempts, lane, .. } = frame;
    let lane = lane_letter(*lane);
    format!(
        r#"{{"reason":"crashed","error":"its consumer died {crashes} times with it, the last time with nothing else in flight","attempts":{attempts},"crashes":{crashes},"lane":"{lane}","at_ms":{now_ms},"claimed_ms":{claimed_ms},"consumer":"{cid}"}}"#
    )
}
