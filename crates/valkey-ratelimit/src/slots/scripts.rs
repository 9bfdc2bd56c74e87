//! The script of slots: what goes into it, and what its answer means.

#[cfg(test)]
pub(super) mod model;
#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes};
use valkey_connection::{Arg, Reply, Script, ScriptCall};

use crate::error::Failed;

static HOLD: Script = Script::new("hold", include_str!("../../lua/hold.lua"));

/// One call names no more keys, and no more groups; the script refuses more.
pub(super) const MAX_KEYS: usize = 32;
/// What can be counted of one limit and subject.
pub(super) const MOST: u64 = i32::MAX as u64;

/// Who calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) field: Bytes,
    pub(super) lease_ms: u64,
}

/// What this process says of a key.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) key: Bytes,
    pub(super) held: u64,
    pub(super) how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Say,
    /// An earlier call may still come: it is not to have the last word.
    Insist,
    /// Says nothing, changes nothing.
    Look,
}

/// What is wanted of several keys together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) times: u64,
    /// The number of a fact, from 0, and how many there may be.
    pub(super) members: Vec<(usize, u64)>,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) keys: Vec<Key>,
    /// One a group.
    pub(super) granted: Vec<u64>,
}

/// How a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) code: Code,
    pub(super) others: u64,
    /// What this process said before, if that still counted.
    pub(super) before: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Done,
    /// Somebody else keeps something else there.
    Foreign,
    /// More processes than anybody has.
    Crowded,
    /// A later call came first.
    Late,
}

/// The call with this number; see hold.lua.
pub(super) fn hold(caller: &Caller, number: u64, facts: &[Fact], groups: &[Group]) -> ScriptCall {
    HOLD.call().keys(facts.iter().map(|fact| &fact.key)).args(arguments(caller, number, facts, groups, None))
}

/// `now_ms` is for tests; else it is the server's clock.
fn arguments(
    caller: &Caller,
    number: u64,
    facts: &[Fact],
    groups: &[Group],
    now_ms: Option<u64>,
) -> Vec<Arg> {
    let clock = now_ms.map_or_else(|| Arg::from_static(""), Arg::from);
    let mut arguments = vec![clock, Arg::from(&caller.field), Arg::from(caller.lease_ms), Arg::from(number)];
    for Fact { held, how, .. } in facts {
        let flag = match how {
            How::Say => "",
            How::Insist => "k",
            How::Look => "l",
        };
        arguments.extend([Arg::from((*held).min(MOST)), Arg::from_static(flag)]);
    }
    for Group { times, members } in groups {
        arguments.extend([Arg::from((*times).min(MOST)), Arg::from(members.len())]);
        for (at, most) in members {
            arguments.extend([Arg::from(at + 1), Arg::from((*most).min(MOST))]);
        }
    }
    arguments
}

/// Reads the answer to a call with so many facts and groups.
pub(super) fn told(reply: Reply, facts: usize, groups: usize) -> Result<Told, Failed> {
    const KEY: usize = 4 + 4 + 4;
    let mut bytes = reply.into_bytes().map_err(Failed::Store)?;
    let (found, wanted) = (bytes.len(), facts * KEY + groups * 4);
    if found != wanted {
        return Err(Failed::Answer(format!("{found} bytes where {wanted} answer so many keys")));
    }
    let mut keys = Vec::with_capacity(facts);
    for _ in 0..facts {
        let (code, others, before) = (bytes.get_i32_le(), bytes.get_u32_le(), bytes.get_i32_le());
        let code = match code {
            0 => Code::Done,
            -1 => Code::Foreign,
            -2 => Code::Crowded,
            -3 => Code::Late,
            other => return Err(Failed::Answer(format!("{other} is no code"))),
        };
        keys.push(Key { code, others: u64::from(others), before: u64::try_from(before).ok() });
    }
    let granted = (0..groups).map(|_| u64::from(bytes.get_u32_le())).collect();
    Ok(Told { keys, granted })
}
