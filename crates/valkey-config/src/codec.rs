//! How a field of a settings struct meets serde: both TOML and `envy` read through here.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::{Invalid, Raw, Setting};

/// A way to read a `T`. Which one a field takes is chosen by its attributes in [`settings!`](crate::settings!).
pub trait Codec<T> {
    /// Whether the value has no one-line form, so that only a file can hold it.
    const TOML_ONLY: bool = false;

    /// Whether the text of a value must never be shown, and may come from a file.
    fn is_secret() -> bool {
        false
    }

    /// What the documentation calls the type.
    fn type_name() -> String;

    /// Reads a value from any format.
    ///
    /// # Errors
    ///
    /// The format's own error, holding the text of an [`Invalid`].
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error>;

    /// The value as one would write it, redacted where secret.
    fn show(value: &T) -> String;
}

/// The field's type is a [`Setting`].
#[derive(Debug)]
pub enum Native {}

impl<T: Setting> Codec<T> for Native {
    fn is_secret() -> bool {
        T::is_secret()
    }

    fn type_name() -> String {
        T::type_name()
    }

    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        decode_setting(deserializer)
    }

    fn show(value: &T) -> String {
        value.show()
    }
}

/// `#[text]`: the field's type has `FromStr` and `Display`.
#[derive(Debug)]
pub enum Text {}

impl<T> Codec<T> for Text
where
    T: FromStr + fmt::Display,
    T::Err: fmt::Display,
{
    fn type_name() -> String {
        "text".to_owned()
    }

    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = decode_raw(deserializer)?.into_text();
        let text = text.ok_or_else(|| D::Error::custom(Invalid::expected("a text in quotes")))?;
        text.trim().parse().map_err(D::Error::custom)
    }

    fn show(value: &T) -> String {
        value.to_string()
    }
}

/// `#[optional_text]`: an `Option` of a type that has `FromStr` and `Display`.
#[derive(Debug)]
pub enum OptionalText {}

impl<T> Codec<Option<T>> for OptionalText
where
    T: FromStr + fmt::Display,
    T::Err: fmt::Display,
{
    fn type_name() -> String {
        "text".to_owned()
    }

    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        Text::decode(deserializer).map(Some)
    }

    fn show(value: &Option<T>) -> String {
        value.as_ref().map_or_else(String::new, T::to_string)
    }
}

/// `#[structured]`: tables and lists of tables, read by serde, in TOML only.
#[derive(Debug)]
pub enum Structured {}

impl<T: DeserializeOwned + fmt::Debug> Codec<T> for Structured {
    const TOML_ONLY: bool = true;

    fn type_name() -> String {
        "table".to_owned()
    }

    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::deserialize(deserializer)
    }

    fn show(value: &T) -> String {
        format!("{value:?}")
    }
}

/// One field of a layer: a value together with the way it is read.
pub struct Parsed<T, C>(T, PhantomData<fn() -> C>);

impl<T, C> Parsed<T, C> {
    /// The value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T, C> fmt::Debug for Parsed<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parsed(..)")
    }
}

impl<'de, T, C: Codec<T>> Deserialize<'de> for Parsed<T, C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        C::decode(deserializer).map(|value| Self(value, PhantomData))
    }
}

/// Reads a [`Setting`] from any format.
pub(crate) fn decode_setting<'de, T: Setting, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::parse(decode_raw(deserializer)?).map_err(D::Error::custom)
}

/// Takes a value as it comes: formats disagree on types, so that typed reads would make each need its own rules
/// (`envy` would refuse `yes` for a boolean, TOML would refuse `"5s"` for a number of seconds).
fn decode_raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
    struct AnyValue;

    impl<'de> Visitor<'de> for AnyValue {
        type Value = Raw;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value")
        }

        fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
            Ok(Raw::Bool(value))
        }

        fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
            Ok(Raw::Integer(value.into()))
        }

        fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
            Ok(Raw::Integer(value))
        }

        fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
            Ok(Raw::Integer(value.into()))
        }

        fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
            Ok(i128::try_from(value).map_or(Raw::Other, Raw::Integer))
        }

        fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
            Ok(Raw::Float(value))
        }

        fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
            Ok(Raw::Text(text.to_owned()))
        }

        fn visit_string<E>(self, text: String) -> Result<Raw, E> {
            Ok(Raw::Text(text))
        }

        fn visit_unit<E>(self) -> Result<Raw, E> {
            Ok(Raw::Other)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Raw, A::Error> {
            let mut list = Vec::new();
            while let Some(OneOf(value)) = values.next_element()? {
                list.push(value);
            }
            Ok(Raw::List(list))
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
            while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Raw::Other)
        }
    }

    struct OneOf(Raw);

    impl<'de> Deserialize<'de> for OneOf {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            decode_raw(deserializer).map(Self)
        }
    }

    deserializer.deserialize_any(AnyValue)
}
