//! Take: settle what is done, renew the lease, promote what is due, claim what is ready.

use std::collections::VecDeque;

use bytes::Bytes;
use valkey_envelope::{Frame, Lane};

use super::{FENCED, Held, LONGEST_LEASE_MS, Queue};
use crate::call::{Answer, Take, answer};
use crate::clock::Moment;

/// Messages move in slices of this length; whether there are too many bytes is asked between slices.
const SLICE: usize = 8;
/// So many are promoted by one take.
const PROMOTE_MAX: usize = 64;
/// So many that crashed twice may share a consumer.
const SUSPECTS_TOGETHER: usize = 8;
const LONGEST_HOLD_MS: f64 = 3_600_000.0;

/// How many may be claimed, and what keeps it from being more.
struct Room {
    count: usize,
    hold: &'static str,
    hold_ms: u64,
    /// The rate, if one is in force.
    rate: Option<Rate>,
}

/// A bucket that fills while time passes: a message costs `emission`, and the time up to which it is paid for is kept.
struct Rate {
    emission_us: f64,
    used_up_to_us: f64,
}

/// What a take claims.
struct Batch {
    number: u64,
    stamp_ms: u64,
    byte_limit: usize,
    bytes: usize,
    shape: String,
    items: Vec<Bytes>,
    claimed: Vec<Held>,
}

impl Queue {
    pub(super) fn take(&mut self, now: Moment, call: &Take) -> Answer {
        let Some(deadline) = self.consumers.get(&call.cid) else { return answer!["fenced", 0] };
        if *deadline == FENCED {
            return answer!["fenced", 1];
        }
        let last = self.hand(&call.cid).and_then(|hand| hand.last_take);
        if let Some(last) = last.filter(|last| call.number <= *last) {
            return answer!["stale", last];
        }

        let (acked, others) = self.settle(now.ms(), call);
        self.consumers.insert(call.cid.clone(), now.ms() + call.lease_ms);
        self.promote(now.ms(), call.byte_limit);
        if !self.normal.is_empty() {
            self.public_expiry = None;
        }

        let mut room = self.room(now, call);
        let ready = self.waiting();
        let mut batch = Batch {
            number: call.number,
            stamp_ms: now.ms(),
            byte_limit: call.byte_limit,
            bytes: 0,
            shape: String::new(),
            items: Vec::new(),
            claimed: Vec::new(),
        };
        self.claim(&mut batch, &mut room, call);
        let claimed = batch.items.len();
        let hand = self.hands.entry(call.cid.clone()).or_default();
        hand.last_take = Some(call.number);
        hand.held.extend(batch.in_flight());
        let held = hand.held.len() as u64;
        if let Some(rate) = room.rate.filter(|_| claimed > 0) {
            let used = rate.used_up_to_us + claimed as f64 * rate.emission_us;
            self.control.used_up_to_us = Some(used.round_ties_even());
        }
        if self.control.number("max_in_flight").is_some() {
            self.control.shares.insert(call.cid.clone(), held);
        }
        self.count("taken", claimed);
        self.count("acked", acked);

        let (expired, foreign_ms) = self.whom_to_reap(now.ms(), call, claimed);
        let mut told = answer![
            "ok",
            acked,
            others,
            self.next_due_ms(),
            foreign_ms,
            expired,
            room.hold,
            room.hold_ms,
            u8::from(ready > claimed),
            batch.shape,
        ];
        told.extend(batch.items);
        told.extend(answer![held]);
        told
    }

    /// Each settle counts only if its message is in the consumer's own hand; then it leaves that hand.
    fn settle(&mut self, now_ms: u64, call: &Take) -> (usize, usize) {
        let cid = &call.cid;
        let acked = call.acks.iter().filter(|field| self.release_field(cid, **field).is_some()).count();
        let (mut retried, mut buried, mut given_back) = (0, 0, 0);
        for (field, delay_ms, counted) in &call.retries {
            let Some(Held { mut frame, .. }) = self.release_field(cid, *field) else { continue };
            frame.attempts += u32::from(*counted);
            if *delay_ms > 0 {
                self.delay(now_ms + delay_ms, format!("{}-{}-{cid}", field.0, field.1), frame);
            } else {
                self.redo.push_back(frame);
            }
            retried += 1;
        }
        for (field, story) in &call.deads {
            let Some(Held { frame, .. }) = self.release_field(cid, *field) else { continue };
            self.bury(now_ms, *field, cid, story.clone(), frame.raw);
            buried += 1;
        }
        for field in &call.backs {
            let Some(Held { frame, .. }) = self.release_field(cid, *field) else { continue };
            self.back_to_head(frame);
            given_back += 1;
        }
        self.count("retried", retried);
        self.count("dead", buried);
        (acked, retried + buried + given_back)
    }

    /// What is due joins the end of its line, the earliest first.
    fn promote(&mut self, now_ms: u64, byte_limit: usize) {
        let (mut promoted, mut bytes) = (0, 0);
        while promoted < PROMOTE_MAX && bytes < byte_limit {
            let due: Vec<_> =
                self.delayed.keys().take_while(|(due, _)| *due <= now_ms).take(SLICE).cloned().collect();
            if due.is_empty() {
                break;
            }
            for key in due {
                let frame = self.delayed.remove(&key).expect("it was found").frame;
                if frame.is_fresh() {
                    self.lane(frame.lane).push_back(frame.raw);
                } else {
                    self.redo.push_back(frame);
                }
                promoted += 1;
                bytes += key.1.len();
            }
        }
    }

    /// Pause beats rate; the bound on messages in flight counts besides.
    fn room(&self, now: Moment, call: &Take) -> Room {
        let mut room = Room { count: call.want, hold: "", hold_ms: 0, rate: None };
        let rate = self.control.number("rate").filter(|rate| *rate > 0.0);
        if self.control.settings.get("paused").is_some_and(|paused| paused == "1") {
            (room.count, room.hold) = (0, "paused");
        } else if let Some(rate) = rate {
            let now_us = now.us() as f64;
            let emission_us = 1_000_000.0 / rate;
            let bucket = self.control.number("burst").unwrap_or(1.0).max(1.0) * emission_us;
            let used_up_to_us = self.control.used_up_to_us.unwrap_or(0.0).max(now_us).min(now_us + bucket);
            let spare = now_us + bucket - used_up_to_us;
            let tokens = (spare / emission_us + 0.000_001).floor().max(0.0);
            if tokens < call.want as f64 {
                let wait_ms = ((emission_us - (spare - tokens * emission_us)) / 1000.0).ceil();
                (room.count, room.hold) = (tokens as usize, "rate");
                room.hold_ms = wait_ms.clamp(1.0, LONGEST_HOLD_MS) as u64;
            }
            room.rate = Some(Rate { emission_us, used_up_to_us });
        }
        if let Some(cap) = self.control.number("max_in_flight") {
            let shares = self.control.shares.iter().filter(|(cid, _)| **cid != call.cid);
            let others: u64 = shares.map(|(_, share)| share).sum();
            let free = (cap as usize).saturating_sub(others as usize).saturating_sub(self.held(&call.cid));
            if free < room.count {
                (room.count, room.hold, room.hold_ms) = (free, "full", 0);
            }
        }
        room
    }

    fn claim(&mut self, batch: &mut Batch, room: &mut Room, call: &Take) {
        let suspicion = self.redo.front().map_or(0, |frame| frame.crashes);
        if room.count == 0 {
            return;
        }
        if suspicion >= 2 {
            // A suspect travels with few others, from its third crash on alone; so nothing else is claimed.
            if self.held(&call.cid) > 0 {
                (room.hold, room.hold_ms) = ("suspect", 0);
            } else if suspicion == 2 {
                batch.pop_redo(&mut self.redo, room.count.min(SUSPECTS_TOGETHER), |crashes| crashes == 2);
            } else {
                batch.pop_redo(&mut self.redo, 1, |_| true);
            }
            return;
        }
        let mut left = room.count;
        left -= batch.pop_lane(&mut self.woken, Lane::Normal, left);
        if left > 0 {
            // Redo gets half, so that a heap of retries does not stop what is new, nor the other way round.
            let lanes_wait = !(self.normal.is_empty() && self.high.is_empty() && self.low.is_empty());
            let share = if lanes_wait { (left / 2).max(1) } else { left };
            left -= batch.pop_redo(&mut self.redo, share, |crashes| crashes < 2);
        }
        let order = match call.number {
            number if number.is_multiple_of(16) => [Lane::Low, Lane::High, Lane::Normal],
            number if number.is_multiple_of(4) => [Lane::Normal, Lane::High, Lane::Low],
            _ => [Lane::High, Lane::Normal, Lane::Low],
        };
        for lane in order {
            left -= batch.pop_lane(self.lane(lane), lane, left);
        }
    }

    /// The first of the others whose lease is over; or else when the next one's ends.
    fn whom_to_reap(&self, now_ms: u64, call: &Take, claimed: usize) -> (String, u64) {
        let order = self.by_deadline();
        let first = order.iter().take(2).find(|(_, cid)| *cid != call.cid);
        let (mut expired, mut foreign_ms) = ("", 0);
        match first {
            Some((deadline, cid)) if *deadline <= now_ms => expired = cid,
            Some((deadline, _)) => foreign_ms = *deadline,
            None => {}
        }
        if expired.is_empty() && (claimed == 0 || call.number.is_multiple_of(16)) {
            // A deadline this far ahead was set before the clock stepped back.
            let known = self.control.lease_ms.unwrap_or(0).min(LONGEST_LEASE_MS);
            let longest = call.lease_ms.max(known);
            if let Some((_, cid)) = order.last().filter(|(deadline, _)| *deadline > now_ms + 2 * longest) {
                expired = cid;
            }
        }
        (expired.to_owned(), foreign_ms)
    }
}

impl Batch {
    fn pop_lane(&mut self, list: &mut VecDeque<Bytes>, lane: Lane, limit: usize) -> usize {
        let mut taken = 0;
        while taken < limit && self.bytes < self.byte_limit && !list.is_empty() {
            let slice = (limit - taken).min(SLICE).min(list.len());
            for raw in list.drain(..slice) {
                self.add(lane_letter(lane), raw.clone(), Frame::fresh(lane, raw));
            }
            taken += slice;
        }
        taken
    }

    /// Frames from the head, as long as their crashes fit.
    fn pop_redo(&mut self, redo: &mut VecDeque<Frame>, limit: usize, fits: fn(u32) -> bool) -> usize {
        let mut taken = 0;
        while taken < limit && self.bytes < self.byte_limit {
            let slice = (limit - taken).min(SLICE);
            let good = redo.iter().take(slice).take_while(|frame| fits(frame.crashes)).count();
            for frame in redo.drain(..good) {
                self.add('r', frame.encode(), frame);
            }
            taken += good;
            if good < slice {
                break;
            }
        }
        taken
    }

    fn add(&mut self, letter: char, item: Bytes, frame: Frame) {
        self.bytes += item.len();
        self.shape.push(letter);
        self.items.push(item);
        // Who stands there bare has the number of the take for a clock.
        let bare = letter == 'n' && frame.raw.starts_with(b"{");
        let claimed_ms = if bare { self.number / 16 } else { self.stamp_ms };
        self.claimed.push(Held { frame, claimed_ms, bare });
    }

    fn in_flight(&self) -> impl Iterator<Item = (super::Field, Held)> {
        (1..).zip(&self.claimed).map(|(item, held)| ((self.number, item), held.clone()))
    }
}

pub(crate) const fn lane_letter(lane: Lane) -> char {
    match lane {
        Lane::High => 'h',
        Lane::Normal => 'n',
        Lane::Low => 'l',
    }
}
