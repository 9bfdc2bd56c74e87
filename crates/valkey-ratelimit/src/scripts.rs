//! The scripts of this crate: what goes into them, and what their answers mean.

#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use quick_cache::Equivalent;
use valkey_connection::{Arg, Error, Reply, Script, ScriptCall};

use crate::algorithm::{Algorithm, Answer, Ask, Mark};
use crate::quota::Quota;

static CHECK: Script = Script::new("check", include_str!("../lua/check.lua"));
static GRANT: Script = Script::new("grant", include_str!("../lua/grant.lua"));

/// One call asks for no more; the scripts refuse more.
pub(crate) const MAX_ITEMS: usize = 64;

/// What one subject may have: where its state is, and under which terms. Under another quota it may have room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) key: Bytes,
    pub(crate) terms: Arc<Terms>,
}

/// A [`Limit`] to look for: whoever is found to be refused costs no allocation.
pub(crate) struct Sought<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) terms: &'a Arc<Terms>,
}

/// How much in how long, counted how, and the same as the script takes it.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) algorithm: Algorithm,
    pub(crate) quota: Quota,
    arguments: [Arg; 5],
}

/// What to ask of one limit.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) limit: Limit,
    pub(crate) want: Want,
}

#[derive(Clone, Debug)]
pub(crate) enum Want {
    Grant {
        ask: Ask,
        /// Whether it is granted only together with the item before.
        follows: bool,
        /// Whether its refusal is in nobody's way.
        shadow: bool,
    },
    GiveBack {
        charge: Charge,
        amount: u64,
    },
}

/// Where a charge stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The text of the call that charged it.
    pub(crate) nonce: Bytes,
    pub(crate) mark: Mark,
}

/// What became of all items of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) now_us: u64,
    /// One an item; `None`: the key holds something else.
    pub(crate) answers: Vec<Option<Answer>>,
}

impl Terms {
    pub(crate) fn new(algorithm: Algorithm, quota: Quota) -> Self {
        let (letter, [a, b, c, d]) = algorithm.start(quota).terms();
        let arguments = [Arg::from_static(letter), Arg::from(a), Arg::from(b), Arg::from(c), Arg::from(d)];
        Self { algorithm, quota, arguments }
    }

    /// The most that one request can cost.
    pub(crate) fn most(&self) -> u64 {
        match self.algorithm {
            Algorithm::Gcra { burst } => burst,
            _ => self.quota.limit(),
        }
    }
}

// The arguments follow from the rest.
impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        (self.algorithm, self.quota) == (other.algorithm, other.quota)
    }
}

impl Eq for Terms {}

/// Keys alone tell most limits apart.
impl Hash for Limit {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

// As that of the limit.
impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl Equivalent<Limit> for Sought<'_> {
    fn equivalent(&self, limit: &Limit) -> bool {
        self.key == limit.key && *self.terms == limit.terms
    }
}

/// An answer that is none of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadAnswer {
    #[error(transparent)]
    Reply(#[from] Error),
    #[error("{found} bytes where {wanted} answer so many items")]
    Length { found: usize, wanted: usize },
}

/// The call for at most [`MAX_ITEMS`] items, whatever they are. `nonce` is in no other call.
pub(crate) fn check(items: &[Item], nonce: &Bytes) -> ScriptCall {
    CHECK.call().keys(items.iter().map(|item| &item.limit.key)).args(arguments(items, nonce, None))
}

/// The quicker call for items that each stand for themselves, if `grant.lua` knows them all: of two algorithms, and of as many
/// keys. It is shorter the more of them that follow one another are of one quota and cost.
pub(crate) fn grant(items: &[Item]) -> Option<ScriptCall> {
    let arguments = grant_arguments(items, None)?;
    Some(GRANT.call().keys(items.iter().map(|item| &item.limit.key)).args(arguments))
}

/// Whether `grant.lua` did nothing, and leaves it to `check.lua`.
pub(crate) fn is_left_to_check(reply: &Reply) -> bool {
    matches!(reply, Reply::Bytes(bytes) if bytes.is_empty())
}

fn grant_arguments(items: &[Item], now_us: Option<u64>) -> Option<Vec<Arg>> {
    let mut asks = Vec::with_capacity(items.len());
    for item in items {
        match (&item.want, item.limit.terms.algorithm) {
            (
                Want::Grant { ask, follows: false, shadow: false },
                Algorithm::SlidingWindow | Algorithm::Gcra { .. },
            ) => asks.push((&*item.limit.terms, *ask)),
            _ => return None,
        }
    }
    let mut keys: Vec<&Bytes> = items.iter().map(|item| &item.limit.key).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return None;
    }
    let mut arguments = Vec::with_capacity(8 + asks.len());
    arguments.push(clock(now_us));
    for alike in asks.chunk_by(|(terms, ask), (next, other)| ask.cost == other.cost && terms == next) {
        let (terms, Ask { cost, .. }) = alike[0];
        arguments.extend(terms.arguments.iter().map(Arg::from));
        arguments.push(Arg::from(cost));
        if alike.iter().all(|(_, ask)| ask.times == 1) {
            arguments.push(Arg::from(format!("-{}", alike.len())));
        } else {
            arguments.push(Arg::from(alike.len()));
            arguments.extend(alike.iter().map(|(_, ask)| Arg::from(ask.times)));
        }
    }
    Some(arguments)
}

/// `now_us` is for tests; else it is the server's clock.
fn clock(now_us: Option<u64>) -> Arg {
    now_us.map_or_else(|| Arg::from_static(""), Arg::from)
}

fn arguments(items: &[Item], nonce: &Bytes, now_us: Option<u64>) -> Vec<Arg> {
    let mut quotas: Vec<&Terms> = Vec::new();
    let numbers: Vec<usize> = items
        .iter()
        .map(|item| {
            let wanted = &*item.limit.terms;
            quotas.iter().position(|known| *known == wanted).unwrap_or_else(|| {
                quotas.push(wanted);
                quotas.len() - 1
            }) + 1
        })
        .collect();
    let mut arguments = Vec::with_capacity(3 + 5 * quotas.len() + 4 * items.len());
    arguments.extend([clock(now_us), Arg::from(nonce), Arg::from(quotas.len())]);
    for terms in quotas {
        arguments.extend(terms.arguments.iter().map(Arg::from));
    }
    for (item, number) in items.iter().zip(numbers) {
        let [what, how_much, flags] = match &item.want {
            Want::Grant { ask: Ask { cost, times }, follows, shadow } => {
                let flags = match (follows, shadow) {
                    (false, false) => "",
                    (true, false) => "+",
                    (false, true) => "s",
                    (true, true) => "+s",
                };
                [Arg::from(*cost), Arg::from(*times), Arg::from_static(flags)]
            }
            Want::GiveBack { charge: Charge { nonce, mark: Mark(mark) }, amount } => {
                let place = if item.limit.terms.algorithm == Algorithm::SlidingLog {
                    Arg::from([nonce, &b":"[..], mark.to_string().as_bytes()].concat())
                } else {
                    Arg::from(*mark)
                };
                [place, Arg::from(*amount), Arg::from_static("b")]
            }
        };
        arguments.extend([Arg::from(number), what, how_much, flags]);
    }
    arguments
}

/// Reads the answer to a call of so many items.
pub(crate) fn checked(reply: Reply, items: usize) -> Result<Checked, BadAnswer> {
    const ITEM: usize = 4 + 4 + 8 + 8 + 8;
    let mut bytes = reply.into_bytes()?;
    let (found, wanted) = (bytes.len(), 8 + items * ITEM);
    if found != wanted {
        return Err(BadAnswer::Length { found, wanted });
    }
    let now_us = bytes.get_i64_le().unsigned_abs();
    let answers = (0..items).map(|_| {
        let (granted, remaining) = (bytes.get_i32_le(), bytes.get_u32_le());
        let (next_after, reset_after, mark) = (bytes.get_i64_le(), bytes.get_i64_le(), bytes.get_i64_le());
        u64::try_from(granted).ok().map(|granted| Answer {
            granted,
            remaining: u64::from(remaining),
            next_after: u64::try_from(next_after).unwrap_or(Answer::NEVER),
            reset_after: reset_after.unsigned_abs(),
            mark: Mark(mark.unsigned_abs()),
        })
    });
    Ok(Checked { now_us, answers: answers.collect() })
}
