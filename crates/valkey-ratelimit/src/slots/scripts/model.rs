//! What hold.lua does, said once more: the clock is an argument, and keys are maps.

use std::collections::HashMap;

use super::{Code, Fact, Group, How, Key, Told};

/// What a process said of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::slots) struct Value {
    pub(in crate::slots) count: u64,
    pub(in crate::slots) expiry: u64,
    pub(in crate::slots) lease: u64,
    pub(in crate::slots) number: u64,
}

/// A key: a field per process, or something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::slots) enum Kept {
    Fields(HashMap<String, Value>),
    Foreign,
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::slots) struct Change {
    /// The field of who called.
    pub(in crate::slots) own: Option<Value>,
    /// How long the key is to live, if it was written for this.
    pub(in crate::slots) life_ms: Option<u64>,
    /// How many dead fields go, and how many that are too far ahead come back.
    pub(in crate::slots) swept: usize,
    pub(in crate::slots) pulled: usize,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::slots) struct Call<'a> {
    pub(in crate::slots) now: u64,
    pub(in crate::slots) field: &'a str,
    pub(in crate::slots) lease: u64,
    pub(in crate::slots) number: u64,
    pub(in crate::slots) facts: &'a [Fact],
    pub(in crate::slots) groups: &'a [Group],
}

impl Value {
    pub(in crate::slots) fn is_dead(&self, now: u64) -> bool {
        self.expiry <= now
    }

    pub(in crate::slots) fn is_ahead(&self, now: u64) -> bool {
        self.expiry > now + 2 * self.lease
    }

    /// As long as it counts, at the most.
    pub(in crate::slots) fn pulled(self, now: u64) -> Self {
        if self.is_ahead(now) { Self { expiry: now + self.lease, ..self } } else { self }
    }
}

/// What is answered, and what becomes of each key; `None`: nothing.
pub(in crate::slots) fn call(kept: &[Kept], call: Call<'_>) -> (Told, Vec<Option<Change>>) {
    let Call { now, field, number, facts, groups, .. } = call;
    let keys: Vec<Key> =
        facts.iter().zip(kept).map(|(fact, kept)| read(fact, kept, field, number, now)).collect();
    let mut counts: Vec<u64> = facts.iter().map(|fact| fact.held).collect();
    let mut granted = Vec::new();
    for Group { times, members } in groups {
        let room = |(at, most): &(usize, u64)| match keys[*at].code {
            Code::Done => most.saturating_sub(keys[*at].others + counts[*at]),
            _ => 0,
        };
        let fits = members.iter().map(room).min().unwrap_or(0).min(*times);
        for (at, _) in members {
            counts[*at] += fits;
        }
        granted.push(fits);
    }
    let mut sweeps = 16;
    let changes = (0..facts.len()).map(|at| {
        let Kept::Fields(fields) = &kept[at] else { return None };
        let is_left_alone = keys[at].code != Code::Done || facts[at].how == How::Look;
        (!is_left_alone).then(|| change(fields, facts[at].how, counts[at], call, &mut sweeps))
    });
    let changes = changes.collect();
    (Told { keys, granted }, changes)
}

fn read(fact: &Fact, kept: &Kept, field: &str, number: u64, now: u64) -> Key {
    let Kept::Fields(fields) = kept else { return Key { code: Code::Foreign, others: 0, before: None } };
    let own = fields.get(field);
    let is_late = fact.how != How::Look && own.is_some_and(|own| own.number >= number);
    let others = fields.iter().filter(|(name, value)| *name != field && !value.is_dead(now));
    Key {
        code: if is_late { Code::Late } else { Code::Done },
        others: others.map(|(_, value)| value.count).sum(),
        before: own.filter(|own| !own.is_dead(now)).map(|own| own.count),
    }
}

fn change(
    fields: &HashMap<String, Value>,
    how: How,
    count: u64,
    call: Call<'_>,
    sweeps: &mut usize,
) -> Change {
    let Call { now, field, lease, number, .. } = call;
    let found = fields.get(field).copied();
    let others = || fields.iter().filter(|(name, _)| *name != field).map(|(_, value)| *value);
    let (mut own, mut life_ms) = (found, None);
    let lives_on =
        |own: Value| own.count == count && (now + lease * 3 / 4 + 1..=now + lease).contains(&own.expiry);
    if count == 0 && how == How::Say {
        own = None;
    } else if how == How::Insist || !found.is_some_and(lives_on) {
        own = Some(Value { count, expiry: now + lease, lease, number });
        let living = others().filter(|value| !value.is_dead(now)).map(|value| value.pulled(now).expiry);
        life_ms = Some(living.max().unwrap_or(0).max(now + lease) - now);
    }
    let mut spend = |wanted: usize| {
        let spent = wanted.min(*sweeps);
        *sweeps -= spent;
        spent
    };
    let swept = spend(others().filter(|value| value.is_dead(now)).count());
    let pulled = spend(others().filter(|value| !value.is_dead(now) && value.is_ahead(now)).count());
    Change { own, life_ms, swept, pulled }
}
