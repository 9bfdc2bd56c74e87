//! Who is nearest to a limit: a walk over the keys of a rule.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use valkey_connection::{Command, Error, Node, Reply};

use crate::algorithm::{Algorithm, Answer, Ask};
use crate::error::{Failed, LimitError};
use crate::limiter::Limiter;
use crate::rule::Rule;
use crate::scripts::{Item, Limit, Want};

/// What a walk over the keys of a rule found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Survey {
    /// Those who used most of what they may have, most of it first.
    pub nearest: Vec<Usage>,
    /// How many subjects have a count.
    pub subjects: usize,
    /// How many keys look like the rule's, and hold something else.
    pub foreign: usize,
    /// Whether all keys were looked at. Else there were too many.
    pub complete: bool,
}

/// What a subject used of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The subject, or a network of it, as it stands in the key.
    pub subject: String,
    /// How much counts at present.
    pub used: u64,
    /// How much there may be.
    pub limit: u64,
    /// After how long a request would be allowed, of cost 1 unless asked otherwise; zero: now.
    pub retry_after: Duration,
    /// After how long the limit is as new, if nobody comes.
    pub reset_after: Duration,
}

/// How far a walk came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Surveyed {
    /// Pages of keys asked for so far.
    pub pages: u64,
    /// Subjects found so far.
    pub subjects: usize,
}

/// Keys the server looks at in one step of a walk.
const PAGE: u64 = 1_000;
/// Steps of a walk at most: ten million keys.
const MAX_PAGES: u64 = 10_000;
/// Limits asked at once: beyond that the server does nothing else for too long.
const BATCH: usize = 32;

impl Limiter {
    /// Finds those who used most of what a rule gives them, `most` of them at most: SCAN over every primary, and a look at each
    /// key that is the rule's, which charges nothing. `on_page` hears how far it came.
    ///
    /// The cost grows with all keys of the server; it never blocks it. It does not end at the limiter's deadline, each step waits
    /// as long as the connection does. What changes meanwhile may or may not be seen.
    ///
    /// # Errors
    /// [`LimitError::Rule`], and [`LimitError::Unavailable`]: also if SCAN is not allowed for the user.
    ///
    /// # Cancel safety
    /// It may be dropped at any time.
    pub async fn survey(
        &self,
        rule: &Rule,
        most: usize,
        mut on_page: impl FnMut(Surveyed) + Send,
    ) -> Result<Survey, LimitError> {
        rule.validate()?;
        let failed = |error| LimitError::of(rule.name(), error);
        let store = |error| failed(Failed::Store(error));
        let mut found = Found { most, ..Found::default() };
        let (mut pages, mut complete) = (0, true);
        for node in self.connection.primaries().await.map_err(store)? {
            let mut cursor = "0".to_owned();
            loop {
                let (next, keys) = self.page(rule, &node, cursor).await.map_err(store)?;
                let limits: Vec<Limit> = keys
                    .into_iter()
                    .filter_map(|key| rule.limit_of_key(key))
                    .filter(|limit| found.is_new(limit))
                    .collect();
                for limits in limits.chunks(BATCH) {
                    let look = || Want::Grant { ask: Ask::peek(1), follows: false, shadow: false };
                    let items =
                        limits.iter().map(|limit| Item { limit: limit.clone(), want: look() }).collect();
                    let answers = self.combiner.call_each(items).await.map_err(failed)?;
                    for (limit, (_, answer)) in limits.iter().zip(answers) {
                        found.note(rule, limit, answer);
                    }
                }
                (pages, cursor) = (pages + 1, next);
                on_page(Surveyed { pages, subjects: found.subjects });
                if cursor == "0" || pages >= MAX_PAGES {
                    break;
                }
            }
            complete &= cursor == "0";
        }
        let Found { nearest, subjects, foreign, .. } = found;
        let nearest = nearest.into_sorted_vec().into_iter().map(|Reverse(Ranked(usage))| usage).collect();
        Ok(Survey { nearest, subjects, foreign, complete })
    }

    /// A step of a walk over the keys that begin like the rule's.
    async fn page(&self, rule: &Rule, node: &Node, cursor: String) -> Result<(String, Vec<Bytes>), Error> {
        let command = Command::new("SCAN").arg(cursor).args(["MATCH", &pattern(rule), "COUNT"]).arg(PAGE);
        let mut fields = self.connection.execute_on(node, command).await?.into_array()?.into_iter();
        let next = fields.next().map_or_else(|| Ok("0".to_owned()), Reply::into_string)?;
        let keys = fields.next().map_or_else(|| Ok(Vec::new()), Reply::into_array)?;
        Ok((next, keys.into_iter().map(Reply::into_bytes).collect::<Result<_, _>>()?))
    }
}

/// The most used so far, and how many there are.
#[derive(Default)]
struct Found {
    most: usize,
    /// The least used on top.
    nearest: BinaryHeap<Reverse<Ranked>>,
    /// A walk may come by a key more than once. Hashes, since there may be millions.
    seen: HashSet<u64>,
    hasher: RandomState,
    subjects: usize,
    foreign: usize,
}

impl Usage {
    /// What an answer to a look says.
    pub(crate) fn of(rule: &Rule, limit: &Limit, answer: &Answer) -> Self {
        let most = limit.terms.most();
        Self {
            subject: String::from_utf8_lossy(rule.subject_in(&limit.key).unwrap_or_default()).into_owned(),
            used: most.saturating_sub(answer.remaining),
            limit: most,
            retry_after: Duration::from_micros(answer.next_after),
            reset_after: Duration::from_micros(answer.reset_after),
        }
    }
}

impl Found {
    fn is_new(&mut self, limit: &Limit) -> bool {
        self.seen.insert(self.hasher.hash_one(&limit.key))
    }

    fn note(&mut self, rule: &Rule, limit: &Limit, answer: Option<Answer>) {
        let Some(answer) = answer else {
            self.foreign += 1;
            return;
        };
        // Gone between the walk and the look, or nothing of it counts any more.
        if answer.reset_after == 0 {
            return;
        }
        self.subjects += 1;
        self.nearest.push(Reverse(Ranked(Usage::of(rule, limit, &answer))));
        if self.nearest.len() > self.most {
            self.nearest.pop();
        }
    }
}

/// In the order of the share that is used; then of who waits longer, and by name.
struct Ranked(Usage);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let share = |one: &Usage, of: &Usage| u128::from(one.used) * u128::from(of.limit);
        let (Self(a), Self(b)) = (self, other);
        share(a, b)
            .cmp(&share(b, a))
            .then_with(|| a.retry_after.cmp(&b.retry_after))
            .then_with(|| b.subject.cmp(&a.subject))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

/// The pattern of a rule's keys, in which nothing of the prefix stands for something else.
fn pattern(rule: &Rule) -> String {
    let mut pattern = String::new();
    for letter in rule.prefix().chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    let tag = if rule.algorithm() == Algorithm::SlidingLog { "" } else { "{??}:" };
    format!("{pattern}{tag}{}:*", rule.name())
}
