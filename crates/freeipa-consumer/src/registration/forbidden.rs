//! What a message may never choose.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::field::folded;

/// Names that stand for rights, identities and secrets in the directory: whoever writes them into a registration tries to
/// choose what is not his to choose. Folded, and as we call them.
const FORBIDDEN: &[(&str, &str)] = &[
    ("addattr", "addattr"),
    ("delattr", "delattr"),
    ("employeetype", "employeetype"),
    ("gidnumber", "gidnumber"),
    ("homedirectory", "homedirectory"),
    ("ipasshpubkey", "ipasshpubkey"),
    ("ipauserauthtype", "ipauserauthtype"),
    ("krbpasswordexpiration", "krbpasswordexpiration"),
    ("krbprincipalexpiration", "krbprincipalexpiration"),
    ("krbprincipalname", "krbprincipalname"),
    ("loginshell", "loginshell"),
    ("memberof", "memberof"),
    ("noprivate", "noprivate"),
    ("nsaccountlock", "nsaccountlock"),
    ("objectclass", "objectclass"),
    ("password", "password"),
    ("passwd", "password"),
    ("setattr", "setattr"),
    ("sshpubkey", "sshpubkey"),
    ("uidnumber", "uidnumber"),
    ("userclass", "userclass"),
    ("userpassword", "userpassword"),
];

/// The forbidden name that a key is, however it is spelt.
pub(super) fn forbidden(key: &str) -> Option<&'static str> {
    let key = folded(key);
    FORBIDDEN.iter().find(|(folded, _)| *folded == key).map(|(_, name)| *name)
}

/// What was found in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A forbidden name, in an object however deep.
    Forbidden(&'static str),
    /// It is nested deeper than anybody reads, or holds a number that no computer has.
    Unreadable,
}

/// Looks for forbidden names in the keys of a value, and of all values in it.
pub(super) fn look(value: &RawValue) -> Option<Found> {
    // Most values are plain, and most of the others would only be looked through for nothing.
    if !value.get().starts_with(['{', '[']) {
        return None;
    }
    match serde_json::from_str::<Keys>(value.get()) {
        Ok(Keys(found)) => found.map(Found::Forbidden),
        // It was JSON when it was taken out of the message; what is left is its depth, and the size of numbers.
        Err(_) => Some(Found::Unreadable),
    }
}

/// The first forbidden name among the keys of a value.
struct Keys(Option<&'static str>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Keys, E> {
                Ok(Keys(None))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Keys, E> {
                Ok(Keys(None))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Keys, E> {
                Ok(Keys(None))
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Keys, E> {
                Ok(Keys(None))
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Keys, E> {
                Ok(Keys(None))
            }

            fn visit_unit<E: Error>(self) -> Result<Keys, E> {
                Ok(Keys(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Keys, A::Error> {
                let mut found = None;
                while let Some(Keys(here)) = values.next_element()? {
                    found = found.or(here);
                }
                Ok(Keys(found))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Keys, A::Error> {
                let mut found = None;
                while let Some(key) = entries.next_key::<String>()? {
                    found = found.or_else(|| forbidden(&key));
                    if found.is_some() {
                        entries.next_value::<IgnoredAny>()?;
                    } else {
                        found = entries.next_value::<Keys>()?.0;
                    }
                }
                Ok(Keys(found))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn look_at(json: &str) -> Option<Found> {
        look(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn forbidden_names_are_found_however_they_are_spelt_and_hidden() {
        for key in ["uidNumber", "UID_NUMBER", "setattr", "userClass", "Password", "\\u0070assword"] {
            let json = format!("{{\"a\":[1,{{\"b\":{{\"{key}\":0}}}}]}}");
            assert!(matches!(look_at(&json), Some(Found::Forbidden(_))), "{json}");
        }
        assert_eq!(look_at(r#"{"nick":"password","likes":["uidnumber"],"n":1.5e3,"x":null}"#), None);
    }

    #[test]
    fn what_is_nested_too_deep_is_said_to_be() {
        let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        assert_eq!(look_at(&deep), Some(Found::Unreadable));
    }
}
