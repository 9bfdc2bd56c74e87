//! A text pattern with `*` and `?`, as shells have it.

use std::fmt;

/// What a kind or a header value has to look like: plain text, or text with `*` (any run of characters, also none)
/// and `?` (exactly one character).
///
/// `user.*` is a prefix, `*.created` a suffix, `user.?.created` anything in between. There is no escape: the
/// characters `*` and `?` cannot be asked for literally.
///
/// ```
/// use valkey_sender::Pattern;
///
/// assert!(Pattern::new("user.*").matches("user.created"));
/// assert!(!Pattern::new("user.*").matches("account.created"));
/// assert!(Pattern::new("user.created").matches("user.created"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Takes any text; every text is a valid pattern.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `text` fits.
    ///
    /// Linear in `text` for patterns with one `*`, and never worse than the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let pattern: &str = &self.0;
        let (mut rest_pattern, mut rest_text) = (pattern.chars(), text.chars());
        // Where to continue if the current guess fails: behind the last `*`, with one more character swallowed by it.
        let mut resume: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
        loop {
            let mut next_pattern = rest_pattern.clone();
            let mut next_text = rest_text.clone();
            match (next_pattern.next(), next_text.next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    resume = Some((next_pattern.clone(), rest_text.clone()));
                    rest_pattern = next_pattern;
                    continue;
                }
                (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                    (rest_pattern, rest_text) = (next_pattern, next_text);
                    continue;
                }
                _ => {}
            }
            let Some((behind_star, swallowed)) = resume.as_mut() else { return false };
            if swallowed.next().is_none() {
                return false;
            }
            (rest_pattern, rest_text) = (behind_star.clone(), swallowed.clone());
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T: Into<String>> From<T> for Pattern {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;
    use proptest::prelude::*;

    #[test]
    fn stars_and_marks_mean_what_shells_mean() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("*a*b", "xaayab", true),
            ("?", "ü", true),
            ("?", "", false),
            ("user.*", "user.", true),
            ("*.created", "user.created", true),
            ("**", "anything", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), fits, "{pattern:?} against {text:?}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = Pattern::new("*a".repeat(40));
        assert!(!pattern.matches(&"a".repeat(39)));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(5_000))));
    }

    /// The obvious recursive definition, too slow to ship.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                slow(rest, text) || text.split_first().is_some_and(|(_, t)| slow(pattern, t))
            }
            (Some((p, rest)), Some((t, text))) => (*p == '?' || p == t) && slow(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(Pattern::new(pattern).matches(&text), slow(&p, &t));
        }
    }
}
