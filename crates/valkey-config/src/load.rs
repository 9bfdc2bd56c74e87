//! From entries to settings.

use std::borrow::Cow;
use std::iter::once;

use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::MapDeserializer;

use crate::entry::{Entry, Value};
use crate::error::{Problem, ProblemKind};
use crate::field::{Role, Spelling};
use crate::notice::nearest;
use crate::secret_file::secret_from_file;
use crate::variables::is_service_link;
use crate::{ConfigError, Contradiction, Field, Notice, Origin, Section, Settings};

/// Settings together with what is worth knowing about them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded<T> {
    /// The settings.
    pub settings: T,
    /// What the operator should hear; log each as a warning.
    pub notices: Vec<Notice>,
    /// Every setting with its value and origin, for a `config show`.
    pub values: Vec<Shown>,
}

/// One setting as it came out. No secret appears in it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shown {
    /// The TOML table.
    pub section: &'static str,
    /// The field.
    pub field: &'static Field,
    /// The value as one would write it, redacted where secret; empty for none.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl<T> Loaded<T> {
    /// Where a value comes from, by `key` or `section.key`.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.values.iter().find(|shown| shown.is_called(key)).map(|shown| &shown.origin)
    }
}

impl Shown {
    fn is_called(&self, key: &str) -> bool {
        key.strip_prefix(self.section).and_then(|rest| rest.strip_prefix('.')).unwrap_or(key)
            == self.field.key
    }
}

/// Reads structs one after the other and keeps what went wrong.
#[derive(Default)]
pub struct Reader<'s> {
    prefix: &'s str,
    /// In rising precedence.
    layers: &'s [Vec<Entry<'s>>],
    sections: &'s [Section],
    problems: Vec<Problem>,
    notices: Vec<Notice>,
    values: Vec<Shown>,
    contradictions: Vec<(Option<&'static str>, Contradiction)>,
    /// Whether a file could not be read: what it says may be just what is missing.
    misses_a_file: bool,
    /// Fields whose value could not be read, and which therefore prove nothing.
    broken: Vec<(&'static str, &'static str)>,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl<'s> Reader<'s> {
    pub(crate) fn new(prefix: &'s str, layers: &'s [Vec<Entry<'s>>], sections: &'s [Section]) -> Self {
        Self { prefix, layers, sections, ..Self::default() }
    }

    /// Adds what was found while the sources were opened.
    pub(crate) fn found(&mut self, problems: Vec<Problem>, notices: Vec<Notice>) {
        let is_missing =
            |problem: &Problem| matches!(problem.kind(), ProblemKind::Unreadable | ProblemKind::Syntax);
        self.misses_a_file |= problems.iter().any(is_missing);
        self.problems.extend(problems);
        self.notices.extend(notices);
    }

    /// Reads one struct. Where a value is wrong, the default stands in so that the other values are seen, too.
    pub(crate) fn read<S: Settings>(&mut self) -> S {
        let mut settings = S::default();
        let mut origins = vec![Origin::Default; S::fields().len()];
        for entries in self.layers {
            for (field, origin) in S::fields().iter().zip(&mut origins) {
                match self.field::<S>(field, entries) {
                    Ok(Some((layer, from))) => {
                        settings.absorb(layer);
                        *origin = from;
                    }
                    Ok(None) => {}
                    Err(problem) => {
                        self.problem(problem);
                        self.broken.push((S::SECTION, field.key));
                    }
                }
            }
        }
        let found = settings.validate().into_iter().map(|found| (Some(S::SECTION), found));
        self.contradictions.extend(found);
        let rows = S::fields().iter().zip(settings.shown()).zip(origins);
        self.values.extend(rows.map(|((field, value), origin)| Shown {
            section: S::SECTION,
            field,
            value,
            origin,
        }));
        settings
    }

    /// What one source says about one field.
    fn field<S: Settings>(
        &mut self,
        field: &'static Field,
        entries: &[Entry<'_>],
    ) -> Result<Option<(S::Layer, Origin)>, Problem> {
        let mut found = entries
            .iter()
            .filter(|entry| entry.is_for(S::SECTION) && !entry.is_unset())
            .filter_map(|entry| Some((entry, field.role(&entry.name, entry.spelling)?)))
            // A field that is itself called `x_file` is that field, not the file of the secret `x`.
            .filter(|(entry, role)| *role == Role::Value || !self.is_value(entry));
        let Some((entry, role)) = found.next() else { return Ok(None) };
        for (other, other_role) in found {
            let agree = role == other_role && entry.text().is_some() && entry.text() == other.text();
            if !agree {
                return Err(Problem::new(
                    ProblemKind::Ambiguous,
                    format_args!("{} and {}", entry.origin, other.origin),
                    "both are set and mean the same setting; keep one",
                ));
            }
        }
        if let crate::Status::Notice(why) = field.status {
            self.notice(Notice::NoEffect { place: entry.origin.to_string(), why });
        }
        let layer = match role {
            Role::Value => decode::<S>(field, entry)?,
            Role::File => {
                let secret = secret_from_file(entry)?;
                decode_text::<S>(field, &secret).map_err(|why| {
                    Problem::new(ProblemKind::Value, &entry.origin, format_args!("in the file: {why}"))
                })?
            }
        };
        Ok(Some((layer, entry.origin.clone())))
    }

    /// Whether an entry is a field's value under the field's own name.
    fn is_value(&self, entry: &Entry<'_>) -> bool {
        self.fields_for(entry).any(|field| field.role(&entry.name, entry.spelling) == Some(Role::Value))
    }

    fn fields_for(&self, entry: &Entry<'_>) -> impl Iterator<Item = &'static Field> {
        let sections = self.sections.iter().filter(|section| entry.is_for(section.name));
        sections.flat_map(|section| section.fields)
    }

    /// Looks at the entries that no struct took.
    pub(crate) fn unknown(&mut self) {
        for entry in self.layers.iter().flatten() {
            if self.fields_for(entry).any(|field| field.role(&entry.name, entry.spelling).is_some()) {
                continue;
            }
            let names = self.fields_for(entry).flat_map(|field| all_names(field, entry.spelling));
            let nearest = nearest(&entry.name, names);
            if let Origin::Variable(variable) = &entry.origin {
                if !is_service_link(&entry.name) {
                    let nearest = nearest.map(|suffix| format!("{}{suffix}", self.prefix));
                    self.notice(Notice::UnknownVariable { variable: variable.clone(), nearest });
                }
                continue;
            }
            let hint = nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            self.problem(Problem::new(
                ProblemKind::Unknown,
                &entry.origin,
                format_args!("`{}` is not a setting{hint}", entry.name),
            ));
        }
    }

    /// Adds contradictions between structs.
    pub(crate) fn contradict(&mut self, found: Vec<Contradiction>) {
        self.contradictions.extend(found.into_iter().map(|found| (None, found)));
    }

    /// Two structs with a field of the same name would each complain about it.
    fn problem(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn notice(&mut self, notice: Notice) {
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    /// The settings if nothing is wrong with them, else everything that is.
    pub(crate) fn finish<T>(mut self, settings: T) -> Result<Loaded<T>, ConfigError> {
        for (section, contradiction) in std::mem::take(&mut self.contradictions) {
            let in_section = |shown: &&Shown| section.is_none_or(|section| section == shown.section);
            let find = |key: &str| self.values.iter().filter(in_section).find(|shown| shown.is_called(key));
            let involved: Vec<_> = contradiction.fields.iter().map(|key| (key, find(key))).collect();
            let is_broken = |shown: &Shown| self.broken.contains(&(shown.section, shown.field.key));
            if involved.iter().any(|(_, shown)| shown.is_some_and(is_broken)) {
                continue;
            }
            let is_unset = |shown: Option<&Shown>| shown.is_none_or(|shown| shown.origin == Origin::Default);
            if self.misses_a_file && involved.iter().any(|(_, shown)| is_unset(*shown)) {
                continue;
            }
            let named = |(key, shown): &(&&str, Option<&Shown>)| match shown {
                Some(shown) => self.named_value(shown),
                None => (**key).to_owned(),
            };
            let place: Vec<String> = involved.iter().map(named).collect();
            let place = if place.is_empty() { "settings".to_owned() } else { place.join(", ") };
            self.problem(Problem::new(ProblemKind::Contradiction, place, contradiction.message));
        }
        if self.problems.is_empty() {
            Ok(Loaded { settings, notices: self.notices, values: self.values })
        } else {
            Err(ConfigError::new(self.problems, self.notices))
        }
    }

    /// `VALKEY_SENDER_POOL_SIZE=0`, also for a default, so that the reader knows what to set.
    fn named_value(&self, shown: &Shown) -> String {
        let value = if shown.value.is_empty() { "(none)" } else { &shown.value };
        match &shown.origin {
            Origin::Default => format!("{}{}={value} (default)", self.prefix, shown.field.env),
            origin => format!("{origin}={value}"),
        }
    }
}

fn all_names(field: &Field, spelling: Spelling) -> impl Iterator<Item = Cow<'_, str>> {
    let files = field
        .names(spelling)
        .filter(|_| field.secret)
        .map(move |name| Cow::Owned(format!("{name}{}", spelling.file_suffix())));
    field.names(spelling).chain(files)
}

/// Reads one value into a layer that has nothing else, so that the error can name it.
fn decode<S: Settings>(field: &Field, entry: &Entry<'_>) -> Result<S::Layer, Problem> {
    let result = match &entry.value {
        Value::Text(_) if field.toml_only => Err("it can only be set in a TOML file".to_owned()),
        Value::Text(text) => decode_text::<S>(field, text),
        Value::Toml { value, .. } => {
            let value = value.clone().into_deserializer();
            let table = MapDeserializer::new(once((field.key, value)));
            S::Layer::deserialize(table).map_err(|error: toml::de::Error| error.message().to_owned())
        }
    };
    result.map_err(|why| {
        let hint = hint(entry);
        let message =
            if field.secret { format!("{why}{hint}") } else { format!("{}: {why}{hint}", entry.shown()) };
        Problem::new(ProblemKind::Value, &entry.origin, message)
    })
}

fn decode_text<S: Settings>(field: &Field, text: &str) -> Result<S::Layer, String> {
    envy::from_iter(once((field.key.to_owned(), text.to_owned()))).map_err(|error| error.to_string())
}

/// Two mistakes whose cause is not where one would look for it.
fn hint(entry: &Entry<'_>) -> &'static str {
    let Value::Text(text) = &entry.value else { return "" };
    let quoted = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    if entry.name.ends_with("PORT") && (text.starts_with("tcp://") || text.starts_with("udp://")) {
        " (Kubernetes injects such a value for a service of that name: set enableServiceLinks to false)"
    } else if quoted('"') || quoted('\'') {
        " (the quotes are part of the value: leave them out)"
    } else {
        ""
    }
}
