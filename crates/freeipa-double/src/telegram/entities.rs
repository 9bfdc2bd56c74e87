//! Texts with formatting, as the Bot API reads them: strictly. What cannot be read is refused with the place.

mod html;
mod markdown;
mod markdown_v2;

use serde::{Deserialize, Serialize};

/// A part of a text that is formatted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entity {
    /// Which formatting: `bold`, `code`, `text_link`, ….
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it begins, in units of UTF-16.
    pub offset: usize,
    /// How long it is, in units of UTF-16.
    pub length: usize,
    /// Where a `text_link` leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The language of a `pre`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ParseMode {
    /// Tags and `&lt;`.
    #[serde(rename = "HTML")]
    Html,
    /// `*bold*`, with everything else escaped.
    #[serde(rename = "MarkdownV2")]
    MarkdownV2,
    /// The older kind, with few rules.
    Markdown,
}

/// A text without its formatting, and the formatting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parsed {
    pub(super) text: String,
    pub(super) entities: Vec<Entity>,
}

/// A text under way: what was read so far.
#[derive(Debug, Default)]
struct Output {
    text: String,
    units: usize,
    entities: Vec<Entity>,
}

// === impl ParseMode ===

impl ParseMode {
    /// From its name, in whatever case.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "html" => Some(Self::Html),
            "markdownv2" => Some(Self::MarkdownV2),
            "markdown" => Some(Self::Markdown),
            _ => None,
        }
    }

    /// Reads a text. The error is what stands after `can't parse entities: `.
    pub(super) fn parse(self, text: &str) -> Result<Parsed, String> {
        match self {
            Self::Html => html::parse(text),
            Self::MarkdownV2 => markdown_v2::parse(text),
            Self::Markdown => markdown::parse(text),
        }
    }
}

// === impl Parsed ===

impl Parsed {
    /// Without the spaces around it.
    pub(super) fn trimmed(self) -> Self {
        let before = units(&self.text) - units(self.text.trim_start());
        let text = self.text.trim().to_owned();
        let length = units(&text);
        let entities = self
            .entities
            .into_iter()
            .filter_map(|mut entity| {
                let from = entity.offset.max(before) - before;
                let to = (entity.offset + entity.length).saturating_sub(before).min(length);
                entity.offset = from;
                entity.length = to.checked_sub(from).filter(|length| *length > 0)?;
                Some(entity)
            })
            .collect();
        Self { text, entities }
    }
}

// === impl Output ===

impl Output {
    fn push(&mut self, c: char) {
        self.text.push(c);
        self.units += c.len_utf16();
    }

    /// What an entity is that began there and ends here; an empty one is none.
    fn close(&mut self, kind: &str, from: usize, url: Option<String>, language: Option<String>) {
        if self.units > from {
            let length = self.units - from;
            self.entities.push(Entity { kind: kind.to_owned(), offset: from, length, url, language });
        }
    }

    fn finish(mut self) -> Parsed {
        self.entities.sort_by_key(|entity| (entity.offset, std::cmp::Reverse(entity.length)));
        Parsed { text: self.text, entities: self.entities }
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
