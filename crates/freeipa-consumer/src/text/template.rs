//! One text with placeholders: `{login}`, and `{{` for a brace.

use super::error::TextFault;
use super::markup;

/// The longest text, in characters: Telegram takes 4096, and what is put in needs room.
const LONGEST: usize = 3_000;

/// A text that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(&'static str),
}

/// What a text may say, and what it has to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Placeholders that may stand in it.
    pub(super) known: &'static [&'static str],
    /// Those of them that have to.
    pub(super) needed: &'static [&'static str],
}

impl Template {
    /// Reads a text and checks it.
    pub(super) fn parse(text: &str, terms: Terms) -> Result<Self, TextFault> {
        if text.trim().is_empty() {
            return Err(TextFault::Empty);
        }
        if text.chars().nth(LONGEST).is_some() {
            return Err(TextFault::TooLong { limit: LONGEST });
        }
        let mut parts = vec![];
        let mut said = String::new();
        let mut rest = text.trim_end();
        while let Some(at) = rest.find(['{', '}']) {
            said.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
                said.push_str(&rest[..1]);
                rest = after;
                continue;
            }
            let end = rest.find('}').filter(|_| rest.starts_with('{')).ok_or(TextFault::Brace)?;
            let name = &rest[1..end];
            let known = terms.known.iter().find(|known| **known == name).ok_or_else(|| {
                let all: Vec<String> = terms.known.iter().map(|known| format!("{{{known}}}")).collect();
                TextFault::UnknownPlaceholder(name.to_owned(), all.join(", "))
            })?;
            parts.push(Part::Text(std::mem::take(&mut said)));
            parts.push(Part::Value(known));
            rest = &rest[end + 1..];
        }
        said.push_str(rest);
        parts.push(Part::Text(said));
        let template = Self(parts);
        if let Some(missing) = terms.needed.iter().find(|name| !template.holds(name)) {
            return Err(TextFault::MissingPlaceholder(missing));
        }
        // Any value is as good as the other: whatever it is, it is escaped.
        markup::check(&template.fill(|_| "x".to_owned())).map_err(TextFault::Markup)?;
        Ok(template)
    }

    fn holds(&self, name: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Value(known) if *known == name))
    }

    /// The text with its values, which have to be HTML.
    pub(super) fn fill(&self, value: impl Fn(&'static str) -> String) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Value(name) => value(name),
            })
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { known: &["login", "reference"], needed: &["reference"] };

    #[test]
    fn values_go_where_the_placeholders_are() {
        let template = Template::parse("{{a}} <b>{login}</b>, {reference}{login}\n", TERMS).unwrap();
        let text = template.fill(|name| if name == "login" { "ada".to_owned() } else { "#1".to_owned() });
        assert_eq!(text, "{a} <b>ada</b>, #1ada");
    }

    #[test]
    fn slips_are_found_before_anybody_reads_them() {
        for (text, fault) in [
            ("", TextFault::Empty),
            (" \n", TextFault::Empty),
            ("{reference", TextFault::Brace),
            ("reference}", TextFault::Brace),
            ("{login}", TextFault::MissingPlaceholder("reference")),
            (
                "{Login} {reference}",
                TextFault::UnknownPlaceholder("Login".to_owned(), "{login}, {reference}".to_owned()),
            ),
            (
                "{} {reference}",
                TextFault::UnknownPlaceholder(String::new(), "{login}, {reference}".to_owned()),
            ),
            (&"x".repeat(3_001), TextFault::TooLong { limit: 3_000 }),
        ] {
            assert_eq!(Template::parse(text, TERMS), Err(fault), "{text}");
        }
        assert!(matches!(Template::parse("<b>{reference}", TERMS), Err(TextFault::Markup(_))));
        assert!(matches!(Template::parse("1 < 2 {reference}", TERMS), Err(TextFault::Markup(_))));
    }
}
