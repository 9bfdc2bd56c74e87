//! What an append-only file says about a queue, up to any byte of it.

use std::collections::{BTreeMap, BTreeSet};

use valkey_envelope::{InFlight, QueueKeys};

use crate::bed::number_of;

/// The units of a file: single commands, and transactions as a whole. A script with several writes is one.
pub(crate) struct Aof {
    units: Vec<Unit>,
}

pub(crate) struct Unit {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Where its commands end, `MULTI` and `EXEC` among them.
    pub(crate) commands: Vec<(usize, Vec<Vec<u8>>)>,
}

/// What a queue went through, as far as a file tells.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) pushed: BTreeSet<u32>,
    pub(crate) settled: BTreeSet<u32>,
    /// What the last take of each consumer settled: its answer may not have been heard.
    last: BTreeMap<Vec<u8>, BTreeSet<u32>>,
}

impl Aof {
    pub(crate) fn parse(file: &[u8]) -> Self {
        let mut units: Vec<Unit> = Vec::new();
        let mut at = 0;
        let mut open: Option<Unit> = None;
        while at < file.len() {
            let start = at;
            let Some((command, end)) = command(file, at) else { break };
            at = end;
            let name = command[0].to_ascii_uppercase();
            let unit = open.get_or_insert(Unit { start, end, commands: Vec::new() });
            let inside =
                unit.commands.first().is_some_and(|(_, first)| first[0].eq_ignore_ascii_case(b"MULTI"));
            unit.commands.push((end, command));
            unit.end = end;
            if name == b"EXEC" || (name != b"MULTI" && !inside) {
                units.extend(open.take());
            }
        }
        Self { units }
    }

    /// The units that end after byte `from`.
    pub(crate) fn after(&self, from: usize) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(move |unit| unit.end > from)
    }

    /// What is left when the file is cut at byte `cut`.
    pub(crate) fn history(&self, keys: &QueueKeys, cut: usize) -> History {
        let mut history = History::default();
        let mut claims = BTreeMap::new();
        let prefix = keys.inflight("");
        for (_, command) in self.units.iter().filter(|unit| unit.end <= cut).flat_map(|unit| &unit.commands) {
            let [name, key, rest @ ..] = &command[..] else { continue };
            let name = name.to_ascii_uppercase();
            if name == b"LPUSH" && key == keys.public().as_bytes() {
                history.pushed.extend(rest.iter().map(|raw| number_of(raw)));
            } else if key.starts_with(prefix.as_bytes()) && name == b"HSET" {
                for pair in rest.chunks(2) {
                    if let Some(claim) = InFlight::of_field(&pair[0], pair[1].clone().into()) {
                        claims.insert((key.clone(), pair[0].clone()), number_of(&claim.frame.raw));
                    }
                }
            } else if key.starts_with(prefix.as_bytes()) && name == b"HDEL" {
                let gone = rest.iter().filter_map(|field| claims.remove(&(key.clone(), field.clone())));
                let gone: BTreeSet<u32> = gone.collect();
                history.settled.extend(&gone);
                history.last.insert(key.clone(), gone);
            }
        }
        history
    }
}

impl History {
    /// What the queue holds.
    pub(crate) fn held(&self) -> BTreeSet<u32> {
        self.pushed.difference(&self.settled).copied().collect()
    }

    /// The settles that were answered for sure.
    pub(crate) fn answered(&self) -> BTreeSet<u32> {
        let doubtful: BTreeSet<u32> = self.last.values().flatten().copied().collect();
        self.settled.difference(&doubtful).copied().collect()
    }
}

/// The command that begins at `at`, and where it ends.
fn command(file: &[u8], at: usize) -> Option<(Vec<Vec<u8>>, usize)> {
    let (count, mut at) = length(file, at, b'*')?;
    let mut arguments = Vec::with_capacity(count);
    for _ in 0..count {
        let (size, begin) = length(file, at, b'$')?;
        arguments.push(file.get(begin..begin + size)?.to_vec());
        at = begin + size + 2;
    }
    (at <= file.len()).then_some((arguments, at))
}

fn length(file: &[u8], at: usize, mark: u8) -> Option<(usize, usize)> {
    let rest = file.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    let text = std::str::from_utf8(rest.get(..end)?.strip_prefix(&[mark])?).ok()?;
    Some((text.parse().ok()?, at + end + 2))
}
