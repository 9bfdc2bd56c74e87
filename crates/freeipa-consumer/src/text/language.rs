//! Languages, as clients and file names write them.

use std::fmt;
use std::str::FromStr;

/// A language: `ru`, `pt-br`. Capitals and underscores make no difference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language(String);

/// A text that is no language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a language such as `ru`, `en` or `pt-br`")]
pub struct InvalidLanguage;

impl Language {
    /// Itself, then wider ones: `zh-hant-tw`, `zh-hant`, `zh`.
    pub(super) fn widened(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.0.as_str()), |narrow| narrow.rsplit_once('-').map(|(wide, _)| wide))
    }

    /// The language in small letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Language {
    type Err = InvalidLanguage;

    fn from_str(text: &str) -> Result<Self, InvalidLanguage> {
        let language = text.trim().to_ascii_lowercase().replace('_', "-");
        let is_tag = |part: &str| {
            (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let (first, is_short) = (language.split('-').next().unwrap_or_default(), language.len() <= 35);
        let is_language =
            (2..=8).contains(&first.len()) && first.bytes().all(|byte| byte.is_ascii_alphabetic());
        if is_short && is_language && language.split('-').all(is_tag) {
            Ok(Self(language))
        } else {
            Err(InvalidLanguage)
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn languages_widen_to_what_there_may_be_texts_of() {
        let language: Language = " zh_Hant-TW ".parse().unwrap();
        assert_eq!(language.widened().collect::<Vec<_>>(), ["zh-hant-tw", "zh-hant", "zh"]);
        for no_language in ["", "-", "r", "42", "../etc", "ru/..", "ru-", "русский", &"a-".repeat(40)]
        {
            assert_eq!(no_language.parse::<Language>(), Err(InvalidLanguage), "{no_language}");
        }
    }
}
