//! One argument of a command, as the bytes that go on the wire.

use std::fmt;

use bytes::Bytes;
use fred::types::Value;

/// One argument of a [`Command`](crate::Command) or [`ScriptCall`](crate::ScriptCall).
///
/// `Debug` shows the length only. [`Bytes`], `String` and `Vec<u8>` are taken over without copying; borrowed data is copied once.
///
/// ```
/// use valkey_connection::Arg;
///
/// assert_eq!(Arg::from("queue:orders").as_bytes(), b"queue:orders");
/// assert_eq!(Arg::from(42_u64).as_bytes(), b"42");
/// assert_eq!(Arg::from(0.5).as_bytes(), b"0.5");
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct Arg(Bytes);

impl Arg {
    /// The argument as it goes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// An argument from a literal, without a copy.
    pub const fn from_static(literal: &'static str) -> Self {
        Self(Bytes::from_static(literal.as_bytes()))
    }
}

/// The length only: most arguments are somebody's data.
impl fmt::Debug for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arg({} bytes)", self.0.len())
    }
}

impl From<Arg> for Value {
    fn from(arg: Arg) -> Self {
        Self::Bytes(arg.0)
    }
}

impl From<Bytes> for Arg {
    fn from(value: Bytes) -> Self {
        Self(value)
    }
}

impl From<&Bytes> for Arg {
    fn from(value: &Bytes) -> Self {
        Self(value.clone())
    }
}

impl From<&Arg> for Arg {
    fn from(value: &Arg) -> Self {
        value.clone()
    }
}

impl From<Vec<u8>> for Arg {
    fn from(value: Vec<u8>) -> Self {
        Self(value.into())
    }
}

impl From<String> for Arg {
    fn from(value: String) -> Self {
        Self(value.into())
    }
}

impl From<&String> for Arg {
    fn from(value: &String) -> Self {
        Self::from(value.as_str())
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Self(Bytes::copy_from_slice(value.as_bytes()))
    }
}

impl From<&[u8]> for Arg {
    fn from(value: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(value))
    }
}

impl<const N: usize> From<&[u8; N]> for Arg {
    fn from(value: &[u8; N]) -> Self {
        Self(Bytes::copy_from_slice(value))
    }
}

macro_rules! from_number {
    ($($number:ty),+) => {$(
        impl From<$number> for Arg {
            fn from(value: $number) -> Self {
                Self(value.to_string().into())
            }
        }
    )+};
}

// Rust prints floats in the shortest form that reads back the same, and infinities as `inf`, which the server takes.
from_number!(u16, u32, u64, usize, i32, i64, f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_text() {
        assert_eq!(Arg::from(u64::MAX).as_bytes(), b"18446744073709551615");
        assert_eq!(Arg::from(-7_i64).as_bytes(), b"-7");
        assert_eq!(Arg::from(1_700_000_000.123_456_f64).as_bytes(), b"1700000000.123456");
        assert_eq!(Arg::from(f64::NEG_INFINITY).as_bytes(), b"-inf");
    }

    #[test]
    fn debug_shows_no_content() {
        let command = crate::Command::new("LPUSH").key("q").arg("canary");
        assert!(!format!("{command:?}").contains("canary"));
    }

    #[test]
    fn owned_bytes_are_not_copied() {
        let bytes = Bytes::from(vec![b'x'; 64]);
        assert_eq!(Arg::from(bytes.clone()).as_bytes().as_ptr(), bytes.as_ptr());
    }
}
