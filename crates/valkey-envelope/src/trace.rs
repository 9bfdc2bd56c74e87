//! W3C trace context, as it travels in the `traceparent` header.

use std::{fmt, str::FromStr};

/// A W3C `traceparent`: which trace a message belongs to, and the span that sent it.
///
/// ```
/// use valkey_envelope::{Envelope, TraceParent};
///
/// let parent: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse()?;
/// assert!(parent.is_sampled());
///
/// let envelope = Envelope::new("hello")?.with_trace_parent(&parent);
/// assert_eq!(envelope.header("traceparent"), Some(&*parent.to_string()));
/// assert_eq!(envelope.trace_parent(), Some(parent));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

/// The text is not a `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid traceparent: {0}")]
pub struct InvalidTraceParent(&'static str);

// === impl TraceParent ===

const SAMPLED: u8 = 1;

impl TraceParent {
    /// The header it travels in.
    pub const HEADER: &'static str = "traceparent";

    /// The context of a span; `None` if one of the ids is zero, which the standard forbids.
    pub const fn new(trace_id: u128, parent_id: u64, sampled: bool) -> Option<Self> {
        if trace_id == 0 || parent_id == 0 {
            return None;
        }
        Some(Self { trace_id, parent_id, flags: if sampled { SAMPLED } else { 0 } })
    }

    /// The trace.
    pub const fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The span that sent the message.
    pub const fn parent_id(&self) -> u64 {
        self.parent_id
    }

    /// The flags as they are on the wire.
    pub const fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether the sender recorded the trace.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    /// Reads version `00`, and of later versions the part that is as in `00`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('-');
        let mut hex = |digits: usize, error: &'static str| {
            parts
                .next()
                .filter(|part| part.len() == digits)
                // The standard allows lower case only; `from_str_radix` would take more, a sign even.
                .filter(|part| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                .and_then(|part| u128::from_str_radix(part, 16).ok())
                .ok_or(InvalidTraceParent(error))
        };
        let version = hex(2, "expected a version of 2 lower case hexadecimal digits")?;
        let trace_id = hex(32, "expected a trace id of 32 lower case hexadecimal digits")?;
        let parent_id = hex(16, "expected a parent id of 16 lower case hexadecimal digits")?;
        let flags = hex(2, "expected flags of 2 lower case hexadecimal digits")?;
        if version == 0xff {
            return Err(InvalidTraceParent("version ff is forbidden"));
        }
        if version == 0 && parts.next().is_some() {
            return Err(InvalidTraceParent("version 00 has four parts"));
        }
        let parent = Self::new(trace_id, parent_id as u64, false)
            .ok_or(InvalidTraceParent("an id of zeros is forbidden"))?;
        Ok(Self { flags: flags as u8, ..parent })
    }
}

#[cfg(test)]
mod tests {
    use super::TraceParent;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn text_leads_back_to_itself() {
        for text in [VALID, "00-00000000000000000000000000000001-0000000000000001-00"] {
            assert_eq!(text.parse::<TraceParent>().map(|p| p.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn later_versions_are_read_by_their_known_part() {
        let later = VALID.replacen("00-", "01-", 1) + "-what-comes";
        assert_eq!(later.parse(), VALID.parse::<TraceParent>());
    }

    #[test]
    fn refuses_what_the_standard_forbids() {
        for text in [
            "",
            "00",
            &VALID.to_uppercase(),
            &VALID.replacen("00-", "ff-", 1),
            &format!("{VALID}-more"),
            &VALID.replace("b7ad6b7169203331", "0000000000000000"),
            &VALID.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            &VALID.replace("0af7", "+af7"),
            &VALID.replace("-01", "-1"),
        ] {
            assert!(text.parse::<TraceParent>().is_err(), "{text}");
        }
    }
}
