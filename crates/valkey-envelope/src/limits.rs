//! Bounds on what is read and written, and the check of depth that needs no stack.

use std::fmt;

/// Bounds on an envelope. Both directions keep them, so nothing is written that would not be read.
///
/// ```
/// use valkey_envelope::{Codec, DecodeError, Limits};
///
/// let codec = Codec::new().limits(Limits::default().max_size(16));
/// let refused = codec.decode(br#"{"payload":"rather long"}"#).unwrap_err();
/// assert_eq!(refused.to_string(), "size of 25 bytes is over the limit of 16");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(crate) size: usize,
    pub(crate) depth: usize,
    pub(crate) headers: usize,
    pub(crate) header_bytes: usize,
}

/// Which bound of [`Limits`] was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Arrays and objects within each other.
    Depth,
    /// Bytes of all header names and values.
    HeaderBytes,
    /// Number of headers.
    Headers,
    /// Bytes of the envelope.
    Size,
}

/// Something is over its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    limit: Limit,
    value: usize,
    max: usize,
}

// === impl Limits ===

impl Limits {
    /// Bytes of an envelope as it is on the wire. Default 1 MiB.
    #[must_use]
    pub const fn max_size(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    /// Arrays and objects within each other, the envelope itself being the first. A base64 payload counts as if
    /// it were written inline. Default 64.
    ///
    /// Decoding holds any depth; [`payload_as`](crate::Envelope::payload_as) refuses more than 127 by itself.
    #[must_use]
    pub const fn max_depth(mut self, levels: usize) -> Self {
        self.depth = levels;
        self
    }

    /// Number of headers. Default 128.
    #[must_use]
    pub const fn max_headers(mut self, count: usize) -> Self {
        self.headers = count;
        self
    }

    /// Bytes of all header names and values together. Default 32 KiB.
    #[must_use]
    pub const fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.header_bytes = bytes;
        self
    }

    pub(crate) fn check_size(&self, size: usize) -> Result<(), LimitExceeded> {
        LimitExceeded::check(Limit::Size, size, self.size)
    }

    pub(crate) fn check_header_count(&self, count: usize) -> Result<(), LimitExceeded> {
        LimitExceeded::check(Limit::Headers, count, self.headers)
    }

    pub(crate) fn check_header_bytes(&self, bytes: usize) -> Result<(), LimitExceeded> {
        LimitExceeded::check(Limit::HeaderBytes, bytes, self.header_bytes)
    }

    /// Checks the depth of a JSON text that stands `outer` levels deep.
    pub(crate) fn check_depth(&self, json: &[u8], outer: usize) -> Result<(), LimitExceeded> {
        // Nothing is deeper than it has brackets, and counting those is many times cheaper.
        let brackets = json.iter().filter(|b| matches!(b, b'[' | b'{')).count();
        if outer + brackets <= self.depth {
            return Ok(());
        }
        LimitExceeded::check(Limit::Depth, outer + depth(json), self.depth)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: 1024 * 1024, depth: 64, headers: 128, header_bytes: 32 * 1024 }
    }
}

/// How deep arrays and objects are within each other. The text need not be JSON: of one that is, no parser goes
/// deeper; any other is refused by the parser, which by then has gone no deeper either.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => drop(bytes.next()),
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            _ => {}
        }
    }
    deepest
}

// === impl LimitExceeded ===

impl LimitExceeded {
    fn check(limit: Limit, value: usize, max: usize) -> Result<(), Self> {
        if value <= max { Ok(()) } else { Err(Self { limit, value, max }) }
    }

    /// Which limit it is.
    pub const fn limit(&self) -> Limit {
        self.limit
    }

    /// What was found.
    pub const fn value(&self) -> usize {
        self.value
    }

    /// What is allowed.
    pub const fn max(&self) -> usize {
        self.max
    }
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, value, max } = self;
        match limit {
            Limit::Depth => write!(f, "nesting of {value} levels is over the limit of {max}"),
            Limit::HeaderBytes => write!(f, "headers of {value} bytes are over the limit of {max}"),
            Limit::Headers => write!(f, "number of {value} headers is over the limit of {max}"),
            Limit::Size => write!(f, "size of {value} bytes is over the limit of {max}"),
        }
    }
}

impl std::error::Error for LimitExceeded {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        for (text, expected) in [
            ("", 0),
            ("1", 0),
            ("[]", 1),
            ("[[],[]]", 2),
            (r#"{"a":[{"b":1}]}"#, 3),
            (r#"["[[[[","\"[[[","\\"]"#, 1),
            (r#"["\\",[1]]"#, 2),
            ("]]]][", 1),
            ("\"[[[", 0),
            ("\"\\", 0),
        ] {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(depth(&vec![b'['; 1_000_000]), 1_000_000);
    }

    #[test]
    fn the_limit_is_the_last_allowed() {
        let limits = Limits::default().max_depth(3);
        assert_eq!(limits.check_depth(b"[[[]]]", 0), Ok(()));
        assert_eq!(limits.check_depth(b"[[[]],[],[],[]]", 0), Ok(()));
        let refused = limits.check_depth(b"[[[]]]", 1).unwrap_err();
        assert_eq!((refused.limit(), refused.value(), refused.max()), (Limit::Depth, 4, 3));
    }
}
