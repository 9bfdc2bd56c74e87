//! What a type must know to be the type of a setting, and the types that know it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::list::items;
use crate::secret::REDACTED;
use crate::{CsvList, HumanDuration, Secret, ServerUrl, format_duration, parse_duration};

/// A value as it stands in its source, before it has a type. Variables and explicit values are always [`Raw::Text`].
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Raw {
    /// A TOML boolean.
    Bool(bool),
    /// A TOML float.
    Float(f64),
    /// A TOML integer.
    Integer(i128),
    /// A TOML array.
    List(Vec<Raw>),
    /// A table or a date, which no plain setting is.
    Other,
    /// A TOML string, a variable, the content of a secret's file.
    Text(String),
}

impl Raw {
    /// The value as text, if it is a scalar.
    pub fn into_text(self) -> Option<String> {
        match self {
            Self::Bool(value) => Some(value.to_string()),
            Self::Float(value) => Some(value.to_string()),
            Self::Integer(value) => Some(value.to_string()),
            Self::Text(text) => Some(text),
            Self::List(_) | Self::Other => None,
        }
    }
}

/// Nothing of the value: it may be a secret.
impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool(_) => "Bool(..)",
            Self::Float(_) => "Float(..)",
            Self::Integer(_) => "Integer(..)",
            Self::List(_) => "List(..)",
            Self::Other => "Other",
            Self::Text(_) => "Text(..)",
        })
    }
}

/// Why a value is refused: what was expected instead. The text must not repeat the value, which may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(String);

impl Invalid {
    /// A refusal that says `expected {what}`.
    pub fn expected(what: impl fmt::Display) -> Self {
        Self(format!("expected {what}"))
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// A type that a field of a settings struct may have.
///
/// Implemented for `bool`, the integers and `NonZero` integers, `f64`, `String`, [`PathBuf`], [`Duration`], [`IpAddr`],
/// [`SocketAddr`], [`Secret`], [`ServerUrl`], [`CsvList`] and [`Option`]s of all these. Implement it for enums and
/// newtypes of your own; a type of another crate that has [`FromStr`] and `Display` takes the attribute
/// `#[text("...")]` in [`settings!`](crate::settings!) instead.
///
/// ```
/// use valkey_config::{Invalid, Raw, Setting};
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum Overflow { Block, Shed }
///
/// impl Setting for Overflow {
///     fn type_name() -> String { "`block` or `shed`".to_owned() }
///     fn parse(raw: Raw) -> Result<Self, Invalid> {
///         match raw.into_text().as_deref() {
///             Some("block") => Ok(Self::Block),
///             Some("shed") => Ok(Self::Shed),
///             _ => Err(Invalid::expected(Self::type_name())),
///         }
///     }
///     fn show(&self) -> String { if *self == Self::Block { "block" } else { "shed" }.to_owned() }
/// }
/// ```
pub trait Setting: Sized {
    /// Whether the value must not be shown and may come from a file (`*_FILE`).
    const SECRET: bool = false;

    /// What the documentation calls the type: "duration", "integer".
    fn type_name() -> String;

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`Invalid`] says what was expected, and never repeats the value.
    fn parse(raw: Raw) -> Result<Self, Invalid>;

    /// The value as one would write it, redacted where secret; empty for "none".
    fn show(&self) -> String;
}

impl<T: Setting> Setting for Option<T> {
    const SECRET: bool = T::SECRET;

    fn type_name() -> String {
        T::type_name()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        T::parse(raw).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, T::show)
    }
}

impl Setting for bool {
    fn type_name() -> String {
        "boolean".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw.into_text().map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            Some("true" | "1" | "yes" | "on") => Ok(true),
            Some("false" | "0" | "no" | "off") => Ok(false),
            _ => Err(Invalid::expected("true or false (or 1, 0, yes, no, on, off)")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! integers {
    ($($int:ty: $min:expr),* $(,)?) => { $(
        impl Setting for $int {
            fn type_name() -> String {
                "integer".to_owned()
            }

            fn parse(raw: Raw) -> Result<Self, Invalid> {
                let text = match raw {
                    Raw::Integer(value) => Some(value.to_string()),
                    Raw::Text(text) => Some(text),
                    _ => None,
                };
                text.and_then(|text| text.trim().parse().ok())
                    .ok_or_else(|| Invalid::expected(format_args!("a whole number from {} to {}", $min, <$int>::MAX)))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )* };
}

integers! {
    u8: u8::MIN, u16: u16::MIN, u32: u32::MIN, u64: u64::MIN, usize: usize::MIN, i32: i32::MIN, i64: i64::MIN,
    NonZeroU8: 1, NonZeroU16: 1, NonZeroU32: 1, NonZeroU64: 1, NonZeroUsize: 1,
}

impl Setting for f64 {
    fn type_name() -> String {
        "number".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw {
            Raw::Float(value) => Some(value),
            Raw::Integer(value) => Some(value as f64),
            Raw::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
        .filter(|value: &f64| value.is_finite())
        .ok_or_else(|| Invalid::expected("a number such as 2 or 0.5"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn type_name() -> String {
        "text".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw {
            Raw::Text(text) => Ok(text),
            _ => Err(Invalid::expected("a text in quotes")),
        }
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    fn type_name() -> String {
        "path".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw {
            Raw::Text(text) => Ok(text.into()),
            _ => Err(Invalid::expected("a path in quotes")),
        }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for Duration {
    fn type_name() -> String {
        "duration".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        const EXPECTED: &str = "a duration such as 500ms, 5s or 1h30m";
        let text = raw.into_text().ok_or_else(|| Invalid::expected(EXPECTED))?;
        parse_duration(&text).map_err(|error| Invalid::expected(format_args!("{EXPECTED}; {error}")))
    }

    fn show(&self) -> String {
        format_duration(*self)
    }
}

impl Setting for HumanDuration {
    fn type_name() -> String {
        Duration::type_name()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        Duration::parse(raw).map(Self)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for Secret {
    const SECRET: bool = true;

    fn type_name() -> String {
        "secret".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw {
            Raw::Text(text) => Ok(text.into()),
            _ => Err(Invalid::expected("a text in quotes")),
        }
    }

    fn show(&self) -> String {
        REDACTED.to_owned()
    }
}

impl Setting for ServerUrl {
    /// A URL may hold a password.
    const SECRET: bool = true;

    fn type_name() -> String {
        "URL".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw {
            Raw::Text(text) => {
                text.trim().parse().map_err(|error| Invalid::expected(format_args!("a server URL; {error}")))
            }
            _ => Err(Invalid::expected("a server URL in quotes")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! addresses {
    ($($address:ty: $name:literal, $expected:literal;)*) => { $(
        impl Setting for $address {
            fn type_name() -> String {
                $name.to_owned()
            }

            fn parse(raw: Raw) -> Result<Self, Invalid> {
                raw.into_text()
                    .and_then(|text| text.trim().parse().ok())
                    .ok_or_else(|| Invalid::expected($expected))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )* };
}

addresses! {
    IpAddr: "IP address", "an IP address such as 192.0.2.1 or 2001:db8::1";
    SocketAddr: "socket address", "an IP address with a port such as 127.0.0.1:8080";
}

impl<T> Setting for CsvList<T>
where
    T: FromStr + fmt::Display,
    T::Err: fmt::Display,
{
    fn type_name() -> String {
        "list".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        let read = |item: &str| {
            item.parse::<T>().map_err(|error| {
                Invalid::expected(format_args!("a comma separated list of valid values; {error}"))
            })
        };
        match raw {
            Raw::Text(text) => items(&text).map(read).collect(),
            Raw::List(values) => values
                .into_iter()
                .map(|value| value.into_text().ok_or_else(|| Invalid::expected("a list of plain values")))
                .filter(|text| text.as_ref().is_ok_and(|text| !text.trim().is_empty()) || text.is_err())
                .map(|text| text.and_then(|text| read(text.trim())))
                .collect(),
            _ => Err(Invalid::expected("a list: [\"a\", \"b\"] in TOML, a,b in a variable")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}
