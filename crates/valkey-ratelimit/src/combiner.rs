//! Concurrent checks gathered into one call, without a timer.
//!
//! ```text
//!  check --no call under way--> a call of its own, at once, by whoever checks
//!  check --one under way--> waits in line until as many wait as the last call took, or it has ended
//!  check --two under way--> waits in line --> the next call takes up to 32 keys; the same request to the same key
//!                                             is one item of it, and who waits for it is served first come, first served
//! ```
//!
//! A lone check costs one round trip; under load calls grow by themselves. Who waits in line has no timer: **the call has one,
//! until the first of those it is for has waited for as long as a check may**, and whoever has when a call begins is told so.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::fast::RandomState;
use indexmap::IndexMap;
use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use valkey_connection::{Connection, Mode};

use crate::algorithm::{Algorithm, Answer, Ask};
use crate::asking::{Asking, Outage};
use crate::error::Failed;
use crate::lease::{Held, Lease};
use crate::memory::Memory;
use crate::outage::Turn;
use crate::scripts::{self, Charge, Item, Limit, MAX_ITEMS, Want};

/// One call asks for no more keys: beyond that the server does nothing else for too long.
const MAX_KEYS: usize = 32;
/// So many calls are under way at once: one that travels while the other is worked on.
const CALLS: usize = 2;

/// One of several equal requests to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) limit: Limit,
    pub(crate) cost: u64,
    /// What may be held in advance of the limit.
    pub(crate) held: Option<Held>,
}

/// Keys alone tell most requests apart.
impl Hash for Wanted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.limit.hash(state);
    }
}

/// What one of them got.
#[derive(Clone, Debug)]
pub(crate) enum Got {
    Granted {
        answer: Answer,
        charge: Charge,
    },
    Refused(Answer),
    /// The key holds something else.
    Foreign,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Result<Got, Failed>>,
    /// How much it would have leased for those who come after it.
    lease: u64,
    since: Instant,
    turn: Turn,
}

/// Who waits for the same: often only one.
type Waiters = SmallVec<[Waiting; 1]>;

/// What comes out of a line.
#[derive(Debug, Default)]
struct Taken {
    /// Equal requests, and who waits for them.
    asked: Vec<(Wanted, Waiters)>,
    /// Who has waited for too long.
    late: Vec<Waiting>,
}

pub(crate) struct Combiner {
    connection: Connection,
    memory: Arc<Memory>,
    /// One, or in a cluster one for each hash tag: the keys of a call have to be on one node.
    lines: Mutex<Lines>,
    clustered: bool,
    nonces: Nonces,
    pub(crate) outage: Outage,
    /// How long a check waits.
    deadline: Duration,
}

type Lines = HashMap<Bytes, Line, RandomState>;

#[derive(Default)]
struct Line {
    /// Whether somebody makes a call for nobody else. Whether it is polled is that one's affair: nobody waits for it to end.
    alone: bool,
    /// The calls that tasks of their own make.
    calls: usize,
    /// How many keys the last of them was for.
    last: usize,
    waiting: IndexMap<Wanted, Waiters, RandomState>,
}

/// How a request gets its answer.
enum Place {
    /// Nobody waits: by a call of its own.
    Alone(Wanted, Turn),
    /// By a call with others; `begins`: which has to begin.
    InLine { answered: oneshot::Receiver<Result<Got, Failed>>, begins: bool },
}

/// A call for nobody else. When it ends, or is given up, those who came meanwhile are called for.
struct OwnCall<'a> {
    combiner: &'a Arc<Combiner>,
    tag: Bytes,
}

/// The calls of a line that one task makes, until nobody waits. If the task is gone before, as when its runtime ends, so are
/// those who wait: they may be of another runtime, and have no timer.
struct OwnCalls {
    combiner: Arc<Combiner>,
    tag: Bytes,
    /// Whether its place in the line is free.
    left: bool,
}

/// Texts that are in no other call of any process.
struct Nonces {
    process: String,
    next: AtomicU64,
}

impl Combiner {
    /// For checks that wait so long at most.
    pub(crate) fn new(connection: Connection, memory: Arc<Memory>, deadline: Duration) -> Arc<Self> {
        let process = uuid::Uuid::new_v4().simple().to_string();
        let nonces = Nonces { process: process[..16].to_owned(), next: AtomicU64::new(0) };
        let clustered = connection.settings().mode == Mode::Cluster;
        let outage = Outage::new(deadline);
        Arc::new(Self { connection, memory, lines: Mutex::default(), clustered, nonces, outage, deadline })
    }

    /// Asks for one request, and for a lease of so much; `None`: the store is away. What it says is noted in the memory.
    ///
    /// # Cancel safety
    /// A request that is no longer waited for may be charged all the same.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        wanted: Wanted,
        lease: u64,
        now: Instant,
    ) -> Option<Result<Got, Failed>> {
        let turn = self.outage.route(now, rand::random)?;
        let tag = self.tag(&wanted.limit.key);
        Some(match self.stand_in_line(&tag, wanted, lease, turn, now) {
            // On the heap: a call is large, and would make the future of each check so.
            Place::Alone(wanted, turn) => {
                let own = OwnCall { combiner: self, tag };
                Box::pin(self.in_time_of(turn, now, self.ask_alone(wanted, own))).await
            }
            Place::InLine { answered, begins } => {
                if begins {
                    let own = OwnCalls { combiner: Arc::clone(self), tag, left: false };
                    tokio::spawn(own.until_empty());
                }
                answered.await.unwrap_or(Err(Failed::GivenUp))
            }
        })
    }

    /// What the store says to a call, unless it is away, and for no longer than the deadline.
    pub(crate) async fn in_time<T>(
        &self,
        begun: Instant,
        call: impl Future<Output = Result<T, Failed>>,
    ) -> Option<Result<T, Failed>> {
        let turn = self.outage.route(begun, rand::random)?;
        Some(self.in_time_of(turn, begun, call).await)
    }

    async fn in_time_of<T>(
        &self,
        turn: Turn,
        begun: Instant,
        call: impl Future<Output = Result<T, Failed>>,
    ) -> Result<T, Failed> {
        let asking = Asking::new(&self.outage, Some(turn));
        let due = (begun + self.deadline).into();
        let answer = tokio::time::timeout_at(due, call).await.unwrap_or(Err(Failed::Late(self.deadline)));
        asking.settle(&answer, begun.elapsed());
        answer
    }

    async fn ask_alone(self: &Arc<Self>, wanted: Wanted, _own: OwnCall<'_>) -> Result<Got, Failed> {
        let item = Item { limit: wanted.limit.clone(), want: granting(Ask::one(wanted.cost), false) };
        let asked = Instant::now();
        let (nonce, answers) = self.call(&[item]).await?;
        let Some(answer) = answers.into_iter().next().flatten() else { return Ok(Got::Foreign) };
        self.note(&wanted, &answer, None, &nonce, asked);
        Ok(if answer.granted > 0 {
            Got::Granted { answer, charge: Charge { nonce, mark: answer.mark } }
        } else {
            Got::Refused(answer)
        })
    }

    fn stand_in_line(&self, tag: &Bytes, wanted: Wanted, lease: u64, turn: Turn, since: Instant) -> Place {
        let mut lines = self.lines();
        let line = lines.entry(tag.clone()).or_default();
        // Only one at a time: if nobody polls it, all others go on. And a lease has to arrive, whether or not somebody waits.
        if !line.alone && line.calls == 0 && line.waiting.is_empty() && lease == 0 {
            line.alone = true;
            return Place::Alone(wanted, turn);
        }
        let (answer, answered) = oneshot::channel();
        line.waiting.entry(wanted).or_default().push(Waiting { answer, lease, since, turn });
        let begins = line.has_enough();
        line.calls += usize::from(begins);
        Place::InLine { answered, begins }
    }

    /// A call of its own.
    pub(crate) async fn call(&self, items: &[Item]) -> Result<(Bytes, Vec<Option<Answer>>), Failed> {
        if let Some(call) = scripts::grant(items) {
            let reply = self.connection.invoke(call).await.map_err(Failed::Store)?;
            if !scripts::is_left_to_check(&reply) {
                // Charges of these algorithms are found without a text.
                return Ok((Bytes::new(), scripts::checked(reply, items.len())?.answers));
            }
        }
        let nonce = self.nonces.next();
        let reply = self.connection.invoke(scripts::check(items, &nonce)).await.map_err(Failed::Store)?;
        Ok((nonce, scripts::checked(reply, items.len())?.answers))
    }

    /// As [`call`](Self::call), and in a cluster a call to each node that is concerned, all at once. Answers are in the order of
    /// the items, each with the text of its call.
    pub(crate) async fn call_each(&self, items: Vec<Item>) -> Result<Vec<(Bytes, Option<Answer>)>, Failed> {
        let mut groups: Vec<(Bytes, Vec<(usize, Item)>)> = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            let tag = self.tag(&item.limit.key);
            match groups.iter_mut().find(|(known, _)| *known == tag) {
                Some((_, group)) => group.push((at, item)),
                None => groups.push((tag, vec![(at, item)])),
            }
        }
        let calls = groups.into_iter().map(async |(_, group)| {
            let (places, mut items): (Vec<usize>, Vec<Item>) = group.into_iter().unzip();
            // The first of a call follows nobody.
            if let Some(Want::Grant { follows, .. }) = items.first_mut().map(|item| &mut item.want) {
                *follows = false;
            }
            let (nonce, answers) = self.call(&items).await?;
            Ok::<_, Failed>(
                places.into_iter().zip(answers.into_iter().map(move |answer| (nonce.clone(), answer))),
            )
        });
        let mut answers: Vec<_> = futures::future::try_join_all(calls).await?.into_iter().flatten().collect();
        answers.sort_unstable_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// What comes next in a line; if too little does, the caller's place in it is free, in the same moment: who comes later
    /// makes a call.
    fn take_or_leave(&self, tag: &Bytes) -> Option<Taken> {
        let mut lines = self.lines();
        let line = lines.get_mut(tag)?;
        line.calls -= 1;
        if line.has_enough() {
            line.calls += 1;
            return Some(line.take(Instant::now(), self.deadline));
        }
        forget_if_left(lines, tag);
        None
    }

    fn tag(&self, key: &Bytes) -> Bytes {
        if self.clustered { hash_tag(key) } else { Bytes::new() }
    }

    async fn serve(self: &Arc<Self>, Taken { mut asked, late }: Taken) {
        if !late.is_empty() {
            self.fail(late, Failed::Late(self.deadline));
        }
        let waiting = asked.iter().flat_map(|(_, waiting)| waiting);
        let Some(oldest) = waiting.map(|one| one.since).min() else { return };
        // Those that are alike stand together: then the call is shorter.
        asked.sort_by_key(|(wanted, _)| (Arc::as_ptr(&wanted.limit.terms).addr(), wanted.cost));
        let mut items = Vec::with_capacity(asked.len());
        for (wanted, waiting) in &asked {
            let ask = Ask::times(wanted.cost, waiting.len() as u64);
            items.push(Item { limit: wanted.limit.clone(), want: granting(ask, false) });
            if let Some((held, ask)) = lease_of(wanted, waiting) {
                // All of it, or none: what is held was charged.
                items.push(Item { limit: wanted.limit.clone(), want: granting(ask, false) });
                items.push(Item { limit: held.limit.clone(), want: granting(ask, true) });
            }
        }
        let begun = Instant::now();
        let answer = tokio::time::timeout_at((oldest + self.deadline).into(), self.call(&items)).await;
        let (nonce, answers) = match answer.unwrap_or(Err(Failed::Late(self.deadline))) {
            Ok(answer) => answer,
            Err(failed) => return self.fail(asked.into_iter().flat_map(|(_, waiting)| waiting), failed),
        };
        let turns = asked.iter().flat_map(|(_, waiting)| waiting).map(|one| one.turn);
        self.outage.settle(turns, &Ok(()), oldest.elapsed());
        let mut answers = answers.into_iter();
        for (wanted, waiting) in asked {
            let answer = answers.next().flatten();
            let leased = lease_of(&wanted, &waiting).and_then(|_| {
                let leased = answers.next().flatten();
                answers.next().flatten().and(leased)
            });
            if let Some(answer) = &answer {
                self.note(&wanted, answer, leased, &nonce, begun);
            }
            deal(&wanted, waiting, answer, &nonce);
        }
    }

    fn fail(&self, waiting: impl IntoIterator<Item = Waiting>, failed: Failed) {
        let waiting: Vec<Waiting> = waiting.into_iter().collect();
        let longest = waiting.iter().map(|one| one.since.elapsed()).max().unwrap_or_default();
        let answer = Err(failed);
        self.outage.settle(waiting.iter().map(|one| one.turn), &answer, longest);
        for one in waiting {
            let _ = one.answer.send(answer.clone());
        }
    }

    /// Notes what is known now: that the next will be refused, or what is held.
    fn note(
        self: &Arc<Self>,
        wanted: &Wanted,
        answer: &Answer,
        leased: Option<Answer>,
        nonce: &Bytes,
        asked: Instant,
    ) {
        let Wanted { limit, cost, held } = wanted;
        let granted = leased.map_or(0, |leased| leased.granted);
        let answer = leased.unwrap_or(*answer);
        let Some(held) = held.as_ref().filter(|_| granted > 0 || answer.next_after == 0) else {
            self.memory.note(limit, *cost, &answer, asked);
            return;
        };
        let charge = Charge { nonce: nonce.clone(), mark: answer.mark };
        let lease = Arc::new(Lease::new((limit.clone(), charge), answer, granted, asked, held.valid()));
        self.memory.hold(limit, Arc::clone(&lease));
        if granted > 0 {
            tokio::spawn(Arc::clone(self).return_rest(lease));
        }
    }

    /// Gives back what is left of a lease when its time is over. If that does not get there, less is admitted, not more.
    async fn return_rest(self: Arc<Self>, lease: Arc<Lease>) {
        tokio::time::sleep_until(lease.until().into()).await;
        let amount = lease.take_rest();
        if amount > 0 {
            let (limit, charge) = lease.charged.clone();
            let want = Want::GiveBack { charge, amount };
            if self.call(&[Item { limit: limit.clone(), want }]).await.is_ok() {
                self.memory.forget_refusal(&limit);
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a line in which nobody makes a call. Those who wait in it, if any, are told so when the lock is free.
fn forget_if_left(mut lines: MutexGuard<'_, Lines>, tag: &Bytes) {
    let forsaken = if lines.get(tag).is_some_and(Line::is_left) { lines.remove(tag) } else { None };
    drop(lines);
    drop(forsaken);
}

impl Drop for OwnCall<'_> {
    fn drop(&mut self) {
        let mut lines = self.combiner.lines();
        let Some(line) = lines.get_mut(&self.tag) else { return };
        line.alone = false;
        if let Ok(runtime) = Handle::try_current()
            && line.has_enough()
        {
            line.calls += 1;
            drop(lines);
            let own = OwnCalls { combiner: Arc::clone(self.combiner), tag: self.tag.clone(), left: false };
            runtime.spawn(own.until_empty());
        } else {
            forget_if_left(lines, &self.tag);
        }
    }
}

impl OwnCalls {
    async fn until_empty(mut self) {
        while let Some(taken) = self.combiner.take_or_leave(&self.tag) {
            self.combiner.serve(taken).await;
        }
        self.left = true;
    }
}

impl Drop for OwnCalls {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let mut lines = self.combiner.lines();
        let Some(line) = lines.get_mut(&self.tag) else { return };
        line.calls -= 1;
        forget_if_left(lines, &self.tag);
    }
}

fn granting(ask: Ask, follows: bool) -> Want {
    Want::Grant { ask, follows, shadow: false }
}

/// What to lease beside equal requests.
fn lease_of<'a>(wanted: &'a Wanted, waiting: &[Waiting]) -> Option<(&'a Held, Ask)> {
    let most = waiting.iter().map(|one| one.lease).max().filter(|most| *most > 0)?;
    Some((wanted.held.as_ref()?, Ask::times(1, most)))
}

/// The part of a key that says on which node of a cluster it is.
pub(crate) fn hash_tag(key: &Bytes) -> Bytes {
    let begin = key.iter().position(|byte| *byte == b'{');
    let end =
        begin.and_then(|begin| Some((begin, begin + key[begin..].iter().position(|byte| *byte == b'}')?)));
    match end {
        Some((begin, end)) if end > begin + 1 => key.slice(begin + 1..end),
        _ => key.clone(),
    }
}

/// Gives each who waited what it got: the first come are granted. Who no longer waits is not missed.
fn deal(wanted: &Wanted, waiting: Waiters, answer: Option<Answer>, nonce: &Bytes) {
    let Some(answer) = answer else {
        for one in waiting {
            let _ = one.answer.send(Ok(Got::Foreign));
        }
        return;
    };
    let mut granted = answer.granted;
    let mut first = answer.mark;
    for one in waiting {
        let got = if granted > 0 {
            granted -= 1;
            let charge = Charge { nonce: nonce.clone(), mark: first };
            if wanted.limit.terms.algorithm == Algorithm::SlidingLog {
                // Each unit of cost is a member with a number of its own.
                first.0 += wanted.cost;
            }
            // As it was when this one was served, before those behind it.
            let remaining = answer.remaining + granted * wanted.cost;
            Got::Granted { answer: Answer { remaining, ..answer }, charge }
        } else {
            Got::Refused(answer)
        };
        let _ = one.answer.send(Ok(got));
    }
}

impl Line {
    /// Whether another call is to begin: at once if no task makes one, else when it is worth it.
    fn has_enough(&self) -> bool {
        let under_way = self.calls + usize::from(self.alone);
        !self.waiting.is_empty()
            && (self.calls == 0 || (under_way < CALLS && self.waiting.len() >= self.last))
    }

    /// Whether nobody makes a call, nor will: those who wait, if any, do so in vain.
    fn is_left(&self) -> bool {
        self.calls == 0 && !self.alone
    }

    /// What comes next. Who has given up waiting is not asked for: after an outage nobody is charged for what was decided
    /// long ago.
    fn take(&mut self, now: Instant, deadline: Duration) -> Taken {
        let mut taken = Taken::default();
        let (mut count, mut items) = (0, 0);
        for (wanted, waiting) in &self.waiting {
            // A lease takes two items more.
            items += if lease_of(wanted, waiting).is_some() { 3 } else { 1 };
            if count == MAX_KEYS || items > MAX_ITEMS {
                break;
            }
            count += 1;
        }
        taken.asked.reserve(count);
        for (wanted, mut waiting) in self.waiting.drain(..count) {
            waiting.retain(|one| !one.answer.is_closed());
            if waiting.first().is_some_and(|oldest| oldest.since + deadline <= now) {
                let (late, in_time): (Waiters, Waiters) =
                    waiting.into_iter().partition(|one| one.since + deadline <= now);
                taken.late.extend(late);
                waiting = in_time;
            }
            if !waiting.is_empty() {
                taken.asked.push((wanted, waiting));
            }
        }
        self.last = taken.asked.len();
        taken
    }
}

impl Nonces {
    fn next(&self) -> Bytes {
        Bytes::from(format!("{}-{:x}", self.process, self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripts::Terms;

    #[tokio::test]
    async fn who_has_given_up_or_waited_too_long_is_not_asked_for() {
        let terms = Terms::new(Algorithm::SlidingWindow, "1/1m".parse().expect("a quota"));
        let (terms, mut line) = (Arc::new(terms), Line::default());
        let (since, deadline) = (Instant::now(), Duration::from_millis(100));
        let mut receivers = Vec::new();
        for number in 0..100_u64 {
            let limit = Limit { key: Bytes::from(format!("k{}", number % 50)), terms: Arc::clone(&terms) };
            let wanted = Wanted { limit, cost: 1, held: None };
            let (answer, answered) = oneshot::channel();
            // The second of the last key comes later than all others.
            let since = since + Duration::from_millis(number / 99);
            line.waiting.entry(wanted).or_default().push(Waiting {
                answer,
                lease: 0,
                since,
                turn: Turn::of(0),
            });
            // Of the first ten keys nobody waits any more.
            if number >= 60 || (10..50).contains(&number) {
                receivers.push(answered);
            }
        }
        let counts =
            |taken: &Taken| -> Vec<usize> { taken.asked.iter().map(|(_, waiting)| waiting.len()).collect() };
        let first = line.take(since, deadline);
        assert_eq!(first.asked[0].0.limit.key, "k10");
        assert_eq!((counts(&first), line.last), (vec![2; 22], 22));
        let second = line.take(since + deadline, deadline);
        assert_eq!((counts(&second), second.late.len()), (vec![1], 35));
        assert!(line.take(since, deadline).asked.is_empty() && line.waiting.is_empty());
    }

    #[test]
    fn a_second_call_begins_when_it_is_worth_it() {
        let terms = Arc::new(Terms::new(Algorithm::SlidingWindow, "1/1m".parse().expect("a quota")));
        let mut line = Line { last: 10, ..Line::default() };
        let mut begins = |alone, calls, waiting| {
            (line.alone, line.calls) = (alone, calls);
            line.waiting.clear();
            for number in 0..waiting {
                let limit = Limit { key: Bytes::from(format!("k{number}")), terms: Arc::clone(&terms) };
                line.waiting.insert(Wanted { limit, cost: 1, held: None }, Waiters::new());
            }
            line.has_enough()
        };
        assert!(!begins(false, 0, 0) && begins(false, 0, 1));
        assert!(begins(true, 0, 1), "whoever asks alone may never be polled");
        assert!(!begins(false, 1, 9) && begins(false, 1, 10));
        assert!(!begins(true, 1, 50) && !begins(false, 2, 50));
    }
}
