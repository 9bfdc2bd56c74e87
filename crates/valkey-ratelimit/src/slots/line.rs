//! What a process holds under the keys of one node, and who waits for more: pure bookkeeping.
//!
//! ```text
//!  acquire --> waiting --take--> a call: what is held of each key, and how many more of it --settle--> who got one
//!  release --> a fact to tell ---'                                                         '--fail---> told again later
//! ```
//!
//! **A key is in one call at a time**, and each call says what is held, not what has changed: whatever gets lost, the next one
//! puts it right.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::scripts::{Code, Fact, Group, How, MAX_KEYS, Told};
use crate::error::Failed;

/// One limit among those that are wanted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pub(super) key: Bytes,
    pub(super) most: u64,
}

/// What became of one who waited.
#[derive(Debug)]
pub(super) enum Got {
    Granted,
    /// What is held of each member, by all.
    Refused(Vec<u64>),
    /// Which member, and what is wrong with it.
    Unusable(usize, Code),
}

pub(super) type Waiting<T> = oneshot::Sender<Result<T, Failed>>;

/// What was wanted, who waits for it, and what came of it.
type Served<T> = (Vec<Member>, Waiting<T>, Result<Got, Failed>);

/// `T`: what is sent to those who wait.
#[derive(Debug)]
pub(super) struct Line<T> {
    /// Whether a call is under way.
    pub(super) calling: bool,
    /// Whether facts wait for the next pulse, because the store did not answer.
    pub(super) resting: bool,
    entries: HashMap<Bytes, Entry>,
    facts: VecDeque<Bytes>,
    order: VecDeque<Vec<Member>>,
    waiting: HashMap<Vec<Member>, Vec<Waiting<T>>>,
}

/// What this process holds under a key.
#[derive(Debug)]
struct Entry {
    held: u64,
    /// What the store knows, if that is known.
    stored: Option<u64>,
    told_at: Option<Instant>,
    doubt: Doubt,
    /// Whether it is among the facts to tell.
    queued: bool,
    to_tell: Vec<Waiting<()>>,
}

/// Whether a call of which nothing was heard may still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    None,
    /// The store has not answered since.
    Open,
    /// It has answered; what it still had to read, it has read by then.
    Until(Instant),
}

/// What a call says and asks.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) facts: Vec<Fact>,
    pub(super) groups: Vec<Group>,
    places: HashMap<Bytes, usize>,
    waiting: Vec<(Vec<Member>, Vec<Waiting<T>>)>,
    to_tell: Vec<(usize, Waiting<()>)>,
}

/// Who is told what, once nothing is locked.
#[derive(Debug)]
pub(super) struct Dealt<T> {
    pub(super) got: Vec<Served<T>>,
    pub(super) told: Vec<(Waiting<()>, Result<(), Failed>)>,
}

impl<T> Line<T> {
    /// What this process holds of a key.
    pub(super) fn held(&self, key: &Bytes) -> u64 {
        self.entries.get(key).map_or(0, |entry| entry.held)
    }

    /// What this process holds of all keys.
    pub(super) fn holdings(&self) -> impl Iterator<Item = (&Bytes, u64)> {
        self.entries.iter().map(|(key, entry)| (key, entry.held)).filter(|(_, held)| *held > 0)
    }

    /// Lines up for one of each member.
    pub(super) fn want(&mut self, members: Vec<Member>, answer: Waiting<T>) {
        let waiting = self.waiting.entry(members.clone()).or_default();
        waiting.push(answer);
        if waiting.len() == 1 {
            self.order.push_back(members);
        }
    }

    /// One more is held without the store; it is told.
    pub(super) fn hold(&mut self, key: &Bytes) {
        self.entries.entry(key.clone()).or_default().held += 1;
        self.queue(key);
    }

    /// One less is held.
    pub(super) fn let_go(&mut self, key: &Bytes, to_tell: Option<Waiting<()>>) {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.held = entry.held.saturating_sub(1);
        entry.to_tell.extend(to_tell);
        self.queue(key);
    }

    /// Asks to be told when the store knows all that has changed: one answer for each key.
    pub(super) fn tell_changes(&mut self, mut answer: impl FnMut() -> Waiting<()>) {
        for (key, entry) in &mut self.entries {
            if entry.stored != Some(entry.held) {
                entry.to_tell.push(answer());
                enqueue(&mut self.facts, key, entry);
            }
        }
    }

    /// All that is held, and all of which the store may know something else, is to be told.
    pub(super) fn tell_all(&mut self) {
        for (key, entry) in &mut self.entries {
            if entry.held > 0 || entry.stored != Some(0) {
                enqueue(&mut self.facts, key, entry);
            }
        }
    }

    /// What could not be told is told again, and what is past is forgotten. Whoever looks asks the store whether it still knows of
    /// one, unless there is more to tell anyway: of the one told longest ago, so that a loss is not missed for what was told after
    /// it.
    pub(super) fn pulse(&mut self, looks: bool, now: Instant) {
        self.resting = false;
        self.entries.retain(|_, entry| !entry.is_over(now));
        if looks
            && self.facts.is_empty()
            && let Some((key, entry)) = self
                .entries
                .iter_mut()
                .filter(|(_, entry)| entry.held > 0)
                .min_by_key(|(_, entry)| entry.told_at)
        {
            enqueue(&mut self.facts, key, entry);
        }
    }

    /// Whether nobody waits, and nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.order.is_empty()
    }

    /// What comes next. Releases go along; who has given up waiting is not asked for.
    pub(super) fn take(&mut self, now: Instant) -> Option<Batch<T>> {
        let mut batch = Batch {
            facts: Vec::new(),
            groups: Vec::new(),
            places: HashMap::new(),
            waiting: Vec::new(),
            to_tell: Vec::new(),
        };
        // Neither those who come nor those who go wait for all of the others.
        self.take_facts(&mut batch, MAX_KEYS / 2, now);
        self.take_groups(&mut batch, now);
        self.take_facts(&mut batch, MAX_KEYS, now);
        (!batch.facts.is_empty()).then_some(batch)
    }

    fn take_facts(&mut self, batch: &mut Batch<T>, most: usize, now: Instant) {
        while !self.resting && batch.facts.len() < most {
            let Some(key) = self.facts.pop_front() else { break };
            // It may have gone with a group already.
            let Some(entry) = self.entries.get(&key).filter(|entry| entry.queued) else { continue };
            if entry.says_nothing(now) {
                // Held and let go while the store was away: of many of them nothing is kept until it is back.
                self.entries.remove(&key);
            } else {
                self.place(batch, &key, now);
            }
        }
    }

    fn take_groups(&mut self, batch: &mut Batch<T>, now: Instant) {
        while batch.groups.len() < MAX_KEYS
            && let Some(members) = self.order.front()
        {
            let new = members.iter().filter(|member| !batch.places.contains_key(&member.key)).count();
            if batch.facts.len() + new > MAX_KEYS {
                break;
            }
            let Some(members) = self.order.pop_front() else { break };
            let mut waiting = self.waiting.remove(&members).unwrap_or_default();
            waiting.retain(|one| !one.is_closed());
            if waiting.is_empty() {
                continue;
            }
            let places =
                members.iter().map(|member| (self.place(batch, &member.key, now), member.most)).collect();
            batch.groups.push(Group { times: waiting.len() as u64, members: places });
            batch.waiting.push((members, waiting));
        }
    }

    /// Where a key stands in the call; there is what is held of it.
    fn place(&mut self, batch: &mut Batch<T>, key: &Bytes, now: Instant) -> usize {
        if let Some(place) = batch.places.get(key) {
            return *place;
        }
        let entry = self.entries.entry(key.clone()).or_default();
        entry.queued = false;
        let how = if entry.is_doubtful(now) { How::Insist } else { How::Say };
        let place = batch.facts.len();
        batch.to_tell.extend(entry.to_tell.drain(..).map(|answer| (place, answer)));
        batch.facts.push(Fact { key: key.clone(), held: entry.held, how });
        batch.places.insert(key.clone(), place);
        place
    }

    /// What the store said to a call.
    pub(super) fn settle(&mut self, batch: Batch<T>, told: &Told, now: Instant, lease: Duration) -> Dealt<T> {
        self.resting = false;
        let mut counts: Vec<u64> = batch.facts.iter().map(|fact| fact.held).collect();
        for (group, granted) in batch.groups.iter().zip(&told.granted) {
            for (place, _) in &group.members {
                counts[*place] += granted;
            }
        }
        let mut lost = false;
        for ((fact, key), count) in batch.facts.iter().zip(&told.keys).zip(&counts) {
            let entry = self.entries.entry(fact.key.clone()).or_default();
            match key.code {
                Code::Done => {}
                Code::Late => {
                    entry.stored = None;
                    enqueue(&mut self.facts, &fact.key, entry);
                    continue;
                }
                // It says nothing of us, and will be told again with all the others.
                Code::Foreign | Code::Crowded => {
                    entry.stored = Some(0);
                    continue;
                }
            }
            // Also in doubt: an earlier call that comes late changes nothing of what the store has not lost.
            let expected = entry.stored.filter(|stored| *stored > 0);
            lost |= expected.is_some_and(|expected| key.before != Some(expected));
            // Meanwhile some may have been let go, and some held without the store: then it is queued again.
            entry.held += count - fact.held;
            (entry.stored, entry.told_at) = (Some(*count), Some(now));
            entry.doubt = match entry.doubt {
                Doubt::Open => Doubt::Until(now + lease),
                Doubt::Until(until) if now < until => entry.doubt,
                _ => Doubt::None,
            };
            if entry.is_over(now) {
                self.entries.remove(&fact.key);
            }
        }
        if lost {
            self.all_is_lost();
        }
        deal(batch, told, &counts)
    }

    /// The store forgot something: it may have forgotten all.
    fn all_is_lost(&mut self) {
        for entry in self.entries.values_mut() {
            entry.stored = None;
        }
        self.tell_all();
    }

    /// Nothing was heard of a call; it may still come, or not.
    pub(super) fn fail(&mut self, batch: Batch<T>, failed: &Failed, may_come: bool) -> Dealt<T> {
        self.resting = true;
        for fact in &batch.facts {
            let entry = self.entries.entry(fact.key.clone()).or_default();
            if may_come {
                (entry.stored, entry.doubt) = (None, Doubt::Open);
            }
            if entry.held > 0 || entry.stored != Some(0) {
                enqueue(&mut self.facts, &fact.key, entry);
            }
        }
        let got = batch.waiting.into_iter().flat_map(|(members, waiting)| {
            waiting.into_iter().map(move |one| (members.clone(), one, Err(failed.clone())))
        });
        let told = batch.to_tell.into_iter().map(|(_, answer)| (answer, Err(failed.clone())));
        Dealt { got: got.collect(), told: told.collect() }
    }

    fn queue(&mut self, key: &Bytes) {
        if let Some(entry) = self.entries.get_mut(key) {
            enqueue(&mut self.facts, key, entry);
        }
    }
}

fn enqueue(facts: &mut VecDeque<Bytes>, key: &Bytes, entry: &mut Entry) {
    if !std::mem::replace(&mut entry.queued, true) {
        facts.push_back(key.clone());
    }
}

/// Gives each who waited what it got: the first come are granted.
fn deal<T>(batch: Batch<T>, told: &Told, counts: &[u64]) -> Dealt<T> {
    let mut got = Vec::new();
    for (((members, waiting), group), granted) in
        batch.waiting.into_iter().zip(&batch.groups).zip(&told.granted)
    {
        let places = || group.members.iter().map(|(place, _)| *place);
        let bad = places().position(|place| told.keys[place].code != Code::Done);
        for (number, one) in waiting.into_iter().enumerate() {
            let what = match bad {
                _ if (number as u64) < *granted => Got::Granted,
                Some(at) => Got::Unusable(at, told.keys[group.members[at].0].code),
                None => Got::Refused(places().map(|place| told.keys[place].others + counts[place]).collect()),
            };
            got.push((members.clone(), one, Ok(what)));
        }
    }
    let told_all = batch.to_tell.into_iter().map(|(place, answer)| {
        let is_done = told.keys[place].code == Code::Done;
        let refused = || Failed::Answer(format!("the key was left alone: {:?}", told.keys[place].code));
        (answer, is_done.then_some(()).ok_or_else(refused))
    });
    Dealt { got, told: told_all.collect() }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self {
            calling: false,
            resting: false,
            entries: HashMap::new(),
            facts: VecDeque::new(),
            order: VecDeque::new(),
            waiting: HashMap::new(),
        }
    }
}

impl Entry {
    fn is_doubtful(&self, now: Instant) -> bool {
        match self.doubt {
            Doubt::None => false,
            Doubt::Open => true,
            Doubt::Until(until) => now < until,
        }
    }

    /// Whether there is nothing to remember.
    fn is_over(&self, now: Instant) -> bool {
        !self.queued && self.says_nothing(now)
    }

    /// Whether the store knows all there is to know. Not while a call is under way: that may change what it knows.
    fn says_nothing(&self, now: Instant) -> bool {
        self.held == 0 && self.stored == Some(0) && self.to_tell.is_empty() && !self.is_doubtful(now)
    }
}

/// Of what this process has never held the store knows nothing.
impl Default for Entry {
    fn default() -> Self {
        Self {
            held: 0,
            stored: Some(0),
            told_at: None,
            doubt: Doubt::None,
            queued: false,
            to_tell: Vec::new(),
        }
    }
}
