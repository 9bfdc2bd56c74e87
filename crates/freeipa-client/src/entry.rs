//! An entry of the directory, read with patience.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// An entry as a reply holds it.
///
/// Attributes are lists even where there is one value, numbers are text, and what is absent has no key; a few (`dn`,
/// `nsaccountlock`) are plain values. The accessors hide that. Names count in any case. Nothing of it is shown by [`Debug`]
/// but the names.
///
/// ```
/// use freeipa_client::Entry;
/// use serde_json::json;
///
/// let entry = Entry::of(&json!({"uidNumber": ["100003"], "nsaccountlock": false, "mail": ["a@x.org", "b@x.org"]}));
/// let entry = entry.expect("an object is an entry");
/// assert_eq!(entry.integer("uidnumber"), Some(100_003));
/// assert_eq!(entry.flag("nsaccountlock"), Some(false));
/// assert_eq!(entry.texts("mail"), ["a@x.org", "b@x.org"]);
/// assert_eq!(entry.text("telephonenumber"), None);
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Entry {
    attributes: BTreeMap<String, Value>,
}

impl Entry {
    /// The entry that this JSON object is; `None` if it is something else.
    pub fn of(value: &Value) -> Option<Self> {
        let attributes =
            value.as_object()?.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        Some(Self { attributes: attributes.collect() })
    }

    /// The value as it came, also of attributes that are not known here.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self.attributes.get(name) {
            None => self.attributes.get(&name.to_ascii_lowercase()),
            found => found,
        }
    }

    /// The first value.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values(name).find_map(plain)
    }

    /// All values.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        self.values(name).filter_map(plain).collect()
    }

    /// Whether it is one of the values, to the letter.
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.values(name).filter_map(plain).any(|text| text == value)
    }

    /// The first value as a whole number, which may come as text.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.values(name).find_map(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()))
    }

    /// The first value as yes or no, which may come as text.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.values(name).find_map(|value| {
            value.as_bool().or_else(|| match value.as_str()?.to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            })
        })
    }

    /// The distinguished name.
    pub fn dn(&self) -> Option<&str> {
        self.text("dn")
    }

    /// The names of the attributes that are there, in lower case.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes.keys().map(String::as_str)
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &Value> {
        let value = self.get(name);
        let (list, one) = match value {
            Some(Value::Array(list)) => (list.as_slice(), None),
            other => (&[][..], other),
        };
        list.iter().chain(one)
    }
}

/// Text, or what carries it under another name: times, names of the DNS, names of Kerberos. (Not bytes.)
fn plain(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Object(wrapped) if wrapped.len() == 1 => {
            ["__datetime__", "__dns_name__"].iter().find_map(|key| wrapped.get(*key)?.as_str())
        }
        _ => None,
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.attributes.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn entry() -> Entry {
        Entry::of(&json!({
            "uid": ["anna"],
            "objectClass": ["top", "person"],
            "dn": "uid=anna,cn=users",
            "uidnumber": ["100003"],
            "gidnumber": 5,
            "has_password": true,
            "ipauserauthtype": [],
            "nsaccountlock": ["TRUE"],
            "krbpasswordexpiration": [{"__datetime__": "20261121205259Z"}],
            "usercertificate": [{"__base64__": "AAAA"}],
            "unknown_thing": {"deep": [1]},
        }))
        .unwrap()
    }

    #[test]
    fn lists_and_plain_values_read_alike() {
        let entry = entry();
        assert_eq!(entry.text("uid"), Some("anna"));
        assert_eq!(entry.dn(), Some("uid=anna,cn=users"));
        assert_eq!(entry.texts("OBJECTCLASS"), ["top", "person"]);
        assert_eq!((entry.integer("uidnumber"), entry.integer("gidnumber")), (Some(100_003), Some(5)));
        assert_eq!((entry.flag("has_password"), entry.flag("nsaccountlock")), (Some(true), Some(true)));
        assert_eq!(entry.text("krbpasswordexpiration"), Some("20261121205259Z"));
        assert!(entry.has("uid", "anna") && !entry.has("uid", "Anna"));
    }

    #[test]
    fn what_is_absent_or_of_another_kind_is_none() {
        let entry = entry();
        for name in ["mail", "ipauserauthtype", "usercertificate", "unknown_thing"] {
            assert_eq!(entry.text(name), None, "{name}");
            assert!(entry.texts(name).is_empty(), "{name}");
        }
        assert_eq!((entry.integer("uid"), entry.flag("uid")), (None, None));
        assert!(Entry::of(&json!(["uid"])).is_none());
    }

    #[test]
    fn what_is_not_known_is_kept() {
        assert_eq!(entry().get("unknown_thing"), Some(&json!({"deep": [1]})));
    }

    #[test]
    fn only_names_are_shown() {
        let shown = format!("{:?}", entry());
        assert!(
            shown.contains("uidnumber") && !shown.contains("anna") && !shown.contains("100003"),
            "{shown}"
        );
    }
}
