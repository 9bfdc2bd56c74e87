//! Concurrent checks gathered into one call, without a timer.
//!
//! ```text
//!  check --no call under way--> a call of its own, at once, by whoever checks
//!  check --one under way--> another, at once
//!  check --two under way--> waits in line --> the next call takes up to 32 keys; the same request to the same key
//!                                             is one item of it, and who waits for it is served first come, first served
//! ```
//!
//! A lone check costs one round trip; under load calls grow by themselves.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use foldhash::fast::RandomState;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use valkey_connection::{Connection, Mode};

use crate::algorithm::{Algorithm, Answer, Ask};
use crate::error::Failed;
use crate::lease::{Held, Lease};
use crate::memory::Memory;
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

struct Waiting {
    answer: oneshot::Sender<Result<Got, Failed>>,
    /// How much it would have leased for those who come after it.
    lease: u64,
}

/// What goes into one call: equal requests, and who waits for them.
type Taken = Vec<(Wanted, Vec<Waiting>)>;

pub(crate) struct Combiner {
    connection: Connection,
    memory: Arc<Memory>,
    /// One, or in a cluster one for each hash tag: the keys of a call have to be on one node.
    lines: Mutex<Lines>,
    clustered: bool,
    nonces: Nonces,
}

type Lines = HashMap<Bytes, Line, RandomState>;

#[derive(Default)]
struct Line {
    calls: usize,
    order: VecDeque<Wanted>,
    waiting: HashMap<Wanted, Vec<Waiting>, RandomState>,
}

/// How a request gets its answer.
enum Place {
    /// Nobody waits: by a call of its own.
    Alone,
    /// By a call with others; `begins`: which has to begin.
    InLine { answered: oneshot::Receiver<Result<Got, Failed>>, begins: bool },
}

/// One of the calls of a line, made by who asks. When it ends, or is given up, those who came meanwhile are called for.
struct OwnCall<'a> {
    combiner: &'a Arc<Combiner>,
    tag: Bytes,
}

/// Texts that are in no other call of any process.
struct Nonces {
    process: String,
    next: AtomicU64,
}

impl Combiner {
    pub(crate) fn new(connection: Connection, memory: Arc<Memory>) -> Arc<Self> {
        let process = uuid::Uuid::new_v4().simple().to_string();
        let nonces = Nonces { process: process[..16].to_owned(), next: AtomicU64::new(0) };
        let clustered = connection.settings().mode == Mode::Cluster;
        Arc::new(Self { connection, memory, lines: Mutex::default(), clustered, nonces })
    }

    /// Asks for one request, and for a lease of so much. What the store says is noted in the memory.
    ///
    /// # Cancel safety
    /// A request that is no longer waited for may be charged all the same.
    pub(crate) async fn ask(self: &Arc<Self>, wanted: Wanted, lease: u64) -> Result<Got, Failed> {
        let tag = self.tag(&wanted.limit.key);
        match self.stand_in_line(&tag, &wanted, lease) {
            // On the heap: a call is large, and would make the future of each check so.
            Place::Alone => Box::pin(self.ask_alone(wanted, OwnCall { combiner: self, tag })).await,
            Place::InLine { answered, begins } => {
                if begins {
                    tokio::spawn(Arc::clone(self).call_until_empty(tag));
                }
                answered.await.unwrap_or_else(|_| Err(Failed::Answer("the call was given up".to_owned())))
            }
        }
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

    fn stand_in_line(&self, tag: &Bytes, wanted: &Wanted, lease: u64) -> Place {
        let mut lines = self.lines();
        let line = lines.entry(tag.clone()).or_default();
        let (begins, first) = (line.calls < CALLS, line.calls == 0 && line.order.is_empty());
        line.calls += usize::from(begins);
        // Only one at a time: if nobody polls it, all others go on. And a lease has to arrive, whether or not somebody waits.
        if first && lease == 0 {
            return Place::Alone;
        }
        let (answer, answered) = oneshot::channel();
        let waiting = line.waiting.entry(wanted.clone()).or_default();
        waiting.push(Waiting { answer, lease });
        if waiting.len() == 1 {
            line.order.push_back(wanted.clone());
        }
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

    async fn call_until_empty(self: Arc<Self>, tag: Bytes) {
        while let Some(taken) = self.take_or_leave(&tag) {
            self.serve(taken).await;
        }
    }

    /// What comes next in a line; if nothing does, the caller's place in it is free, in the same moment: who comes later makes
    /// a call.
    fn take_or_leave(&self, tag: &Bytes) -> Option<Taken> {
        let mut lines = self.lines();
        let line = lines.get_mut(tag)?;
        let taken = line.take();
        if !taken.is_empty() {
            return Some(taken);
        }
        leave(&mut lines, tag);
        None
    }

    fn tag(&self, key: &Bytes) -> Bytes {
        if self.clustered { hash_tag(key) } else { Bytes::new() }
    }

    async fn serve(self: &Arc<Self>, mut taken: Taken) {
        // Those that are alike stand together: then the call is shorter.
        taken.sort_by_key(|(wanted, _)| (Arc::as_ptr(&wanted.limit.terms).addr(), wanted.cost));
        let mut items = Vec::with_capacity(taken.len());
        for (wanted, waiting) in &taken {
            let ask = Ask::times(wanted.cost, waiting.len() as u64);
            items.push(Item { limit: wanted.limit.clone(), want: granting(ask, false) });
            if let Some((held, ask)) = lease_of(wanted, waiting) {
                // All of it, or none: what is held was charged.
                items.push(Item { limit: wanted.limit.clone(), want: granting(ask, false) });
                items.push(Item { limit: held.limit.clone(), want: granting(ask, true) });
            }
        }
        let asked = Instant::now();
        match self.call(&items).await {
            Ok((nonce, answers)) => {
                let mut answers = answers.into_iter();
                for (wanted, waiting) in taken {
                    let answer = answers.next().flatten();
                    let leased = lease_of(&wanted, &waiting).and_then(|_| {
                        let leased = answers.next().flatten();
                        answers.next().flatten().and(leased)
                    });
                    if let Some(answer) = &answer {
                        self.note(&wanted, answer, leased, &nonce, asked);
                    }
                    deal(&wanted, waiting, answer, &nonce);
                }
            }
            Err(failed) => {
                for one in taken.into_iter().flat_map(|(_, waiting)| waiting) {
                    let _ = one.answer.send(Err(failed.clone()));
                }
            }
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

/// A call less in a line.
fn leave(lines: &mut Lines, tag: &Bytes) {
    if let Some(line) = lines.get_mut(tag) {
        line.calls -= 1;
        if line.calls == 0 && line.order.is_empty() {
            lines.remove(tag);
        }
    }
}

impl Drop for OwnCall<'_> {
    fn drop(&mut self) {
        let mut lines = self.combiner.lines();
        let empty = lines.get(&self.tag).is_none_or(|line| line.order.is_empty());
        match Handle::try_current() {
            Ok(runtime) if !empty => {
                drop(lines);
                runtime.spawn(Arc::clone(self.combiner).call_until_empty(self.tag.clone()));
            }
            // Without a runtime nobody waits any more, either.
            _ => leave(&mut lines, &self.tag),
        }
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
fn deal(wanted: &Wanted, waiting: Vec<Waiting>, answer: Option<Answer>, nonce: &Bytes) {
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
    /// What comes next. Who has given up waiting is not asked for: after an outage nobody is charged for what was decided
    /// long ago.
    fn take(&mut self) -> Taken {
        let (mut taken, mut items) = (Vec::new(), 0);
        // A lease takes two items more.
        while taken.len() < MAX_KEYS && items + 3 <= MAX_ITEMS {
            let Some(wanted) = self.order.pop_front() else { break };
            let mut waiting = self.waiting.remove(&wanted).unwrap_or_default();
            waiting.retain(|one| !one.answer.is_closed());
            if !waiting.is_empty() {
                items += if lease_of(&wanted, &waiting).is_some() { 3 } else { 1 };
                taken.push((wanted, waiting));
            }
        }
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

    #[test]
    fn who_has_given_up_is_not_asked_for() {
        let terms = Terms::new(Algorithm::SlidingWindow, "1/1m".parse().expect("a quota"));
        let (terms, mut line) = (Arc::new(terms), Line::default());
        let mut receivers = Vec::new();
        for number in 0..100_u64 {
            let limit = Limit { key: Bytes::from(format!("k{}", number % 50)), terms: Arc::clone(&terms) };
            let wanted = Wanted { limit, cost: 1, held: None };
            let (answer, answered) = oneshot::channel();
            let waiting = line.waiting.entry(wanted.clone()).or_default();
            waiting.push(Waiting { answer, lease: 0 });
            if waiting.len() == 1 {
                line.order.push_back(wanted);
            }
            // Of the first ten keys nobody waits any more.
            if number >= 60 || (10..50).contains(&number) {
                receivers.push(answered);
            }
        }
        let counts =
            |taken: &Taken| -> Vec<usize> { taken.iter().map(|(_, waiting)| waiting.len()).collect() };
        let first = line.take();
        assert_eq!(first[0].0.limit.key, "k10");
        assert_eq!(counts(&first), [2; MAX_KEYS]);
        assert_eq!(counts(&line.take()), [2; 8]);
        assert!(line.take().is_empty() && line.waiting.is_empty());
    }
}
