//! TOML files.

use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::bounded;
use crate::entry::{Entry, Value};
use crate::error::{Problem, ProblemKind};
use crate::field::Spelling;
use crate::notice::nearest;
use crate::{Notice, Origin, Section};

/// A TOML text that is to be read, or is there already.
#[derive(Clone)]
pub(crate) enum FileSource {
    Path { path: PathBuf, optional: bool },
    Text { name: String, text: String },
}

/// A table that must not be there, and why.
#[derive(Clone)]
pub(crate) struct Refused {
    pub(crate) name: String,
    pub(crate) why: String,
}

/// A TOML text with the name that errors give it.
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl FileSource {
    /// The text; nothing if the file is optional and not there.
    pub(crate) fn read(&self) -> Result<Option<Document>, Problem> {
        match self {
            Self::Text { name, text } => Ok(Some(Document { name: name.clone(), text: text.clone() })),
            Self::Path { path, optional } => match read_text(path) {
                Ok(text) => Ok(Some(Document { name: path.display().to_string(), text })),
                Err(error) if *optional && error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Problem::new(
                    ProblemKind::Unreadable,
                    path.display(),
                    format_args!("the settings file cannot be read: {error}"),
                )),
            },
        }
    }
}

/// More than any settings, in MiB.
const LARGEST_FILE: u64 = 16;

fn read_text(path: &Path) -> io::Result<String> {
    if is_pipe(path) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe, and not a file"));
    }
    // What reading a file as text says of such bytes.
    let no_text = |_| io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8");
    String::from_utf8(bounded::read(path, LARGEST_FILE)?).map_err(no_text)
}

/// Whoever opens a pipe waits until somebody writes into it, for ever.
#[cfg(unix)]
fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    path.metadata().is_ok_and(|found| found.file_type().is_fifo())
}

#[cfg(not(unix))]
const fn is_pipe(_: &Path) -> bool {
    false
}

impl Document {
    /// The entries of all sections that somebody reads.
    pub(crate) fn entries(
        &self,
        sections: &[Section],
        refused: &[Refused],
        problems: &mut Vec<Problem>,
        notices: &mut Vec<Notice>,
    ) -> Vec<Entry<'_>> {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        if !errors.is_empty() {
            // Only the message: the error's own Display quotes the line, and a password may stand in it.
            problems.extend(errors.iter().map(|error| {
                let line = error.span().map_or(1, |span| self.line(span.start));
                Problem::new(ProblemKind::Syntax, format_args!("{}:{line}", self.name), error.message())
            }));
            return Vec::new();
        }
        let mut entries = Vec::new();
        let mut names: Vec<&str> = sections.iter().map(|section| section.name).collect();
        names.sort_unstable();
        names.dedup();
        for name in &names {
            match find(&root, name) {
                Ok(Some(table)) => entries.extend(self.section(name, table, &names)),
                Ok(None) => {}
                Err(at) => problems.push(Problem::new(
                    ProblemKind::Value,
                    format_args!("{}:{}", self.name, self.line(at)),
                    format_args!("expected a table: [{name}]"),
                )),
            }
        }
        problems.extend(refused.iter().filter_map(|section| self.refusal(root.get_ref(), section)));
        self.unknown_sections(root.get_ref(), &names, notices);
        entries
    }

    /// The entries of one section; tables that are sections of other structs are not its keys.
    fn section<'t>(&'t self, section: &str, table: &DeTable<'t>, names: &[&str]) -> Vec<Entry<'t>> {
        let is_section = |key: &str| {
            let path = format!("{section}.{key}");
            names.iter().any(|name| {
                name.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let mut entries: Vec<_> = table.iter().filter(|(key, _)| !is_section(key.get_ref())).collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .map(|(key, value)| Entry {
                section: Some(section.to_owned()),
                name: key.get_ref().to_string(),
                spelling: Spelling::Lower,
                origin: Origin::File {
                    file: self.name.clone(),
                    line: self.line(key.span().start),
                    key: format!("{section}.{}", key.get_ref()),
                },
                value: Value::Toml {
                    value: value.clone(),
                    source: self.text.get(value.span()).unwrap_or(""),
                },
            })
            .collect()
    }

    /// What is said if a table stands there that must not.
    fn refusal(&self, root: &DeTable<'_>, Refused { name, why }: &Refused) -> Option<Problem> {
        let (key, value) = root.iter().find(|(key, _)| key.get_ref() == name)?;
        // The first table in it is where people look.
        let inner = match value.get_ref() {
            DeValue::Table(tables) => tables.iter().map(|(key, _)| key).min_by_key(|key| key.span().start),
            _ => None,
        };
        let table = inner.map_or_else(|| name.clone(), |inner| format!("{name}.{}", inner.get_ref()));
        let at = inner.unwrap_or(key).span().start;
        let place = format!("{}:{}: {table}", self.name, self.line(at));
        Some(Problem::new(ProblemKind::Unknown, place, why))
    }

    /// Tables of others are their business, unless the name looks like a slip of one of ours.
    fn unknown_sections(&self, root: &DeTable<'_>, names: &[&str], notices: &mut Vec<Notice>) {
        let tops = || names.iter().map(|name| name.split('.').next().unwrap_or(name));
        for (key, value) in root {
            let name: &str = key.get_ref();
            if tops().any(|top| top == name) || !matches!(value.get_ref(), DeValue::Table(_)) {
                continue;
            }
            if let Some(nearest) = nearest(name, tops().map(Into::into)) {
                let place = format!("{}:{}: [{name}]", self.name, self.line(key.span().start));
                notices.push(Notice::UnknownSection { place, nearest });
            }
        }
    }

    /// The line of a byte, from 1.
    fn line(&self, at: usize) -> usize {
        self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
    }
}

/// The table at a dotted path; the position of what is no table.
fn find<'r, 't>(root: &'r Spanned<DeTable<'t>>, path: &str) -> Result<Option<&'r DeTable<'t>>, usize> {
    let mut table = root.get_ref();
    for name in path.split('.') {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return Err(key.span().start),
        }
    }
    Ok(Some(table))
}
