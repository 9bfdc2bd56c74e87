//! The books: what was accepted is in exactly one place, or somebody has finished with it. Kept from the answers and
//! the keys of the server alone, without the model, so that a mistake in both model and script is still one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use valkey_envelope::{DeadBody, DeadReason, Delayed, Frame, InFlight};

use crate::call::Call;
use crate::clock::When;
use crate::image::{Image, PUBLIC, Value};
use crate::queue::Place;
use crate::server::Outcome;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Each message once: no two of a run have the same bytes.
    open: BTreeSet<Bytes>,
    pub(crate) accepted: u64,
    fenced: BTreeSet<Bytes>,
    before: Image,
    whereabouts: BTreeMap<Bytes, Spot>,
}

/// Where a message is, and what is counted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spot {
    key: String,
    crashes: u32,
    attempts: u32,
    due_ms: u64,
    /// Among the dead letters: why, and after how many crashes.
    dead: Option<(DeadReason, u32)>,
}

impl Ledger {
    /// Enters what a call did.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub(crate) fn enter(&mut self, call: &Call, outcome: Outcome) -> Result<(), String> {
        let accepted = accepted(call, &outcome);
        self.accepted += accepted.len() as u64;
        self.open.extend(accepted);
        for raw in self.finished(call, &outcome) {
            if !self.open.remove(&raw) {
                return Err(format!("{raw:?} was finished twice"));
            }
        }
        let whereabouts = whereabouts(&outcome.image)?;
        let found: BTreeSet<Bytes> = whereabouts.keys().cloned().collect();
        if let Some(lost) = self.open.difference(&found).next() {
            return Err(format!("{lost:?} is lost"));
        }
        if let Some(surplus) = found.difference(&self.open).next() {
            return Err(format!("{surplus:?} is there although it is finished"));
        }
        for (raw, spot) in &whereabouts {
            let before = self.whereabouts.get(raw);
            let wrong = before.and_then(|before| forbidden(call, outcome.when, before, spot));
            if let Some(wrong) = wrong.or_else(|| unjustified(call, before, spot)) {
                return Err(format!("{raw:?} {wrong}: {before:?} -> {spot:?}"));
            }
        }
        self.fences_hold(call, &outcome)?;
        self.whereabouts = whereabouts;
        self.before = outcome.image;
        Ok(())
    }

    /// Messages that this call has taken out of the queue for good.
    fn finished(&self, call: &Call, outcome: &Outcome) -> Vec<Bytes> {
        let answer = &outcome.answer;
        let count = || answer.first().and_then(|count| std::str::from_utf8(count).ok()?.parse().ok());
        match call {
            Call::Take(take) if answer.first().is_some_and(|word| word == "ok") => {
                let fields: BTreeSet<_> = take.acks.iter().collect();
                let fields = fields.into_iter().map(|(take, item)| Bytes::from(format!("{take}-{item}")));
                let key = format!(":inflight:{}", take.cid);
                let held: BTreeMap<_, _> = self.before.hash_of(&key).collect();
                let held = fields.filter_map(|field| held.get(&field).copied().cloned());
                held.map(|value| InFlight::decode(0, value).frame.raw).collect()
            }
            Call::PlainPop => answer.clone(),
            Call::Purge { place, .. } => {
                self.first_of(*place).into_iter().take(count().unwrap_or(0)).collect()
            }
            Call::DeadRemove(ids) => {
                let bodies: BTreeMap<_, _> = self.before.hash_of(":dead:body").collect();
                let removed = ids.iter().zip(answer).filter(|(_, answer)| **answer == "1");
                let removed = removed.filter_map(|(id, _)| bodies.get(&Bytes::from(id.clone())).copied());
                removed.filter_map(|body| Some(DeadBody::decode(body.clone()).ok()?.raw)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The messages of a place, those first that a purge removes first.
    fn first_of(&self, place: Place) -> Vec<Bytes> {
        let key = match place {
            Place::Normal => PUBLIC,
            Place::High => ":lane:high",
            Place::Low => ":lane:low",
            Place::Woken => ":woken",
            Place::Redo => ":redo",
            Place::Delayed => ":delayed",
        };
        let raw = |element: &Bytes| match place {
            Place::Redo => Frame::decode(element.clone()).ok().map(|frame| frame.raw),
            Place::Delayed => Delayed::decode(element.clone()).ok().map(|delayed| delayed.frame.raw),
            _ => Some(element.clone()),
        };
        match self.before.0.get(key).map(|content| &content.value) {
            Some(Value::List(list)) => list.iter().filter_map(raw).collect(),
            Some(Value::Sorted(pairs)) => pairs.iter().filter_map(|(member, _)| raw(member)).collect(),
            _ => Vec::new(),
        }
    }

    /// A consumer that was fenced or forgotten has a lease again only by a join, and not while it is known.
    fn fences_hold(&mut self, call: &Call, outcome: &Outcome) -> Result<(), String> {
        let leases = |image: &Image| match image.0.get(":consumers").map(|content| &content.value) {
            Some(Value::Sorted(pairs)) => pairs.iter().cloned().collect(),
            _ => BTreeMap::new(),
        };
        let (before, now) = (leases(&self.before), leases(&outcome.image));
        if let Call::Join(join) = call
            && !before.contains_key(join.cid.as_bytes())
            && outcome.answer.first().is_some_and(|word| word == "joined")
        {
            self.fenced.remove(join.cid.as_bytes());
        }
        let gone = before.into_keys().filter(|cid| now.get(cid).is_none_or(|deadline| deadline == "0"));
        self.fenced.extend(gone);
        let risen = self.fenced.iter().find(|cid| now.get(*cid).is_some_and(|deadline| deadline != "0"));
        risen.map_or(Ok(()), |cid| Err(format!("{cid:?} was fenced and has a lease again")))
    }
}

/// Messages that the queue has promised to keep.
fn accepted(call: &Call, outcome: &Outcome) -> Vec<Bytes> {
    match call {
        Call::PlainPush(all) => all.clone(),
        Call::Push(push) if outcome.answer.first().is_some_and(|word| word == "ok") => {
            let fates = outcome.answer.get(1).map_or(&[][..], |fates| &fates[..]);
            let items = push.items.iter().zip(fates).filter(|(_, fate)| matches!(fate, b'p' | b's'));
            items.map(|(item, _)| item.raw.clone()).collect()
        }
        _ => Vec::new(),
    }
}

/// Every message there is; it must be in one place.
fn whereabouts(image: &Image) -> Result<BTreeMap<Bytes, Spot>, String> {
    let mut all = BTreeMap::new();
    for (key, content) in &image.0 {
        let broken = |error: &dyn std::fmt::Display| format!("{key}: {error}");
        let elements: Vec<(Bytes, u64)> = match &content.value {
            Value::List(list) => list.iter().map(|element| (element.clone(), 0)).collect(),
            Value::Hash(hash) if key.starts_with(":inflight:") => {
                let held = hash.iter().filter(|(field, _)| *field != "#" && *field != "@");
                held.map(|(_, value)| (value.clone(), 0)).collect()
            }
            Value::Hash(hash) if key == ":dead:body" => {
                hash.values().map(|value| (value.clone(), 0)).collect()
            }
            Value::Sorted(pairs) if key == ":delayed" => {
                let due = |score: &Bytes| std::str::from_utf8(score).ok()?.parse().ok();
                pairs.iter().map(|(member, score)| (member.clone(), due(score).unwrap_or(0))).collect()
            }
            _ => continue,
        };
        for (element, due_ms) in elements {
            let mut dead = None;
            let frame = match key.as_str() {
                ":redo" => Frame::decode(element).map_err(|error| broken(&error))?,
                ":delayed" => Delayed::decode(element).map_err(|error| broken(&error))?.frame,
                ":dead:body" => {
                    let body = DeadBody::decode(element).map_err(|error| broken(&error))?;
                    dead = Some((body.meta.reason, body.meta.crashes));
                    Frame::fresh(valkey_envelope::Lane::Normal, body.raw)
                }
                key if key.starts_with(":inflight:") => InFlight::decode(0, element).frame,
                _ => Frame::fresh(valkey_envelope::Lane::Normal, element),
            };
            let (crashes, attempts) = (frame.crashes, frame.attempts);
            let spot = Spot { key: key.clone(), crashes, attempts, due_ms, dead };
            if let Some(twice) = all.insert(frame.raw.clone(), spot) {
                return Err(format!("{:?} is in {} and in {key}", frame.raw, twice.key));
            }
        }
    }
    Ok(all)
}

/// A change that this call may not make to a message.
fn forbidden(call: &Call, when: When, before: &Spot, after: &Spot) -> Option<&'static str> {
    let (When::Told { ms } | When::Between { after_ms: ms, .. }) = when;
    let operator = matches!(call, Call::HandBack(_) | Call::Replay(_) | Call::Due { .. });
    if before.due_ms > ms && after.due_ms == 0 && !operator {
        return Some("came before its time");
    }
    if operator || after.dead.is_some() || before.dead.is_some() {
        return None;
    }
    let crashed = after.crashes.checked_sub(before.crashes);
    match call {
        Call::Reap(reap) if before.key == format!(":inflight:{}", reap.cid) && before.key != after.key => {
            (crashed != Some(1)).then_some("was reaped without its crash")
        }
        _ => (crashed != Some(0)).then_some("has another number of crashes"),
    }
    .or_else(|| {
        let tried = after.attempts.checked_sub(before.attempts);
        let wrong = match call {
            Call::Take(_) => !matches!(tried, Some(0 | 1)),
            _ => tried != Some(0),
        };
        wrong.then_some("has another number of attempts")
    })
}

/// A dead letter for which there was no reason.
fn unjustified(call: &Call, before: Option<&Spot>, after: &Spot) -> Option<&'static str> {
    let (reason, crashes) = after.dead.as_ref()?;
    if before.is_some_and(|before| before.dead.is_some()) {
        return None;
    }
    let justified = match call {
        Call::Take(take) => {
            *reason != DeadReason::Crashed
                && !take.deads.is_empty()
                && before.is_some_and(|before| before.key == format!(":inflight:{}", take.cid))
        }
        Call::Reap(reap) => {
            *reason == DeadReason::Crashed
                && *crashes >= reap.max_crashes
                && before.is_some_and(|before| before.crashes + 1 == *crashes)
        }
        _ => false,
    };
    (!justified).then_some("is a dead letter without a reason")
}
