//! Headers: short texts beside the payload.

use std::fmt;

use serde::{Serialize, Serializer};

/// The headers of an envelope: names and texts, in the order they were set.
///
/// Names are compared exactly. Setting a name again replaces its value in place. Meant for a handful of entries
/// ([`Limits`](crate::Limits) bounds them), so a look-up walks the list.
///
/// `Debug` shows names only: values may be secrets.
///
/// ```
/// use valkey_envelope::Headers;
///
/// let headers: Headers = [("tenant", "a"), ("locale", "de"), ("tenant", "b")].into_iter().collect();
/// assert_eq!(headers.get("tenant"), Some("b"));
/// assert_eq!(headers.iter().collect::<Vec<_>>(), [("tenant", "b"), ("locale", "de")]);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

// === impl Headers ===

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value under a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Sets a value; returns the one that was there.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) -> Option<String> {
        let (name, value) = (name.into(), value.into());
        if let Some((_, old)) = self.0.iter_mut().find(|(n, _)| *n == name) {
            return Some(std::mem::replace(old, value));
        }
        self.0.push((name, value));
        None
    }

    /// Removes a name; returns the value that was there.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, in the order they were set.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> Extend<(N, V)> for Headers {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, headers: I) {
        for (name, value) in headers {
            self.insert(name, value);
        }
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut all = Self::new();
        all.extend(headers);
        all
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;

    #[test]
    fn replaces_in_place_and_removes() {
        let mut headers: Headers = [("a", "1"), ("b", "2")].into_iter().collect();
        assert_eq!(headers.insert("a", "3"), Some("1".into()));
        assert_eq!(headers.iter().next(), Some(("a", "3")));
        assert_eq!(headers.remove("a"), Some("3".into()));
        assert_eq!((headers.len(), headers.get("a")), (1, None));
        assert_eq!(headers.remove("a"), None);
    }

    #[test]
    fn debug_shows_no_value() {
        let headers: Headers = [("authorization", "hunter2")].into_iter().collect();
        assert_eq!(format!("{headers:?}"), r#"{"authorization"}"#);
    }
}
