//! HTML, or what the Bot API takes for it.

use super::{Output, Parsed};

/// The tags there are, and the formatting each stands for.
const TAGS: &[(&str, &str)] = &[
    ("a", "text_link"),
    ("b", "bold"),
    ("strong", "bold"),
    ("i", "italic"),
    ("em", "italic"),
    ("s", "strikethrough"),
    ("strike", "strikethrough"),
    ("del", "strikethrough"),
    ("u", "underline"),
    ("ins", "underline"),
    ("tg-spoiler", "spoiler"),
    ("tg-emoji", "custom_emoji"),
    ("span", "spoiler"),
    ("pre", "pre"),
    ("code", "code"),
    ("blockquote", "blockquote"),
];

/// A tag that is open.
struct Open {
    name: String,
    kind: &'static str,
    from: usize,
    attribute: Option<String>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    let mut output = Output::default();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        match c {
            '&' => {
                let (decoded, length) = entity(&text[at..]).unwrap_or(('&', 1));
                output.push(decoded);
                at += length;
            }
            '<' if text[at + 1..].starts_with('/') => {
                let end = end_tag(text, at, open.last())?;
                if let Some(tag) = open.pop() {
                    close(&mut output, tag);
                }
                at = end;
            }
            '<' => {
                let (tag, end) = start_tag(text, at, output.units)?;
                open.push(tag);
                at = end;
            }
            c => {
                output.push(c);
                at += c.len_utf8();
            }
        }
    }
    match open.last() {
        Some(tag) => Err(format!("Can't find end tag corresponding to start tag \"{}\"", tag.name)),
        None => Ok(output.finish()),
    }
}

fn close(output: &mut Output, tag: Open) {
    match tag.kind {
        "text_link" => {
            // A link without a target leads where its text says, if that is an address.
            let url = tag.attribute.filter(|url| !url.is_empty());
            if url.is_some() {
                output.close("text_link", tag.from, url, None);
            }
        }
        "code" => {
            let language = tag.attribute.and_then(|class| class.strip_prefix("language-").map(str::to_owned));
            output.close("code", tag.from, None, language);
        }
        kind => output.close(kind, tag.from, None, None),
    }
}

/// A start tag that begins here, and where it ends.
fn start_tag(text: &str, begin: usize, from: usize) -> Result<(Open, usize), String> {
    let unclosed = || format!("Unclosed start tag at byte offset {begin}");
    let rest = &text[begin + 1..];
    let length = rest.find(|c: char| c.is_ascii_whitespace() || c == '>').ok_or_else(unclosed)?;
    let name = rest[..length].to_ascii_lowercase();
    let kind = TAGS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, kind)| *kind)
        .ok_or_else(|| format!("Unsupported start tag \"{name}\" at byte offset {begin}"))?;
    let mut at = begin + 1 + length;
    let mut kept = None;
    loop {
        at += text[at..].len() - text[at..].trim_ascii_start().len();
        match text.as_bytes().get(at) {
            None => return Err(unclosed()),
            Some(b'>') => break,
            Some(_) => {}
        }
        let ((attribute, value), end) = attribute(text, at, &name, begin)?;
        if matches!((name.as_str(), attribute.as_str()), ("a", "href") | ("code" | "span", "class")) {
            kept = Some(value);
        }
        at = end;
    }
    if name == "span" && kept.as_deref() != Some("tg-spoiler") {
        return Err(format!("Tag \"span\" must have class \"tg-spoiler\" at byte offset {begin}"));
    }
    Ok((Open { name, kind, from, attribute: kept }, at + 1))
}

/// An attribute with its value, and where it ends.
fn attribute(text: &str, at: usize, tag: &str, begin: usize) -> Result<((String, String), usize), String> {
    let unclosed = || format!("Unclosed start tag at byte offset {begin}");
    let rest = &text[at..];
    let length = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/' | '"' | '\''));
    let length = length.ok_or_else(unclosed)?;
    if length == 0 {
        return Err(format!("Empty attribute name in the tag \"{tag}\" at byte offset {at}"));
    }
    let name = rest[..length].to_ascii_lowercase();
    let rest = rest[length..].trim_ascii_start();
    let Some(rest) = rest.strip_prefix('=') else {
        // One without a value, as in <blockquote expandable>.
        return Ok(((name, String::new()), at + length));
    };
    let rest = rest.trim_ascii_start();
    let (value, rest) = match rest.chars().next() {
        None => return Err(unclosed()),
        Some(quote @ ('"' | '\'')) => {
            let inner = &rest[1..];
            let end = inner.find(quote).ok_or_else(unclosed)?;
            (&inner[..end], &inner[end + 1..])
        }
        Some(_) => {
            let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '>').ok_or_else(unclosed)?;
            let value = &rest[..end];
            if !value.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-')) {
                return Err(format!("Unexpected end of name token at byte offset {at}"));
            }
            (value, &rest[end..])
        }
    };
    Ok(((name, decode(value)), text.len() - rest.len()))
}

/// Where the end tag ends that begins here, if it is of the tag that is open.
fn end_tag(text: &str, begin: usize, open: Option<&Open>) -> Result<usize, String> {
    let Some(open) = open else { return Err(format!("Unexpected end tag at byte offset {begin}")) };
    let rest = &text[begin + 2..];
    let length = rest
        .find(|c: char| c.is_ascii_whitespace() || c == '>')
        .ok_or_else(|| format!("Unclosed end tag at byte offset {begin}"))?;
    let name = rest[..length].to_ascii_lowercase();
    let after = rest[length..].trim_ascii_start();
    if !after.starts_with('>') {
        return Err(format!("Unclosed end tag at byte offset {begin}"));
    }
    if !name.is_empty() && name != open.name {
        return Err(format!(
            "Unmatched end tag at byte offset {begin}, expected \"</{}>\", found \"</{name}>\"",
            open.name
        ));
    }
    Ok(text.len() - after.len() + 1)
}

fn decode(text: &str) -> String {
    let mut decoded = String::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let (c, length) = (c == '&').then(|| entity(&text[at..])).flatten().unwrap_or((c, c.len_utf8()));
        decoded.push(c);
        at += length;
    }
    decoded
}

/// The character that a text beginning with `&` stands for, and how much of it; unknown ones stand for themselves.
fn entity(text: &str) -> Option<(char, usize)> {
    let inner = &text[1..];
    let end = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '#')).unwrap_or(inner.len());
    let name = &inner[..end];
    let decoded = match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|c| *c != '\0')?
        }
    };
    let semicolon = usize::from(inner[end..].starts_with(';'));
    Some((decoded, 1 + end + semicolon))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tags_become_formatting_and_entities_characters() {
        let parsed =
            parse("Привет, <b>a&lt;b</b> &amp; <code>x&#33;</code> <a href=\"https://e.x/?a=1&amp;b\">l</a>")
                .unwrap();
        assert_eq!(parsed.text, "Привет, a<b & x! l");
        let found: Vec<(&str, usize, usize)> =
            parsed.entities.iter().map(|e| (e.kind.as_str(), e.offset, e.length)).collect();
        assert_eq!(found, [("bold", 8, 3), ("code", 14, 2), ("text_link", 17, 1)]);
        assert_eq!(parsed.entities[2].url.as_deref(), Some("https://e.x/?a=1&b"));
    }

    #[test]
    fn offsets_are_in_units_of_utf_16() {
        let parsed = parse("😀<i>x</i>").unwrap();
        assert_eq!((parsed.entities[0].offset, parsed.entities[0].length), (2, 1));
    }

    #[test]
    fn what_is_not_escaped_is_refused_with_its_place() {
        for (text, why) in [
            ("a < b", "Unsupported start tag \"\" at byte offset 2"),
            ("a <", "Unclosed start tag at byte offset 2"),
            ("<b", "Unclosed start tag at byte offset 0"),
            ("<b>x", "Can't find end tag corresponding to start tag \"b\""),
            ("x</b>", "Unexpected end tag at byte offset 1"),
            ("<b>x</i>", "Unmatched end tag at byte offset 4, expected \"</b>\", found \"</i>\""),
            ("<script>x</script>", "Unsupported start tag \"script\" at byte offset 0"),
            ("<b><i>x</b></i>", "Unmatched end tag at byte offset 7, expected \"</i>\", found \"</b>\""),
            ("<span>x</span>", "Tag \"span\" must have class \"tg-spoiler\" at byte offset 0"),
            ("<3 you", "Unsupported start tag \"3\" at byte offset 0"),
        ] {
            assert_eq!(parse(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn a_lone_ampersand_and_an_angle_that_closes_nothing_stand_for_themselves() {
        assert_eq!(parse("a & b > c &nosuch;").unwrap().text, "a & b > c &nosuch;");
    }
}
