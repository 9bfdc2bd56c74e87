//! Lists: an array in TOML, comma separated in a variable.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// Values separated by commas, trimmed, without empty ones; in TOML also an array. A comma in the password of a URL is none
/// that separates.
///
/// ```
/// use valkey_config::CsvList;
///
/// let queues: CsvList<String> = "orders, invoices,,".parse()?;
/// assert_eq!(*queues, ["orders", "invoices"]);
/// assert_eq!(queues.to_string(), "orders,invoices");
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CsvList<T>(pub Vec<T>);

impl<T> CsvList<T> {
    /// The values, without the wrapper.
    pub fn into_inner(self) -> Vec<T> {
        self.0
    }
}

impl<T> Default for CsvList<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for CsvList<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> From<Vec<T>> for CsvList<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<T> FromIterator<T> for CsvList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl<T> IntoIterator for CsvList<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a CsvList<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: FromStr> FromStr for CsvList<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        items(text).map(str::parse).collect()
    }
}

impl<T: fmt::Display> fmt::Display for CsvList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, value) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            write!(f, "{value}")?;
        }
        Ok(())
    }
}

impl<'de, T> Deserialize<'de> for CsvList<T>
where
    T: FromStr + fmt::Display + 'static,
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::codec::decode_setting(deserializer)
    }
}

/// The parts of a comma separated text that say something.
///
/// A comma between a `://` and its `@` is one of a password: taken for the end of an item, it would leave two halves of the
/// password as two hosts, which errors show.
pub(crate) fn items(text: &str) -> impl Iterator<Item = &str> {
    let is_begun = |item: &str| item.contains("://") && !item.contains('@');
    let is_rest = |item: &str| item.contains('@') && !item.contains("://");
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    let mut start = 0;
    for part in text.split(',') {
        let range = start..start + part.len();
        start = range.end + 1;
        let begun = ranges.iter().rposition(|range| is_begun(&text[range.clone()]));
        match begun.filter(|_| is_rest(part)) {
            Some(begun) => {
                ranges.truncate(begun + 1);
                ranges[begun].end = range.end;
            }
            None => ranges.push(range),
        }
    }
    ranges.into_iter().map(|range| text[range].trim()).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_password_parts_nothing() {
        for (text, parts) in [
            ("h1:1, h2:2,,", &["h1:1", "h2:2"][..]),
            ("valkey://u:12,34@h:1", &["valkey://u:12,34@h:1"]),
            ("valkey://u:a,b,c@h1:1,h2", &["valkey://u:a,b,c@h1:1", "h2"]),
            ("valkey://u:a@h1,valkey://u:b,c@h2", &["valkey://u:a@h1", "valkey://u:b,c@h2"]),
            ("valkey://h1:1,h2:2", &["valkey://h1:1", "h2:2"]),
            ("u:pw@h1:1,h2:2", &["u:pw@h1:1", "h2:2"]),
        ] {
            assert_eq!(items(text).collect::<Vec<_>>(), parts, "{text}");
        }
    }
}
