//! What the directory takes for names, mail addresses and phone numbers, asked before it is.

use super::refusal::Why;

/// A name as the directory takes it, and as it looks the same to everybody: without blanks around it, with single ones inside,
/// and without characters that cannot be seen. Empty if nothing is left.
///
/// The directory refuses blanks around a value; line breaks and marks of direction would let a name pose as another, or as
/// several lines, wherever it is shown. Joiners stay, since some scripts need them, and so do a few accents on one letter; a name
/// that is made of these alone is none.
pub(super) fn name(text: &str) -> String {
    let mut accents = 0;
    let seen = text.chars().filter(|c| !is_unseen(*c)).map(|c| if c.is_control() { ' ' } else { c });
    let seen: String = seen
        .filter(|c| {
            accents = if is_accent(*c) { accents + 1 } else { 0 };
            accents <= MOST_ACCENTS
        })
        .collect();
    if seen.chars().all(|c| c.is_whitespace() || is_joiner(c) || is_accent(c)) {
        return String::new();
    }
    seen.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As many accents one letter may have: no language needs more.
const MOST_ACCENTS: usize = 4;

/// Marks of direction, blanks without width, the mark of the byte order; letters and patterns that show nothing, and tags.
fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'
            ..='\u{180f}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'
            ..='\u{202e}' | '\u{2060}'
            ..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'
            ..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'
            ..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}

fn is_joiner(character: char) -> bool {
    matches!(character, '\u{200c}' | '\u{200d}')
}

/// A mark that is written over, under or through the letter before it.
fn is_accent(character: char) -> bool {
    matches!(
        character,
        '\u{0300}'..='\u{036f}' | '\u{0483}'..='\u{0489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'
            ..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}'
    )
}

/// A mail address that the directory takes and mail reaches: `local@domain` in ASCII, the domain of two labels or more.
///
/// The directory takes more for the local part, and would add its own domain to an address without one: nobody means that.
pub(super) fn mail(text: &str) -> Result<&str, Why> {
    let (local, domain) = text.split_once('@').ok_or(Why::Syntax)?;
    if !text.is_ascii() {
        return Err(Why::Character);
    }
    let is_dotted = |text: &str| text.split('.').all(|part| !part.is_empty());
    let is_local = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let top = domain.rsplit_once('.').map(|(_, top)| top).ok_or(Why::Syntax)?;
    let valid = (1..=64).contains(&local.len())
        && local.bytes().all(is_local)
        && is_dotted(local)
        && domain.split('.').all(is_label)
        // The directory knows no others.
        && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    if valid { Ok(text) } else { Err(Why::Syntax) }
}

/// A phone number that the directory's syntax takes (`TelephoneNumber`: printable characters of ASCII), and that is one: it has
/// at least three digits.
pub(super) fn phone(text: &str) -> Result<&str, Why> {
    let is_printable = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+,-./:=? ".contains(&byte);
    if !text.bytes().all(is_printable) {
        return Err(Why::Character);
    }
    if text.bytes().filter(u8::is_ascii_digit).count() < 3 {
        return Err(Why::Syntax);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_look_like_what_they_are() {
        for (given, taken) in [
            ("  Ada  ", "Ada"),
            ("Anna\u{00a0}\t Maria\r\nvon", "Anna Maria von"),
            ("\u{202e}nimda\u{202c}", "nimda"),
            ("نیم\u{200c}فاصله", "نیم\u{200c}فاصله"),
            ("<b>&_*[", "<b>&_*["),
            ("a\0b", "a b"),
            (" \u{200b}\u{feff} ", ""),
            ("\u{3164}", ""),
            ("\u{115f}\u{1160}\u{ffa0}", ""),
            ("\u{2800} \u{2800}", ""),
            ("\u{200d}\u{200c}", ""),
            ("\u{e0041}\u{e007f}", ""),
            ("\u{0301}\u{0301}", ""),
            ("A\u{e0041}da", "Ada"),
            ("Ma\u{0302}\u{0301}i", "Ma\u{0302}\u{0301}i"),
            ("क्‍ष", "क्‍ष"),
            ("", ""),
            ("-", "-"),
        ] {
            assert_eq!(name(given), taken, "{given:?}");
        }
        assert_eq!(name(&format!("a{}b", "\u{0300}".repeat(128))).chars().count(), 2 + MOST_ACCENTS);
    }

    #[test]
    fn addresses() {
        for good in ["a@example.org", "a.b+c@x-y.example.museum", "o'neil@EXAMPLE.ORG", "1@1.org"] {
            assert_eq!(mail(good), Ok(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "@example.org",
            "a@",
            "a@example",
            "a@.org",
            "a@example.",
            "a b@example.org",
            "a@b@example.org",
            "a..b@example.org",
            ".a@example.org",
            "a@-x.org",
            "a@x-.org",
            "a@x.xn--p1ai",
            "a@x.1",
            "<a@example.org>",
            "a@x y.org",
            "\"a b\"@example.org",
        ] {
            assert_eq!(mail(bad), Err(Why::Syntax), "{bad}");
        }
        assert_eq!(mail("аня@example.org"), Err(Why::Character));
        assert_eq!(mail(&format!("{}@example.org", "a".repeat(65))), Err(Why::Syntax));
    }

    #[test]
    fn phone_numbers() {
        for good in ["+79990001122", "+49 (0)30 123-45", "112", "tel. 030/123", "8 800 555 35 35 ext. 4"] {
            assert_eq!(phone(good), Ok(good), "{good}");
        }
        for bad in ["номер 5", "+7\u{a0}999", "１２３", "555;ext=4", "1_2_3", "1\n23"] {
            assert_eq!(phone(bad), Err(Why::Character), "{bad}");
        }
        for bad in ["", "+", "none", "12"] {
            assert_eq!(phone(bad), Err(Why::Syntax), "{bad}");
        }
    }
}
