//! The HTML that Telegram takes: how values are put into it, how it is checked, and what is left of it as plain text.

/// Tags that Telegram knows and texts may have.
const TAGS: &[&str] = &[
    "a",
    "b",
    "blockquote",
    "code",
    "del",
    "em",
    "i",
    "ins",
    "pre",
    "s",
    "strike",
    "strong",
    "tg-spoiler",
    "u",
];

/// Entities that Telegram knows.
const ENTITIES: &[(&str, char)] = &[("amp", '&'), ("gt", '>'), ("lt", '<'), ("quot", '"')];

/// A value as it may stand in a text or an attribute, whatever it holds.
pub(crate) fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match ENTITIES.iter().find(|(_, known)| *known == character) {
            Some((name, _)) => escaped.extend(['&'].into_iter().chain(name.chars()).chain([';'])),
            None => escaped.push(character),
        }
    }
    escaped
}

/// What people see of a text: no tags, no entities. A text that is no HTML comes out as it can be read.
pub(crate) fn plain(html: &str) -> String {
    let mut plain = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken =
            if rest.starts_with('<') { rest.find('>').map(|end| (end + 1, None)) } else { entity(rest) };
        let (length, character) = taken.unwrap_or((1, rest.chars().next()));
        plain.extend(character);
        rest = &rest[length..];
    }
    plain.push_str(rest);
    plain
}

/// Whether Telegram takes it: known tags, closed in their order, and nothing that is half of one.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(html: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '>', '&']) {
        rest = &rest[at..];
        if rest.starts_with('>') {
            return Err("a `>` stands alone; write &gt;".to_owned());
        }
        if rest.starts_with('&') {
            let (length, _) = entity(rest).ok_or("an `&` begins no entity; write &amp;")?;
            rest = &rest[length..];
            continue;
        }
        let end = rest.find('>').ok_or("a `<` stands alone; write &lt;")?;
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if !TAGS.contains(&name) {
            return Err(format!("<{name}> is no tag that it knows"));
        }
        let is_link = attributes.strip_prefix("href=\"").and_then(|link| link.strip_suffix('"'));
        let takes_attributes = name == "a" && is_link.is_some_and(|link| !link.contains('"'));
        if attributes.is_empty() == (name == "a")
            || (name == "a" && !takes_attributes)
            || (name != "a" && !attributes.is_empty())
        {
            return Err(format!("<{name}> is written in another way, as in <a href=\"..\">"));
        }
        open.push(name);
    }
    match open.last() {
        Some(name) => Err(format!("<{name}> is not closed")),
        None => Ok(()),
    }
}

/// The length of the entity at the beginning, and its character.
fn entity(text: &str) -> Option<(usize, Option<char>)> {
    let name = text.strip_prefix('&')?;
    let name = &name[..name.find(';')?];
    let character = match name.strip_prefix('#') {
        Some(number) => char::from_u32(match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        })?,
        None => ENTITIES.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((name.len() + 2, Some(character)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_telegram_takes_passes() {
        for html in [
            "",
            "plain",
            "<b>a <i>b</i></b>",
            "<a href=\"https://x.org/?a=1&amp;b=2\">x</a> &lt;&#33;",
            "<tg-spoiler>x</tg-spoiler>",
        ] {
            assert_eq!(check(html), Ok(()), "{html}");
        }
        for html in [
            "a < b",
            "a > b",
            "R&D",
            "&nbsp;",
            "<b>",
            "</b>",
            "<b><i></b></i>",
            "<p>x</p>",
            "<a>x</a>",
            "<b x=\"y\">z</b>",
            "<a href=x>y</a>",
            "<a href=\"x\" onclick=\"y\">z</a>",
            "<",
            "&#xfffffff;",
        ] {
            assert!(check(html).is_err(), "{html}");
        }
    }

    #[test]
    fn plain_text_is_what_people_see() {
        assert_eq!(plain("<b>1 &lt; 2</b> &amp; <a href=\"x\">so on</a> &#33;"), "1 < 2 & so on !");
        assert_eq!(plain("1 < 2 & 3"), "1 < 2 & 3");
    }

    proptest! {
        #[test]
        fn a_value_comes_out_as_it_went_in_and_breaks_nothing(value in "\\PC{0,60}", printable in "[ -~]{0,95}") {
            for value in [value, printable] {
                prop_assert_eq!(plain(&format!("<b>{}</b>", escape(&value))), value.clone());
                prop_assert_eq!(check(&format!("<a href=\"{0}\"><code>{0}</code></a>", escape(&value))), Ok(()));
            }
        }

        #[test]
        fn nothing_panics(html in "[<>&;/#a-bx\" ü]{0,40}") {
            let _ = (check(&html), plain(&html));
        }
    }
}
