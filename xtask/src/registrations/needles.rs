//! Looking for many texts in much text, in one go.

use std::collections::HashMap;

/// As many bytes of each are looked up; shorter ones are not looked for.
const HEAD: usize = 6;

/// Texts that must not be there.
#[derive(Debug, Default)]
pub(crate) struct Needles(HashMap<[u8; HEAD], Vec<Vec<u8>>>);

impl Needles {
    /// Each text, and what JSON makes of it.
    pub(crate) fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let mut needles = Self::default();
        for text in texts {
            let text = text.as_ref();
            let quoted = serde_json::Value::from(text).to_string();
            needles.add(text);
            needles.add(quoted.trim_matches('"'));
        }
        needles
    }

    fn add(&mut self, text: &str) {
        let Some(head) = text.as_bytes().first_chunk() else { return };
        let same = self.0.entry(*head).or_default();
        if !same.iter().any(|known| known == text.as_bytes()) {
            same.push(text.as_bytes().to_vec());
        }
    }

    /// Where one of them begins. A number is no part of a longer one.
    pub(crate) fn find(&self, hay: &[u8]) -> Option<usize> {
        let is_digit =
            |position: Option<usize>| position.and_then(|at| hay.get(at)).is_some_and(u8::is_ascii_digit);
        (0..hay.len().saturating_sub(HEAD - 1)).find(|at| {
            let Some(head) = hay[*at..].first_chunk() else { return false };
            let begins = |needle: &Vec<u8>| {
                let is_number = needle.iter().all(u8::is_ascii_digit);
                let is_part = is_number && (is_digit(at.checked_sub(1)) || is_digit(Some(at + needle.len())));
                hay[*at..].starts_with(needle) && !is_part
            };
            self.0.get(head).is_some_and(|same| same.iter().any(begins))
        })
    }

    /// How many lines have one of them, and the first of these, cut short.
    pub(crate) fn lines(&self, hay: &[u8]) -> (u64, Option<String>) {
        let mut found = 0;
        let mut first = None;
        for line in hay.split(|byte| *byte == b'\n').filter(|line| self.find(line).is_some()) {
            found += 1;
            first = first.or_else(|| Some(String::from_utf8_lossy(line).chars().take(400).collect()));
        }
        (found, first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_as_they_are_and_as_json_writes_them() {
        let needles = Needles::new(["pass\"word\\1", "Петрова", "7000000042"]);
        for hay in ["x pass\"word\\1", r#"{"a":"pass\"word\\1"}"#, "Анна Петрова", "id=7000000042,"]
        {
            assert!(needles.find(hay.as_bytes()).is_some(), "{hay}");
        }
        for hay in ["", "pass", "passwords", "17000000042", "70000000421", "Петров"] {
            assert_eq!(needles.find(hay.as_bytes()), None, "{hay}");
        }
    }

    #[test]
    fn lines_are_counted() {
        let needles = Needles::new(["secret-1"]);
        assert_eq!(needles.lines(b"a secret-1\nb\nsecret-1"), (2, Some("a secret-1".to_owned())));
    }
}
