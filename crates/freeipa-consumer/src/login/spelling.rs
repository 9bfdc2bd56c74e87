//! Names of any script in the letters that a login may have.

use super::rule::{is_allowed, is_start};

/// A word as part of a login: transliterated, in small letters, without what no login may have.
///
/// Only letters and digits are spelt out, and what logins have between them is kept: a heart in a name would become the word for
/// it.
pub(super) fn word(text: &str) -> String {
    let mut word = String::new();
    for character in text.chars() {
        if character.is_alphanumeric() {
            let spelt = any_ascii::any_ascii_char(character);
            word.extend(spelt.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()));
        } else if matches!(character, '_' | '.' | '-') {
            word.push(character);
        }
    }
    word
}

/// A login of at most so many characters out of such words: it begins as one may, and ends with a letter or a digit.
pub(super) fn clip(text: &str, limit: usize) -> String {
    debug_assert!(text.bytes().all(is_allowed), "made of words");
    let text = text.trim_start_matches(|c: char| !is_start(c as u8) || c == '_');
    let text = &text[..text.len().min(limit)];
    text.trim_end_matches(['_', '.', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_many_scripts() {
        for (name, expected) in [
            ("Анна", "anna"),
            ("Щербакова", "shcherbakova"),
            ("Подъездный", "podezdnyy"),
            ("Ґудзь", "gudz"),
            ("Müller", "muller"),
            ("Groß", "gross"),
            ("Işık", "isik"),
            ("İnci", "inci"),
            ("Łukasz", "lukasz"),
            ("Åse Ørsted", "aseorsted"),
            ("张伟", "zhangwei"),
            ("やまだ", "yamada"),
            ("김민준", "gimminjun"),
            ("محمد", "mhmd"),
            ("O'Neil", "oneil"),
            ("Jean-Luc", "jean-luc"),
            ("👍🏽❤️", ""),
            ("<b>x</b>", "bxb"),
            ("٣", "3"),
            ("", ""),
        ] {
            assert_eq!(word(name), expected, "{name}");
        }
    }

    #[test]
    fn a_clipped_login_begins_and_ends_as_one_may() {
        assert_eq!(clip("42.anna", 32), "anna");
        assert_eq!(clip("__anna__", 32), "anna");
        assert_eq!(clip("anna.petrova", 5), "anna");
        assert_eq!(clip("123", 32), "");
        assert_eq!(clip("...", 32), "");
    }
}
