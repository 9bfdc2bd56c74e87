//! What applicants must read: the texts that are shipped, filled in here and not by the program under test.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::workspace;

/// The languages that are shipped.
const LANGUAGES: [&str; 3] = ["en", "ru", "de"];

/// Where the links in the texts lead.
pub(crate) const SIGN_IN_URL: &str = "https://accounts.example.org/";

/// All texts: by language, then by key, `reasons.missing`.
#[derive(Debug)]
pub(crate) struct Texts(BTreeMap<&'static str, BTreeMap<String, String>>);

/// How the message about an account lets people in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access<'a> {
    /// By this password.
    Password(&'a str),
    /// Not at all: it is told where others read it, too.
    Untold,
}

impl Texts {
    /// Those of this checkout.
    pub(crate) fn read() -> Result<Self> {
        let mut texts = BTreeMap::new();
        for language in LANGUAGES {
            let path = workspace::root().join(format!("crates/freeipa-consumer/templates/{language}.toml"));
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let table: toml::Table =
                toml::from_str(&text).with_context(|| format!("{} is no TOML", path.display()))?;
            texts.insert(language, flat(&table));
        }
        Ok(Self(texts))
    }

    /// There is an account.
    pub(crate) fn created(&self, language: &str, login: &str, access: Access<'_>, reference: &str) -> String {
        let page = self.fill(language, "page", &[("url", SIGN_IN_URL)]);
        let access = match access {
            Access::Password(password) => self.fill(language, "password", &[("password", password)]),
            Access::Untold => self.fill(language, "untold", &[]),
        };
        let values = [("login", login), ("page", &page), ("access", &access), ("reference", reference)];
        self.fill(language, "created", &values)
    }

    /// There will be none, for these reasons: fields and keys of `[reasons]`.
    pub(crate) fn failed(&self, language: &str, problems: &[(&str, &str)], reference: &str) -> String {
        let line = |(field, reason): &(&str, &str)| {
            let field = self.fill(language, &format!("fields.{field}"), &[]);
            let reason = self.fill(language, &format!("reasons.{reason}"), &[]);
            self.fill(language, "problem", &[("field", &field), ("reason", &reason)])
        };
        let problems: Vec<String> = problems.iter().map(line).collect();
        self.fill(language, "failed", &[("problems", &problems.join("\n")), ("reference", reference)])
    }

    /// There is an account of an earlier registration.
    pub(crate) fn has_account(&self, language: &str, reference: &str) -> String {
        self.fill(language, "has_account", &[("reference", reference)])
    }

    /// Something went wrong that is not the applicant's fault.
    pub(crate) fn unexpected(&self, language: &str, reference: &str) -> String {
        self.fill(language, "unexpected", &[("reference", reference)])
    }

    /// A text as people see it; one that is not there is seen as such.
    fn fill(&self, language: &str, key: &str, values: &[(&str, &str)]) -> String {
        let text =
            self.0.get(language).and_then(|texts| texts.get(key)).map_or("(no such text)", String::as_str);
        // Tags before values: a password may look like one.
        let mut text = ["<b>", "</b>", "<i>", "</i>", "<code>", "</code>"]
            .iter()
            .fold(text.trim_end().to_owned(), |text, tag| text.replace(tag, ""));
        for (name, value) in values {
            text = text.replacen(&format!("{{{name}}}"), value, 1);
        }
        text
    }
}

fn flat(table: &toml::Table) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (key, value) in table {
        match value {
            toml::Value::String(text) => drop(texts.insert(key.clone(), text.clone())),
            toml::Value::Table(inner) => {
                texts.extend(flat(inner).into_iter().map(|(name, text)| (format!("{key}.{name}"), text)));
            }
            _ => {}
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_shipped_is_filled_in() {
        let texts = Texts::read().unwrap();
        for language in LANGUAGES {
            let created = texts.created(language, "ada", Access::Password("a<b>{login}"), "#12345678");
            for part in ["ada", "a<b>{login}", "#12345678", SIGN_IN_URL] {
                assert!(created.contains(part), "{part} in {created}");
            }
            let failed = texts.failed(language, &[("email", "syntax"), ("phone", "character")], "#1");
            let unexpected = texts.unexpected(language, "#1");
            let has_account = texts.has_account(language, "#1");
            for text in [created, failed, has_account, unexpected] {
                assert!(!text.contains("no such text") && !text.contains("</"), "{text}");
            }
        }
    }
}
