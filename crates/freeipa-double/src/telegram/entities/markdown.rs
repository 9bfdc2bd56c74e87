//! Markdown of the older kind: four marks that do not nest, escaped only outside of them.

use super::{Output, Parsed};

pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    let mut output = Output::default();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, mark) = match c {
            '\\' if rest[1..].starts_with(['_', '*', '`', '[']) => {
                output.push(char::from(rest.as_bytes()[1]));
                at += 2;
                continue;
            }
            '_' => ("italic", "_"),
            '*' => ("bold", "*"),
            '`' if rest.starts_with("```") => ("pre", "```"),
            '`' => ("code", "`"),
            '[' => ("text_link", "]"),
            c => {
                output.push(c);
                at += c.len_utf8();
                continue;
            }
        };
        let opening = if kind == "text_link" { 1 } else { mark.len() };
        let inner = &rest[opening..];
        let length = inner
            .find(mark)
            .ok_or_else(|| format!("Can't find end of the entity starting at byte offset {at}"))?;
        let from = output.units;
        inner[..length].chars().for_each(|c| output.push(c));
        at += opening + length + mark.len();
        let url = (kind == "text_link").then(|| target(&text[at..])).flatten();
        match url {
            Some((url, length)) => {
                output.close(kind, from, Some(url), None);
                at += length;
            }
            None if kind == "text_link" => {}
            None => output.close(kind, from, None, None),
        }
    }
    Ok(output.finish())
}

/// Where a link leads, and how long that is.
fn target(rest: &str) -> Option<(String, usize)> {
    let inner = rest.strip_prefix('(')?;
    let end = inner.find(')')?;
    Some((inner[..end].to_owned(), end + 2))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn marks_have_to_end() {
        assert_eq!(parse("*b* _i_ \\_ [l](u)").unwrap().text, "b i _ l");
        assert_eq!(parse("a_b").unwrap_err(), "Can't find end of the entity starting at byte offset 1");
        assert_eq!(parse("1. x! (y)").unwrap().text, "1. x! (y)", "nothing else is reserved");
    }
}
