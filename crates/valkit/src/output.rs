//! Data on stdout, as a table for people or as JSON for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use crate::{
    failure::Failure,
    table::{Column, Table},
};

/// The form of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people; may change between versions.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
}

pub(crate) struct Output {
    pub(crate) format: Format,
    colour: bool,
}

// === impl Output ===

impl Output {
    pub(crate) const fn new(format: Format, colour: bool) -> Self {
        Self { format, colour }
    }

    /// Many things of one sort.
    pub(crate) fn list<T: Serialize>(&self, columns: &[Column<T>], rows: &[T]) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.text(&Table::new(columns, rows).render(self.colour)),
            Format::Json => self.json(&rows),
            Format::Ndjson => rows.iter().try_for_each(|row| self.line(row)),
        }
    }

    /// One thing, whose table form the caller writes.
    pub(crate) fn object<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.text(&text()),
            Format::Json => self.json(value),
            Format::Ndjson => self.line(value),
        }
    }

    /// A table inside something larger.
    pub(crate) fn table<T>(&self, columns: &[Column<T>], rows: &[T]) -> String {
        Table::new(columns, rows).render(self.colour)
    }

    /// Names and values, one pair a line.
    #[expect(clippy::unused_self, reason = "like the other forms of output, it is asked of the output")]
    pub(crate) fn pairs(&self, pairs: &[(&str, String)]) -> String {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let line =
            |(name, value): &(&str, String)| format!("{name:<width$}  {}\n", crate::text::printable(value));
        pairs.iter().map(line).collect()
    }

    /// Emphasis, if the terminal has it.
    pub(crate) fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Text as it is.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Bytes as they are.
    #[expect(clippy::unused_self, reason = "all data goes through the output")]
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(|error| Failure::io("writing the output", error))
    }

    /// One JSON document on a line of its own.
    pub(crate) fn line<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), Failure> {
        let mut line =
            serde_json::to_vec(value).map_err(|error| Failure::Failed(format!("writing JSON: {error}")))?;
        line.push(b'\n');
        self.bytes(&line)
    }

    fn json<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), Failure> {
        let mut text = serde_json::to_vec_pretty(value)
            .map_err(|error| Failure::Failed(format!("writing JSON: {error}")))?;
        text.push(b'\n');
        self.bytes(&text)
    }
}
