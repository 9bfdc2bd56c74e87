//! `MarkdownV2`: every character that could mean something has to be escaped where it does not.

use super::{Output, Parsed};

/// The characters that mean something, or might one day.
const RESERVED: &str = "_*[]()~`>#+-=|{}.!";

/// Formatting that is open.
struct Open {
    kind: Kind,
    from: usize,
    /// Where it began in what was sent.
    begin: usize,
    language: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bold,
    Italic,
    Underline,
    Strikethrough,
    Spoiler,
    Link,
    Code,
    Pre,
    Quote,
}

pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    let mut output = Output::default();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c == '\\'
            && let Some(escaped) = rest[1..].chars().next().filter(|c| ('\u{1}'..='\u{7e}').contains(c))
        {
            output.push(escaped);
            at += 2;
            continue;
        }
        let inside = open.last().map(|open| open.kind);
        if c == '\n' && inside == Some(Kind::Quote) && !rest[1..].starts_with('>') {
            if let Some(quote) = open.pop() {
                output.close("blockquote", quote.from, None, None);
            }
            output.push('\n');
            at += 1;
            continue;
        }
        if let Some(length) = inside.and_then(|kind| end_of(kind, rest)) {
            at += length;
            if let Some(ended) = open.pop() {
                at = close(&mut output, ended, text, at)?;
            }
            continue;
        }
        let verbatim = matches!(inside, Some(Kind::Code | Kind::Pre));
        if verbatim && c != '`' || !RESERVED.contains(c) {
            output.push(c);
            at += c.len_utf8();
            continue;
        }
        if c == '>' && inside == Some(Kind::Quote) && text[..at].ends_with('\n') {
            at += 1; // the quote goes on
            continue;
        }
        let (kind, length) = begin(c, text, at).ok_or_else(|| {
            format!("Character '{c}' is reserved and must be escaped with the preceding '\\'")
        })?;
        let begin = at;
        at += length;
        let language = if kind == Kind::Pre { language(text, &mut at) } else { None };
        open.push(Open { kind, from: output.units, begin, language });
    }
    while let Some(last) = open.pop() {
        if last.kind != Kind::Quote {
            return Err(format!(
                "Can't find end of {} entity at byte offset {}",
                last.kind.name(),
                last.begin
            ));
        }
        output.close("blockquote", last.from, None, None);
    }
    Ok(output.finish())
}

/// How long the end of what is open is, if it stands here.
fn end_of(kind: Kind, rest: &str) -> Option<usize> {
    let end = match kind {
        Kind::Bold => "*",
        Kind::Italic if rest.starts_with("__") => return None,
        Kind::Italic => "_",
        Kind::Underline => "__",
        Kind::Strikethrough => "~",
        Kind::Spoiler => "||",
        Kind::Link => "]",
        Kind::Code => "`",
        Kind::Pre => "```",
        Kind::Quote => return None,
    };
    rest.starts_with(end).then_some(end.len())
}

/// What begins here, and how long its mark is.
fn begin(c: char, text: &str, at: usize) -> Option<(Kind, usize)> {
    let rest = &text[at..];
    match c {
        '_' if rest.starts_with("__") => Some((Kind::Underline, 2)),
        '_' => Some((Kind::Italic, 1)),
        '*' => Some((Kind::Bold, 1)),
        '~' => Some((Kind::Strikethrough, 1)),
        '|' if rest.starts_with("||") => Some((Kind::Spoiler, 2)),
        '[' => Some((Kind::Link, 1)),
        '!' if rest.starts_with("![") => Some((Kind::Link, 2)),
        '`' if rest.starts_with("```") => Some((Kind::Pre, 3)),
        '`' => Some((Kind::Code, 1)),
        '>' if at == 0 || text[..at].ends_with('\n') => Some((Kind::Quote, 1)),
        _ => None,
    }
}

/// The language that a block of code begins with, if it names one.
fn language(text: &str, at: &mut usize) -> Option<String> {
    let rest = &text[*at..];
    let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '`').unwrap_or(rest.len());
    let found = (end > 0 && rest[end..].starts_with(['\n', '\r'])).then(|| rest[..end].to_owned());
    if found.is_some() {
        *at += end;
    }
    if text[*at..].starts_with('\n') {
        *at += 1;
    }
    found
}

/// Ends what is open; for a link its target is read besides. Where to go on.
fn close(output: &mut Output, ended: Open, text: &str, at: usize) -> Result<usize, String> {
    if ended.kind != Kind::Link {
        output.close(ended.kind.entity(), ended.from, None, ended.language);
        return Ok(at);
    }
    let Some(target) = text[at..].strip_prefix('(') else {
        // Its text is its target; what is none leads nowhere.
        return Ok(at);
    };
    let mut url = String::new();
    let mut characters = target.char_indices();
    while let Some((offset, c)) = characters.next() {
        match c {
            ')' => {
                output.close("text_link", ended.from, Some(url), None);
                return Ok(at + 1 + offset + 1);
            }
            '\\' => url.extend(characters.next().map(|(_, c)| c)),
            c => url.push(c),
        }
    }
    Err(format!("Can't find end of a URL at byte offset {at}"))
}

// === impl Kind ===

impl Kind {
    /// As errors name it.
    fn name(self) -> &'static str {
        match self {
            Self::Bold => "Bold",
            Self::Italic => "Italic",
            Self::Underline => "Underline",
            Self::Strikethrough => "Strikethrough",
            Self::Spoiler => "Spoiler",
            Self::Link => "TextUrl",
            Self::Code => "Code",
            Self::Pre => "Pre",
            Self::Quote => "BlockQuote",
        }
    }

    /// As entities name it.
    fn entity(self) -> &'static str {
        match self {
            Self::Bold => "bold",
            Self::Italic => "italic",
            Self::Underline => "underline",
            Self::Strikethrough => "strikethrough",
            Self::Spoiler => "spoiler",
            Self::Link => "text_link",
            Self::Code => "code",
            Self::Pre => "pre",
            Self::Quote => "blockquote",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn kinds(text: &str) -> (String, Vec<(String, usize, usize)>) {
        let parsed = parse(text).unwrap();
        (parsed.text, parsed.entities.into_iter().map(|e| (e.kind, e.offset, e.length)).collect())
    }

    #[test]
    fn marks_become_formatting() {
        let (text, found) = kinds("*b* _i_ __u__ ~s~ ||h|| `c\\`d` [l](https://e.x/\\))");
        assert_eq!(text, "b i u s h c`d l");
        let names: Vec<&str> = found.iter().map(|(kind, ..)| kind.as_str()).collect();
        assert_eq!(names, ["bold", "italic", "underline", "strikethrough", "spoiler", "code", "text_link"]);
        assert_eq!(kinds("*a _b_*").1, [("bold".into(), 0, 3), ("italic".into(), 2, 1)]);
        assert_eq!(kinds("```rust\nlet x = 1;\n```").0, "let x = 1;\n");
        assert_eq!(kinds(">a\n>b\nc"), ("a\nb\nc".into(), vec![("blockquote".into(), 0, 3)]));
    }

    #[test]
    fn every_reserved_character_is_refused_alone_and_taken_escaped() {
        for c in RESERVED.chars() {
            let escaped = format!("a\\{c}b");
            assert_eq!(parse(&escaped).unwrap().text, format!("a{c}b"));
            // A link's brackets need no target; and what only brackets say stays.
            assert!(parse(&format!("a{c}b")).is_err(), "{c}");
        }
        assert_eq!(
            parse("1.").unwrap_err(),
            "Character '.' is reserved and must be escaped with the preceding '\\'"
        );
        assert_eq!(parse("a *b").unwrap_err(), "Can't find end of Bold entity at byte offset 2");
    }

    #[test]
    fn a_password_with_every_printable_character_survives_escaping() {
        let all: String = (' '..='~').collect();
        let escaped: String = all
            .chars()
            .flat_map(|c| (RESERVED.contains(c) || c == '\\').then_some('\\').into_iter().chain([c]))
            .collect();
        assert_eq!(parse(&escaped).unwrap().text, all);
        let code: String = all
            .chars()
            .flat_map(|c| matches!(c, '`' | '\\').then_some('\\').into_iter().chain([c]))
            .collect();
        assert_eq!(parse(&format!("`{code}`")).unwrap().text, all);
    }
}
