//! One take: what is asked of `take.lua`, and what it answers.

use bytes::Bytes;
use valkey_connection::{Arg, Error, Reply, ScriptCall};
use valkey_envelope::{Frame, InFlight, Lane, QueueKeys};

use crate::scripts;

/// The name of a claim: the number of the take that made it, and its place in that take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Field {
    pub(crate) take: u64,
    pub(crate) place: u32,
}

/// A message that this consumer holds on the server.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) field: Field,
    pub(crate) claimed_ms: u64,
    pub(crate) frame: Frame,
}

/// What rides in one take besides the wish for messages.
#[derive(Debug, Default)]
pub(crate) struct Settles {
    pub(crate) acks: Vec<Field>,
    /// Field, delay in ms, whether it counts as an attempt.
    pub(crate) retries: Vec<(Field, u64, bool)>,
    /// Field, and its story as JSON.
    pub(crate) deads: Vec<(Field, Vec<u8>)>,
    pub(crate) backs: Vec<Field>,
}

/// One call of `take.lua`.
#[derive(Debug)]
pub(crate) struct Take<'a> {
    pub(crate) cid: &'a str,
    pub(crate) number: u64,
    pub(crate) lease_ms: u64,
    pub(crate) want: usize,
    pub(crate) byte_limit: usize,
    pub(crate) minute: u64,
    pub(crate) settles: &'a Settles,
}

/// Why fewer were claimed than wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Nothing,
    Paused,
    /// The queue's rate; free again after so many ms.
    Rate(u64),
    /// The queue's bound on messages in flight.
    Full,
    /// A message that may be poison waits for this consumer's hands to be empty.
    Suspect,
}

#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) now_ms: u64,
    pub(crate) acked: usize,
    pub(crate) others: usize,
    pub(crate) next_due_ms: Option<u64>,
    pub(crate) foreign_deadline_ms: Option<u64>,
    pub(crate) expired: Option<String>,
    pub(crate) hold: Hold,
    pub(crate) left: bool,
    pub(crate) claims: Vec<Claim>,
    /// Fields in flight under this name after the take, those of `claims` among them.
    pub(crate) in_flight: usize,
}

#[derive(Debug)]
pub(crate) enum TakeReply {
    Taken(Taken),
    /// This name may not take any more: another consumer takes over, or (not `known`) nothing is left of it.
    Fenced {
        known: bool,
    },
    /// A later take went before; the server knows this number.
    Stale(u64),
}

impl Field {
    /// Reads `<take>-<place>`; other fields of the hash are bookkeeping.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (take, place) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self { take: take.parse().ok()?, place: place.parse().ok()? })
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.take, self.place)
    }
}

impl From<Field> for Arg {
    fn from(field: Field) -> Self {
        Arg::from(field.to_string())
    }
}

impl Claim {
    /// A field of the in-flight hash and its value.
    pub(crate) fn from_hash(field: Field, value: Bytes) -> Self {
        let InFlight { claimed_ms, frame } = InFlight::decode(field.take, value);
        Self { field, claimed_ms, frame }
    }
}

impl Take<'_> {
    pub(crate) fn call(&self, keys: &QueueKeys) -> ScriptCall {
        let Settles { acks, retries, deads, backs } = self.settles;
        let mut args: Vec<Arg> =
            Vec::with_capacity(9 + acks.len() + 3 * retries.len() + 2 * deads.len() + backs.len());
        args.extend([
            self.cid.into(),
            self.number.into(),
            self.lease_ms.into(),
            self.want.into(),
            self.byte_limit.into(),
        ]);
        args.push(acks.len().into());
        args.extend(acks.iter().map(|&field| Arg::from(field)));
        args.push(retries.len().into());
        for &(field, delay_ms, counted) in retries {
            args.extend([field.into(), delay_ms.into(), u64::from(counted).into()]);
        }
        args.push(deads.len().into());
        for (field, meta) in deads {
            args.extend([Arg::from(*field), meta.clone().into()]);
        }
        args.push(backs.len().into());
        args.extend(backs.iter().map(|&field| Arg::from(field)));
        scripts::TAKE
            .call()
            .key(keys.public())
            .key(keys.lane(Lane::High))
            .key(keys.lane(Lane::Low))
            .key(keys.woken())
            .key(keys.inflight(self.cid))
            .key(keys.consumers())
            .key(keys.redo())
            .key(keys.delayed())
            .key(keys.dead())
            .key(keys.dead_body())
            .key(keys.control())
            .key(keys.stats(self.minute))
            .key(keys.bell())
            .args(args)
    }

    /// Reads the answer to this very take.
    pub(crate) fn read(&self, reply: Reply) -> Result<TakeReply, Error> {
        let mut parts = reply.into_array()?.into_iter();
        let mut next = || parts.next().unwrap_or(Reply::Nil);
        match next().into_string()?.as_str() {
            "fenced" => {
                let _now = next();
                return Ok(TakeReply::Fenced { known: number(next())? == 1 });
            }
            "stale" => {
                let _now = next();
                return Ok(TakeReply::Stale(number(next())?));
            }
            _ => {}
        }
        let now_ms = number(next())?;
        let (acked, others) = (number(next())? as usize, number(next())? as usize);
        let (next_due, foreign) = (number(next())?, number(next())?);
        let expired = next().into_string()?;
        let (hold, hold_ms) = (next().into_string()?, number(next())?);
        let left = number(next())? == 1;
        let shape = next().into_string()?;
        let items = next().into_array()?;
        let in_flight = number(next())? as usize;
        let mut claims = Vec::with_capacity(items.len());
        for (i, (kind, item)) in shape.chars().zip(items).enumerate() {
            let field = Field { take: self.number, place: i as u32 + 1 };
            let bytes = item.into_bytes()?;
            let frame = match Lane::from_char(kind) {
                Some(lane) => Frame::fresh(lane, bytes),
                None => Frame::decode(bytes.clone()).unwrap_or_else(|_| Frame::fresh(Lane::Normal, bytes)),
            };
            claims.push(Claim { field, claimed_ms: now_ms, frame });
        }
        Ok(TakeReply::Taken(Taken {
            now_ms,
            acked,
            others,
            next_due_ms: (next_due > 0).then_some(next_due),
            foreign_deadline_ms: (foreign > 0).then_some(foreign),
            expired: (!expired.is_empty()).then_some(expired),
            hold: match hold.as_str() {
                "" => Hold::Nothing,
                "paused" => Hold::Paused,
                "rate" => Hold::Rate(hold_ms),
                "full" => Hold::Full,
                _ => Hold::Suspect,
            },
            left,
            claims,
            in_flight,
        }))
    }
}

/// A count or a time: the scripts give integers, or integers as text.
#[expect(clippy::needless_pass_by_value, reason = "so that it maps over the parts of a reply")]
pub(crate) fn number(reply: Reply) -> Result<u64, Error> {
    Ok(u64::try_from(reply.as_int()?).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_as_written_and_bookkeeping_is_not_one() {
        let field = Field { take: 12, place: 64 };
        assert_eq!(Field::parse(field.to_string().as_bytes()), Some(field));
        for other in ["#", "@", "12", "12-", "-1", "a-b"] {
            assert_eq!(Field::parse(other.as_bytes()), None, "{other}");
        }
    }
}
