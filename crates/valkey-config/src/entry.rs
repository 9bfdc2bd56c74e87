//! What a source says, before any struct has looked at it.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::DeValue;

use crate::Origin;
use crate::field::Spelling;

/// One key with its value.
pub(crate) struct Entry<'t> {
    /// The TOML table it stands in; `None` if it is for every struct, as variables are.
    pub(crate) section: Option<String>,
    /// The key, in the spelling of its source, without any prefix.
    pub(crate) name: String,
    pub(crate) spelling: Spelling,
    pub(crate) origin: Origin,
    pub(crate) value: Value<'t>,
}

pub(crate) enum Value<'t> {
    Text(String),
    Toml {
        value: Spanned<DeValue<'t>>,
        /// As it stands in the file.
        source: &'t str,
    },
}

impl Entry<'_> {
    /// Whether a struct of this section is meant.
    pub(crate) fn is_for(&self, section: &str) -> bool {
        self.section.as_deref().is_none_or(|own| own == section)
    }

    /// An empty text is how deployments take a setting back, so it counts as not set.
    pub(crate) fn is_unset(&self) -> bool {
        match &self.value {
            Value::Text(text) => text.is_empty(),
            Value::Toml { value, .. } => matches!(value.get_ref(), DeValue::String(text) if text.is_empty()),
        }
    }

    /// The value as text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Toml { value, .. } => match value.get_ref() {
                DeValue::String(text) => Some(text),
                _ => None,
            },
        }
    }

    /// The value as an error may show it: shortened, on one line, and without what may be a password in a URL. A list of URLs
    /// is not secret by its type, but may well hold one.
    pub(crate) fn shown(&self) -> String {
        let (text, quote) = match &self.value {
            Value::Text(text) => (text.as_str(), "\""),
            Value::Toml { source, .. } => (*source, ""),
        };
        let Some(text) = without_userinfo(text) else { return crate::secret::REDACTED.to_owned() };
        let mut shown: String = text.chars().take(SHOWN).flat_map(escape).collect();
        if text.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        format!("{quote}{shown}{quote}")
    }
}

/// The value without the users and passwords of its URLs; `None` if there may be a secret elsewhere in it.
fn without_userinfo(text: &str) -> Option<Cow<'_, str>> {
    let end = text.rfind('@');
    match (text.find("://"), end) {
        // A password may hold anything: what stands between the first URL and the last user goes.
        (Some(start), Some(end)) if start < end && !text.contains('?') => {
            let (before, after) = (&text[..start + 3], &text[end..]);
            Some(format!("{before}{}{after}", crate::secret::REDACTED).into())
        }
        (_, Some(_)) => None,
        (Some(_), None) if text.contains('?') => None,
        _ => Some(text.into()),
    }
}

/// Enough of a value to recognise it.
const SHOWN: usize = 60;

/// A character as one line of an error can hold it.
fn escape(character: char) -> impl Iterator<Item = char> {
    let shown = if character.is_control() { character.escape_default().collect() } else { vec![character] };
    shown.into_iter()
}
