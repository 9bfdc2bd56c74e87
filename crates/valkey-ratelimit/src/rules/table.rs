//! From a TOML text to rules.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Rules;
use super::draft::{Draft, FIELDS};
use super::problem::{RulesError, RulesProblem, nearest};
use crate::rule::RuleName;

/// The table that rules stand in.
const RULES: &str = "rules";

pub(super) fn read(file: Option<&str>, text: &str) -> Result<Rules, RulesError> {
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    let mut reader = Reader { file, ends, rules: Rules::default(), problems: Vec::new() };
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        reader.problem(at, "", error.message());
    }
    if errors.is_empty() {
        reader.root(root.get_ref());
    }
    let Reader { mut rules, mut problems, .. } = reader;
    rules.warnings.sort_by_key(RulesProblem::line);
    problems.sort_by_key(RulesProblem::line);
    if problems.is_empty() { Ok(rules) } else { Err(RulesError::Invalid(problems)) }
}

struct Reader<'a> {
    file: Option<&'a str>,
    /// Where lines end.
    ends: Vec<usize>,
    rules: Rules,
    problems: Vec<RulesProblem>,
}

impl Reader<'_> {
    fn root(&mut self, root: &DeTable<'_>) {
        for (key, value) in root {
            let (name, at): (&str, _) = (key.get_ref(), key.span().start);
            match value.get_ref() {
                DeValue::Table(rules) if name == RULES => {
                    for (name, rule) in rules {
                        self.rule(name.get_ref(), name.span().start, rule);
                    }
                }
                _ if name == RULES => self.problem(at, name, "expected tables of rules: [rules.NAME]"),
                // Of another program, unless it looks like one of ours: a limit must not be left out by a slip.
                DeValue::Table(table) if table.contains_key("quota") => {
                    self.problem(at, name, format_args!("a rule stands under `rules`: [rules.{name}]"));
                }
                DeValue::Table(_) | DeValue::Array(_) => {
                    if nearest(name, [RULES].into_iter()).is_some() {
                        self.problem(at, name, "this is read by nobody; did you mean [rules.NAME]?");
                    }
                }
                _ => self.problem(at, name, "this stands in no rule: write [rules.NAME] above it"),
            }
        }
    }

    fn rule(&mut self, name: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        let place = format!("{RULES}.{name}");
        let DeValue::Table(table) = value.get_ref() else {
            return self.problem(at, &place, "expected a table with the fields of a rule, at least quota");
        };
        let before = self.problems.len();
        let parsed = name.parse::<RuleName>().map_err(|error| self.problem(at, &place, error));
        let (mut draft, mut lines) = (Draft::default(), BTreeMap::new());
        for (field, value) in table {
            let (field, at): (&str, _) = (field.get_ref(), field.span().start);
            lines.insert(field.to_owned(), at);
            let path = format!("{place}.{field}");
            if !FIELDS.contains(&field) {
                self.problem(at, &path, unknown(&place, field, value.get_ref()));
            } else if let Err(reason) = draft.set(field, value.get_ref()) {
                self.problem(at, &path, reason);
            }
        }
        let Ok(parsed) = parsed else { return };
        if self.problems.len() > before {
            return;
        }
        let line_of = |field: &str| lines.get(field).copied().unwrap_or(at);
        match draft.finish(parsed) {
            Err((field, reason)) => self.problem(line_of(field), &format!("{place}.{field}"), reason),
            Ok((rule, warning)) => {
                if let Some((field, remark)) = warning {
                    let line = self.line(line_of(field));
                    let warning = RulesProblem::new(self.file, line, format!("{place}.{field}"), remark);
                    self.rules.warnings.push(warning);
                }
                self.rules.rules.insert(name.to_owned(), rule);
            }
        }
    }

    fn problem(&mut self, at: usize, place: &str, message: impl std::fmt::Display) {
        let line = self.line(at);
        self.problems.push(RulesProblem::new(self.file, line, place, message));
    }

    /// The line of a byte, from 1.
    fn line(&self, at: usize) -> usize {
        self.ends.partition_point(|end| *end < at) + 1
    }
}

fn unknown(place: &str, field: &str, value: &DeValue<'_>) -> String {
    if let Some(nearest) = nearest(field, FIELDS.into_iter()) {
        return format!("this is no field of a rule; did you mean `{nearest}`?");
    }
    if matches!(value, DeValue::Table(_)) {
        let name = place.trim_start_matches("rules.");
        return format!(
            "this is no field of a rule; a name with a dot is quoted: [rules.\"{name}.{field}\"]"
        );
    }
    format!("this is no field of a rule; there are {}", FIELDS.join(", "))
}
