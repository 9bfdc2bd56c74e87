//! What a source says, before any struct has looked at it.

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

    /// The value as an error may show it: shortened, in quotes if it is text, without what may be a login in a URL.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("{:?}", shorten(&without_logins(text))),
            Value::Toml { source, .. } => {
                shorten(&without_logins(source)).escape_debug().to_string().replace("\\\"", "\"")
            }
        }
    }
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Cuts what stands before an `@`, item by item: a list of URLs is not secret by its type, but may hold passwords.
fn without_logins(text: &str) -> String {
    match text.rsplit_once('@') {
        None => text.to_owned(),
        Some((_, after)) => format!("{}@{after}", crate::secret::REDACTED),
    }
}
