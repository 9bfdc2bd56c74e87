//! Looking at messages without taking them.

use bytes::Bytes;
use valkey_connection::{Reply, ScriptCall};
use valkey_envelope::{DecodeError, Delayed, Envelope, Frame, InFlight, Lane, QueueName};

use crate::{
    admin::Admin,
    error::Error,
    place::Place,
    scripts::{self, PEEK},
};

/// What to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeekQuery {
    /// Where.
    pub place: Place,
    /// Elements to leave out: the first `skip` in line.
    pub skip: u64,
    /// Elements at most; 512 a call.
    pub count: u64,
    /// Bytes of each message at most. The whole answer stays below about 1 MiB plus one element.
    pub max_bytes: u64,
}

/// A page of elements, first in line first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peek {
    /// The elements.
    pub items: Vec<Peeked>,
    /// How many elements the place has.
    pub total: u64,
    /// The `skip` of the page that follows, if there is more.
    pub next: Option<u64>,
}

/// An element as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peeked {
    /// Where it is.
    pub place: Place,
    /// Its position in line, from 0.
    pub position: u64,
    /// The message's bytes, without the frame; the first [`PeekQuery::max_bytes`] of them.
    pub bytes: Bytes,
    /// How many bytes the message has.
    pub length: u64,
    /// Attempts that failed, if the place counts them.
    pub attempts: Option<u32>,
    /// Consumers that died with it, if the place counts them.
    pub crashes: Option<u32>,
    /// The lane it came from, or is in.
    pub lane: Option<Lane>,
    /// When it is due, in milliseconds since the Unix epoch (delayed only).
    pub due_ms: Option<u64>,
    /// When it was claimed, in milliseconds since the Unix epoch (in flight only).
    pub claimed_ms: Option<u64>,
    /// Which consumer holds it (in flight only).
    pub consumer: Option<String>,
}

// === impl Admin ===

impl Admin {
    /// Frame headers are cut off after the fetch, so a little more is fetched than asked for.
    const HEADER_ROOM: u64 = 128;
    const PAGE_BYTES: u64 = 1024 * 1024;

    /// Looks at messages in line order: first to be taken, due, claimed first. Nothing is moved. For dead letters
    /// see [`dead_letters`](Self::dead_letters).
    ///
    /// # Errors
    /// [`Error::NotApplicable`] for `dead`; [`Error::Connection`], also if a key holds something else.
    pub async fn peek(&self, queue: &QueueName, query: &PeekQuery) -> Result<Peek, Error> {
        let keys = queue.keys();
        match query.place {
            Place::Dead => Err(Error::NotApplicable {
                verb: "peek",
                place: Place::Dead,
                reason: "dead letters have their own listing, with reasons",
            }),
            Place::InFlight => {
                let mut whole = Peek { items: Vec::new(), total: 0, next: None };
                for id in self.consumer_ids(&keys).await? {
                    let left = query.count.saturating_sub(whole.items.len() as u64);
                    let skip = query.skip.saturating_sub(whole.total);
                    let asked = PeekQuery { skip, count: left.max(1), ..*query };
                    let mut page = self.peek_key(&keys.inflight(&id), &asked).await?;
                    for item in page.items.drain(..).take(left as usize) {
                        let position = whole.total + item.position;
                        whole.items.push(Peeked { consumer: Some(id.clone()), position, ..item });
                    }
                    whole.total += page.total;
                }
                let seen = query.skip + whole.items.len() as u64;
                whole.next = (seen < whole.total && !whole.items.is_empty()).then_some(seen);
                Ok(whole)
            }
            place => match place.key(&keys) {
                Some(key) => self.peek_key(key, query).await,
                None => Err(Error::UnexpectedReply("peek")),
            },
        }
    }

    async fn peek_key(&self, key: &str, query: &PeekQuery) -> Result<Peek, Error> {
        let cap = query.max_bytes.saturating_add(Self::HEADER_ROOM);
        let count = query.count.clamp(1, Self::SLICE);
        let raw = self.read_place(key, "right", query.skip, count, cap).await?;
        let mut items = Vec::with_capacity(raw.items.len());
        for (position, (tag, length, bytes)) in (query.skip..).zip(raw.items) {
            items.push(Peeked::new(query, position, &tag, length, bytes));
        }
        Ok(Peek { items, total: raw.total, next: raw.next })
    }

    /// A page of elements with their frames; `cap` 0 = whole elements.
    pub(crate) async fn read_place(
        &self,
        key: &str,
        side: &'static str,
        skip: u64,
        count: u64,
        cap: u64,
    ) -> Result<RawPage, Error> {
        let call: ScriptCall =
            PEEK.call().key(key).arg(side).arg(skip).arg(count).arg(cap).arg(Self::PAGE_BYTES);
        let [_, total, items, next] = scripts::fields("peek", self.connection.invoke(call).await?)?;
        let items = items.into_array()?.into_iter().map(RawPage::item).collect::<Result<_, Error>>()?;
        let next = if matches!(next, Reply::Int(_)) { Some(scripts::count(next)?) } else { None };
        Ok(RawPage { items, total: scripts::count(total)?, next })
    }
}

/// A page as the script gives it: tag, length, bytes.
pub(crate) struct RawPage {
    pub(crate) items: Vec<(String, u64, Bytes)>,
    pub(crate) total: u64,
    pub(crate) next: Option<u64>,
}

// === impl RawPage ===

impl RawPage {
    fn item(reply: Reply) -> Result<(String, u64, Bytes), Error> {
        let [tag, length, bytes] = scripts::fields("peek", reply)?;
        Ok((tag.into_string()?, scripts::count(length)?, bytes.into_bytes()?))
    }
}

// === impl Peeked ===

impl Peeked {
    /// Whether [`bytes`](Self::bytes) is all of the message.
    pub fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.length
    }

    /// The envelope, if the whole message was fetched.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no envelope.
    pub fn envelope(&self) -> Option<Result<Envelope, DecodeError>> {
        self.is_whole().then(|| Envelope::decode(&self.bytes))
    }

    fn new(query: &PeekQuery, position: u64, tag: &str, length: u64, bytes: Bytes) -> Self {
        let fetched = bytes.len();
        let mut peeked = Self {
            place: query.place,
            position,
            bytes: bytes.clone(),
            length,
            attempts: None,
            crashes: None,
            lane: None,
            due_ms: None,
            claimed_ms: None,
            consumer: None,
        };
        // A broken frame is shown as it lies there.
        let frame = match query.place {
            Place::High => {
                peeked.lane = Some(Lane::High);
                None
            }
            Place::Low => {
                peeked.lane = Some(Lane::Low);
                None
            }
            Place::Public | Place::Woken => {
                peeked.lane = Some(Lane::Normal);
                None
            }
            Place::Redo => Frame::decode(bytes).ok(),
            Place::Delayed => {
                peeked.due_ms = scripts::score("peek", tag).ok().flatten();
                Delayed::decode(bytes).ok().map(|delayed| delayed.frame)
            }
            Place::InFlight => InFlight::of_field(tag.as_bytes(), bytes).map(|held| {
                peeked.claimed_ms = Some(held.claimed_ms);
                held.frame
            }),
            Place::Dead => None,
        };
        if let Some(frame) = frame {
            let header = (fetched - frame.raw.len()) as u64;
            peeked.length = length - header;
            peeked.attempts = Some(frame.attempts);
            peeked.crashes = Some(frame.crashes);
            peeked.lane = Some(frame.lane);
            peeked.bytes = frame.raw;
        }
        peeked.bytes.truncate(usize::try_from(query.max_bytes).unwrap_or(usize::MAX));
        peeked
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn peeked(place: Place, tag: &str, bytes: &'static [u8], max_bytes: u64) -> Peeked {
        let query = PeekQuery { place, skip: 0, count: 1, max_bytes };
        Peeked::new(&query, 0, tag, bytes.len() as u64, Bytes::from_static(bytes))
    }

    #[test]
    fn frames_are_peeled_off() {
        let seen = peeked(Place::Delayed, "1753000000123", b"7-1-c|0|2|h|\xffraw", 100);
        assert_eq!((&seen.bytes[..], seen.length), (&b"\xffraw"[..], 4));
        assert_eq!(
            (seen.attempts, seen.lane, seen.due_ms),
            (Some(2), Some(Lane::High), Some(1_753_000_000_123))
        );
        let seen = peeked(Place::InFlight, "1-1", b"17|1|0|n|raw", 100);
        assert_eq!((seen.claimed_ms, seen.crashes, seen.length), (Some(17), Some(1), 3));
        let seen = peeked(Place::InFlight, "277-1", b"{}", 100);
        assert_eq!((seen.claimed_ms, seen.crashes, seen.length), (Some(17), Some(0), 2));
    }

    #[test]
    fn long_messages_are_cut_but_their_length_is_told() {
        let seen = peeked(Place::Redo, "", b"0|1|n|0123456789", 4);
        assert_eq!((&seen.bytes[..], seen.length, seen.is_whole()), (&b"0123"[..], 10, false));
        assert!(seen.envelope().is_none());
    }

    #[test]
    fn broken_frames_are_shown_as_they_lie_there() {
        let seen = peeked(Place::Redo, "", b"no frame", 100);
        assert_eq!((&seen.bytes[..], seen.attempts), (&b"no frame"[..], None));
        assert!(seen.envelope().unwrap().is_err());
    }
}
