//! The dead letters, as an operator reads them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::site::QUEUE;
use crate::run;

/// Why each is one, and what it says; by the id of its envelope, or else by its text.
#[derive(Debug, Default)]
pub(crate) struct Letters(BTreeMap<String, Vec<(String, String)>>);

#[derive(Debug, Deserialize)]
struct Letter {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    error: String,
    message_id: Option<String>,
    text: Option<String>,
}

impl Letters {
    /// Reads all of them.
    pub(crate) fn read(valkit: &Path, url: &str) -> Result<Self> {
        let list = ["dead", "ls", QUEUE, "--all", "--bytes", "1048576", "--output", "json", "--url", url];
        let text = run::output(Command::new(valkit).args(list))?;
        let letters: Vec<Letter> = serde_json::from_str(&text).context("what `valkit dead ls` prints")?;
        let mut read = Self::default();
        for letter in letters {
            let name = letter.message_id.or(letter.text).unwrap_or_default();
            read.0.entry(name).or_default().push((letter.reason, letter.error));
        }
        Ok(read)
    }

    /// These, by name.
    #[cfg(test)]
    pub(crate) fn of<'a>(letters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut read = Self::default();
        for (name, reason) in letters {
            read.0.entry(name.to_owned()).or_default().push((reason.to_owned(), String::new()));
        }
        read
    }

    /// Takes out those of one registration: reasons, with what they say.
    pub(crate) fn take(&mut self, mark: &str) -> Vec<(String, String)> {
        if let Some(known) = self.0.remove(mark) {
            return known;
        }
        // No envelope: the mark stands somewhere in it.
        let name = self.0.keys().find(|name| !mark.is_empty() && name.contains(mark)).cloned();
        name.and_then(|name| self.0.remove(&name)).unwrap_or_default()
    }

    /// Those that nobody has taken.
    pub(crate) fn left(&self) -> Vec<String> {
        self.0.iter().map(|(name, reasons)| format!("{name}: {reasons:?}")).collect()
    }
}
