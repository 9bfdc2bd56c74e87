//! What a type must know to be the type of a setting.

mod types;

use std::fmt;

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
/// Implemented for `bool`, the integers and `NonZero` integers, `f64`, `String`, [`PathBuf`](std::path::PathBuf), [`Duration`](std::time::Duration),
/// [`IpAddr`](std::net::IpAddr), [`SocketAddr`](std::net::SocketAddr), [`Secret`](crate::Secret),
/// [`ServerUrl`](crate::ServerUrl), [`CsvList`](crate::CsvList) and [`Option`]s of all these. Implement it for enums and
/// newtypes of your own; a type of another crate that has `FromStr` and `Display` takes the attribute
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
    /// Whether the text of a value must not be shown, and may come from a file (`*_FILE`).
    fn is_secret() -> bool {
        false
    }

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
