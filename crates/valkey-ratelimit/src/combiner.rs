//! Concurrent checks gathered into one call, without a timer.
//!
//! ```text
//!  check --fewer than two calls under way--> a call of its own, at once
//!  check --two under way--> waits in line --> the next call takes up to 32 keys; the same request to the same key
//!                                             is one item of it, and who waits for it is served first come, first served
//! ```
//!
//! A lone check costs one round trip; under load calls grow by themselves.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;
use valkey_connection::{Connection, Mode};

use crate::algorithm::{Algorithm, Answer, Ask};
use crate::error::Failed;
use crate::scripts::{self, Charge, Item, Limit, Want};

/// One call asks for no more keys: beyond that the server does nothing else for too long.
const MAX_KEYS: usize = 32;
/// So many calls are under way at once: one that travels while the other is worked on.
const CALLS: usize = 2;

/// One of several equal requests to a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) limit: Limit,
    pub(crate) cost: u64,
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

type Waiting = oneshot::Sender<Result<Got, Failed>>;

pub(crate) struct Combiner {
    connection: Connection,
    /// One, or in a cluster one for each hash tag: the keys of a call have to be on one node.
    lines: Mutex<HashMap<Bytes, Line>>,
    clustered: bool,
    nonces: Nonces,
}

#[derive(Default)]
struct Line {
    calls: usize,
    order: VecDeque<Wanted>,
    waiting: HashMap<Wanted, Vec<Waiting>>,
}

/// Texts that are in no other call of any process.
struct Nonces {
    process: String,
    next: AtomicU64,
}

impl Combiner {
    pub(crate) fn new(connection: Connection) -> Arc<Self> {
        let process = uuid::Uuid::new_v4().simple().to_string();
        let nonces = Nonces { process: process[..16].to_owned(), next: AtomicU64::new(0) };
        let clustered = connection.settings().mode == Mode::Cluster;
        Arc::new(Self { connection, lines: Mutex::default(), clustered, nonces })
    }

    /// Asks for one request.
    ///
    /// # Cancel safety
    /// A request that is no longer waited for may be charged all the same.
    pub(crate) async fn ask(self: &Arc<Self>, wanted: Wanted) -> Result<Got, Failed> {
        let (answer, answered) = oneshot::channel();
        let tag = self.tag(&wanted.limit.key);
        if self.stand_in_line(&tag, wanted, answer) {
            tokio::spawn(Arc::clone(self).call_until_empty(tag));
        }
        answered.await.unwrap_or_else(|_| Err(Failed::Answer("the call was given up".to_owned())))
    }

    /// Whether a call may begin for it.
    fn stand_in_line(&self, tag: &Bytes, wanted: Wanted, answer: Waiting) -> bool {
        let mut lines = self.lines();
        let line = lines.entry(tag.clone()).or_default();
        let waiting = line.waiting.entry(wanted.clone()).or_default();
        waiting.push(answer);
        if waiting.len() == 1 {
            line.order.push_back(wanted);
        }
        let begins = line.calls < CALLS;
        line.calls += usize::from(begins);
        begins
    }

    /// A call of its own.
    pub(crate) async fn call(&self, items: &[Item]) -> Result<(Bytes, Vec<Option<Answer>>), Failed> {
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
    fn take_or_leave(&self, tag: &Bytes) -> Option<Vec<(Wanted, Vec<Waiting>)>> {
        let mut lines = self.lines();
        let line = lines.get_mut(tag)?;
        let taken = line.take();
        if !taken.is_empty() {
            return Some(taken);
        }
        line.calls -= 1;
        if line.calls == 0 {
            lines.remove(tag);
        }
        None
    }

    fn tag(&self, key: &Bytes) -> Bytes {
        if !self.clustered {
            return Bytes::new();
        }
        let begin = key.iter().position(|byte| *byte == b'{');
        let end = begin
            .and_then(|begin| Some((begin, begin + key[begin..].iter().position(|byte| *byte == b'}')?)));
        match end {
            Some((begin, end)) if end > begin + 1 => key.slice(begin + 1..end),
            _ => key.clone(),
        }
    }

    async fn serve(&self, taken: Vec<(Wanted, Vec<Waiting>)>) {
        let items: Vec<Item> = taken
            .iter()
            .map(|(Wanted { limit, cost }, waiting)| Item {
                limit: limit.clone(),
                want: Want::Grant {
                    ask: Ask::times(*cost, waiting.len() as u64),
                    follows: false,
                    shadow: false,
                },
            })
            .collect();
        match self.call(&items).await {
            Ok((nonce, answers)) => {
                for ((wanted, waiting), answer) in taken.into_iter().zip(answers) {
                    deal(&wanted, waiting, answer, &nonce);
                }
            }
            Err(failed) => {
                for answer in taken.into_iter().flat_map(|(_, waiting)| waiting) {
                    let _ = answer.send(Err(failed.clone()));
                }
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Bytes, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives each who waited what it got: the first come are granted. Who no longer waits is not missed.
fn deal(wanted: &Wanted, waiting: Vec<Waiting>, answer: Option<Answer>, nonce: &Bytes) {
    let Some(answer) = answer else {
        for one in waiting {
            let _ = one.send(Ok(Got::Foreign));
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
        let _ = one.send(Ok(got));
    }
}

impl Line {
    /// What comes next. Who has given up waiting is not asked for: after an outage nobody is charged for what was decided
    /// long ago.
    fn take(&mut self) -> Vec<(Wanted, Vec<Waiting>)> {
        let mut taken = Vec::new();
        while taken.len() < MAX_KEYS {
            let Some(wanted) = self.order.pop_front() else { break };
            let mut waiting = self.waiting.remove(&wanted).unwrap_or_default();
            waiting.retain(|one| !one.is_closed());
            if !waiting.is_empty() {
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
            let wanted = Wanted { limit, cost: 1 };
            let (answer, answered) = oneshot::channel();
            let waiting = line.waiting.entry(wanted.clone()).or_default();
            waiting.push(answer);
            if waiting.len() == 1 {
                line.order.push_back(wanted);
            }
            // Of the first ten keys nobody waits any more.
            if number >= 60 || (10..50).contains(&number) {
                receivers.push(answered);
            }
        }
        let counts = |taken: &[(Wanted, Vec<Waiting>)]| -> Vec<usize> {
            taken.iter().map(|(_, waiting)| waiting.len()).collect()
        };
        let first = line.take();
        assert_eq!(first[0].0.limit.key, "k10");
        assert_eq!(counts(&first), [2; MAX_KEYS]);
        assert_eq!(counts(&line.take()), [2; 8]);
        assert!(line.take().is_empty() && line.waiting.is_empty());
    }
}
