//! The frames around a message's bytes while it is not on a lane.
//!
//! A frame is a short text header and then the bytes exactly as they were pushed, so that scripts can read and
//! move messages without parsing them. Header fields end in `|` and never contain it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::lane::Lane;

/// A message on its way to be delivered again: `<crashes>|<attempts>|<lane>|` and the bytes.
///
/// ```
/// use bytes::Bytes;
/// use valkey_envelope::{Frame, Lane};
///
/// let frame = Frame { crashes: 1, attempts: 3, lane: Lane::High, raw: Bytes::from_static(b"{}") };
/// assert_eq!(frame.encode(), "1|3|h|{}");
/// assert_eq!(Frame::decode(frame.encode()), Ok(frame));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// How often its consumer died while it held the message.
    pub crashes: u32,
    /// How many attempts have failed since it was pushed (a `retries` of the envelope comes on top).
    pub attempts: u32,
    /// The lane it was pushed to.
    pub lane: Lane,
    /// The bytes as they were pushed.
    pub raw: Bytes,
}

/// A message claimed by a consumer: `<claim_ms>|` and its [`Frame`], or the bytes alone, if they are a JSON object from the
/// normal lane that was never tried. The number of its take then tells when it was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// When it was claimed, in milliseconds of the server's clock since the Unix epoch.
    pub claimed_ms: u64,
    /// The message.
    pub frame: Frame,
}

/// A message that waits for its time: `<id>|` and its [`Frame`]. When it is due is the member's score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delayed {
    /// What makes the member unique: a fresh id of ours, never the message's, since foreign ids repeat.
    pub id: String,
    /// The message.
    pub frame: Frame,
}

/// Bytes that are no frame, or a value that no frame can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken frame: {field}: {reason}")]
pub struct FrameError {
    field: &'static str,
    reason: &'static str,
}

/// What stands in front of a frame's raw bytes.
struct Header {
    crashes: u32,
    attempts: u32,
    lane: Lane,
    /// How many bytes follow it.
    raw: usize,
}

// === impl Frame ===

/// `crashes` and `attempts` with 10 digits each, the lane, three bars.
const FRAME_HEADER: usize = 24;
/// 20 digits and a bar.
const NUMBER_HEADER: usize = 21;
/// Takes of one consumer that can share a millisecond: the number of a take is the time in ms, times this, plus a count.
const TAKES_A_MS: u64 = 16;

impl Frame {
    /// The frame of a message that was just pushed: no crash, no attempt.
    pub fn fresh(lane: Lane, raw: impl Into<Bytes>) -> Self {
        Self { crashes: 0, attempts: 0, lane, raw: raw.into() }
    }

    /// Whether the message was never tried: it can go back to its lane as plain bytes and nothing is forgotten.
    pub fn is_fresh(&self) -> bool {
        self.crashes == 0 && self.attempts == 0
    }

    /// The frame as bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(FRAME_HEADER + self.raw.len());
        self.write(&mut out);
        out.freeze()
    }

    /// Reads a frame. `raw` shares the memory of `bytes`.
    ///
    /// # Errors
    /// [`FrameError`] naming the header field that is missing or wrong. The message's own bytes are not looked at.
    pub fn decode(bytes: Bytes) -> Result<Self, FrameError> {
        let header = Header::read(&bytes)?;
        Ok(header.of(bytes))
    }

    fn write(&self, out: &mut BytesMut) {
        put_number(out, self.crashes.into());
        put_number(out, self.attempts.into());
        out.put_u8(self.lane.as_char() as u8);
        out.put_u8(b'|');
        out.put_slice(&self.raw);
    }
}

// === impl Header ===

impl Header {
    fn read(mut rest: &[u8]) -> Result<Self, FrameError> {
        let crashes = number(&mut rest, "crashes")?;
        let attempts = number(&mut rest, "attempts")?;
        let lane = match *field(&mut rest, "lane")? {
            [lane] => Lane::from_char(char::from(lane)),
            _ => None,
        }
        .ok_or_else(|| FrameError::new("lane", "expected `h`, `n` or `l`"))?;
        Ok(Self { crashes, attempts, lane, raw: rest.len() })
    }

    /// The frame at the end of `bytes`, whose header this is.
    fn of(self, bytes: Bytes) -> Frame {
        let Self { crashes, attempts, lane, raw } = self;
        Frame { crashes, attempts, lane, raw: last(bytes, raw) }
    }
}

// === impl InFlight ===

impl InFlight {
    /// The hash value with its header.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(NUMBER_HEADER + FRAME_HEADER + self.frame.raw.len());
        put_number(&mut out, self.claimed_ms);
        self.frame.write(&mut out);
        out.freeze()
    }

    /// Reads a field of the hash, `<take>-<i>`, and its value. What has no header, or a broken one, is a message as it was
    /// pushed. `frame.raw` shares the memory of `value`.
    pub fn decode(take: u64, value: Bytes) -> Self {
        let mut rest = &*value;
        let header =
            number(&mut rest, "claimed_ms").and_then(|claimed_ms| Ok((claimed_ms, Header::read(rest)?)));
        match header {
            Ok((claimed_ms, header)) => Self { claimed_ms, frame: header.of(value) },
            Err(_) => Self { claimed_ms: take / TAKES_A_MS, frame: Frame::fresh(Lane::Normal, value) },
        }
    }

    /// The same by the name of the field; `None` if that is no message, but bookkeeping.
    pub fn of_field(field: &[u8], value: Bytes) -> Option<Self> {
        let (take, place) = str::from_utf8(field).ok()?.split_once('-')?;
        place.parse::<u32>().ok()?;
        Some(Self::decode(take.parse().ok()?, value))
    }

    /// The number of a consumer's take that follows `last`, at `now_ms` of the server's clock: always a higher one, also
    /// when the clock has stepped back. Sixteen in a row differ in their remainder by 16, by which lanes get their turns.
    pub fn take_after(last: u64, now_ms: u64) -> u64 {
        let turn = (last + 1) % TAKES_A_MS;
        let least_ms = last / TAKES_A_MS + u64::from(turn == 0);
        now_ms.max(least_ms) * TAKES_A_MS + turn
    }
}

// === impl Delayed ===

impl Delayed {
    /// The sorted set member as bytes.
    ///
    /// # Errors
    /// [`FrameError`] if `id` is empty or contains `|`.
    pub fn encode(&self) -> Result<Bytes, FrameError> {
        if self.id.is_empty() {
            return Err(FrameError::new("id", "it is empty"));
        }
        if self.id.contains('|') {
            return Err(FrameError::new("id", "it contains `|`"));
        }
        let mut out = BytesMut::with_capacity(self.id.len() + 1 + FRAME_HEADER + self.frame.raw.len());
        out.put_slice(self.id.as_bytes());
        out.put_u8(b'|');
        self.frame.write(&mut out);
        Ok(out.freeze())
    }

    /// Reads a sorted set member. `frame.raw` shares the memory of `bytes`.
    ///
    /// # Errors
    /// [`FrameError`] naming the header field that is missing or wrong.
    pub fn decode(bytes: Bytes) -> Result<Self, FrameError> {
        let mut rest = &*bytes;
        let id = field(&mut rest, "id")?;
        if id.is_empty() {
            return Err(FrameError::new("id", "it is empty"));
        }
        let id = str::from_utf8(id).map_err(|_| FrameError::new("id", "it is not UTF-8"))?.to_owned();
        let header = Header::read(rest)?;
        Ok(Self { id, frame: header.of(bytes) })
    }
}

// === impl FrameError ===

impl FrameError {
    pub(crate) const fn new(field: &'static str, reason: &'static str) -> Self {
        Self { field, reason }
    }

    /// The header field that is missing or wrong.
    pub const fn field(&self) -> &'static str {
        self.field
    }
}

/// The last so many bytes, in the same memory.
pub(crate) fn last(mut bytes: Bytes, count: usize) -> Bytes {
    bytes.advance(bytes.len() - count);
    bytes
}

/// Splits the next header field off and drops its bar.
pub(crate) fn field<'a>(rest: &mut &'a [u8], name: &'static str) -> Result<&'a [u8], FrameError> {
    let bar = rest.iter().position(|&b| b == b'|').ok_or_else(|| FrameError::new(name, "no `|` ends it"))?;
    let field = &rest[..bar];
    *rest = &rest[bar + 1..];
    Ok(field)
}

/// Splits the next header field off and reads it as a decimal number: digits only, no sign, in range.
pub(crate) fn number<N: TryFrom<u64>>(rest: &mut &[u8], name: &'static str) -> Result<N, FrameError> {
    let digits = field(rest, name)?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(FrameError::new(name, "expected decimal digits"));
    }
    digits
        .iter()
        .try_fold(0u64, |n, digit| n.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .and_then(|n| N::try_from(n).ok())
        .ok_or_else(|| FrameError::new(name, "number too large"))
}

/// Writes a number and its bar, without a detour through `fmt`.
pub(crate) fn put_number(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[start..]);
    out.put_u8(b'|');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(raw: &'static [u8]) -> Frame {
        Frame { crashes: 2, attempts: 10, lane: Lane::Low, raw: Bytes::from_static(raw) }
    }

    #[test]
    fn the_layouts_are_fixed() {
        assert_eq!(frame(b"a|b\xff").encode(), b"2|10|l|a|b\xff".as_slice());
        assert_eq!(Frame::fresh(Lane::Normal, "").encode(), "0|0|n|");
        let in_flight = InFlight { claimed_ms: 1_753_000_000_123, frame: frame(b"x") };
        assert_eq!(in_flight.encode(), "1753000000123|2|10|l|x");
        let delayed = Delayed { id: "3-1".into(), frame: frame(b"x") };
        assert_eq!(delayed.encode().unwrap(), "3-1|2|10|l|x");
    }

    #[test]
    fn extremes_survive() {
        let frame = Frame { crashes: u32::MAX, attempts: u32::MAX, lane: Lane::High, raw: Bytes::new() };
        let in_flight = InFlight { claimed_ms: u64::MAX, frame };
        assert_eq!(InFlight::decode(7, in_flight.encode()), in_flight);
    }

    #[test]
    fn what_has_no_header_is_a_message_as_it_was_pushed() {
        for bare in [&b"{\"payload\":1}"[..], b"", b"x|0|0|n|", b"1|2|n|", b"\xff|"] {
            let read = InFlight::decode(1_753_000_000_123 * 16 + 5, Bytes::from_static(bare));
            let frame = Frame::fresh(Lane::Normal, bare);
            assert_eq!(read, InFlight { claimed_ms: 1_753_000_000_123, frame });
        }
        for bookkeeping in [&b"#"[..], b"@", b"12", b"12-", b"-1", b"\xff-1"] {
            assert_eq!(InFlight::of_field(bookkeeping, Bytes::from_static(b"{}")), None);
        }
        let read = InFlight::of_field(b"33-64", Bytes::from_static(b"{}")).unwrap();
        assert_eq!((read.claimed_ms, read.frame.raw), (2, Bytes::from_static(b"{}")));
    }

    #[test]
    fn takes_count_up_whatever_the_clock_does() {
        let mut last = 0;
        for now_ms in [0, 5, 5, 5, 4, 1_000, 3, 3].into_iter().chain([7; 40]) {
            let next = InFlight::take_after(last, now_ms);
            assert!(next > last && next / 16 >= now_ms, "{last} {now_ms} {next}");
            assert_eq!(next % 16, (last + 1) % 16);
            last = next;
        }
        assert_eq!(last / 16, 1_003, "it runs ahead of the clock only by what the count needs");
    }

    #[test]
    fn broken_headers_name_the_field() {
        for (bytes, field) in [
            ("", "crashes"),
            ("1", "crashes"),
            ("|0|n|", "crashes"),
            ("+1|0|n|", "crashes"),
            ("-1|0|n|", "crashes"),
            ("1.0|0|n|", "crashes"),
            ("4294967296|0|n|", "crashes"),
            ("99999999999999999999999|0|n|", "crashes"),
            ("0|x|n|", "attempts"),
            ("0|0", "attempts"),
            ("0|0|", "lane"),
            ("0|0|x|", "lane"),
            ("0|0||", "lane"),
            ("0|0|nn|", "lane"),
        ] {
            assert_eq!(
                Frame::decode(Bytes::from_static(bytes.as_bytes())).unwrap_err().field(),
                field,
                "{bytes:?}"
            );
        }
        assert_eq!(Delayed::decode(Bytes::from_static(b"|0|0|n|")).unwrap_err().field(), "id");
        assert_eq!(Delayed::decode(Bytes::from_static(b"\xff|0|0|n|")).unwrap_err().field(), "id");
    }

    #[test]
    fn an_id_that_would_break_the_frame_is_refused() {
        for id in ["", "a|b"] {
            assert!(Delayed { id: id.into(), frame: frame(b"") }.encode().is_err());
        }
    }
}
