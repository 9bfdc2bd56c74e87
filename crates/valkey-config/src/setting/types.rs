//! The types that settings have.

use std::any::TypeId;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{Invalid, Raw, Setting};
use crate::list::items;
use crate::secret::REDACTED;
use crate::{CsvList, HumanDuration, Secret, ServerUrl, format_duration, parse_duration};

impl<T: Setting> Setting for Option<T> {
    fn is_secret() -> bool {
        T::is_secret()
    }

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
    fn is_secret() -> bool {
        true
    }

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
    fn is_secret() -> bool {
        true
    }

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
    T: FromStr + fmt::Display + 'static,
    T::Err: fmt::Display,
{
    /// Most items are no settings by themselves and cannot be asked; the one kind with secrets in it is known by name.
    fn is_secret() -> bool {
        TypeId::of::<T>() == TypeId::of::<ServerUrl>()
    }

    fn type_name() -> String {
        "list".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        let texts = match raw {
            Raw::Text(text) => items(&text).map(str::to_owned).collect(),
            Raw::List(values) => values
                .into_iter()
                .map(|value| value.into_text().ok_or_else(|| Invalid::expected("a list of plain values")))
                .collect::<Result<Vec<_>, _>>()?,
            _ => return Err(Invalid::expected("a list: [\"a\", \"b\"] in TOML, a,b in a variable")),
        };
        let texts = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
        let read = |(position, text): (usize, &str)| {
            text.parse().map_err(|error| {
                Invalid::expected(format_args!("a list of valid values; number {}: {error}", position + 1))
            })
        };
        texts.enumerate().map(read).collect()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}
