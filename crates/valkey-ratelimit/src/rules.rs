//! Rules in a TOML file.
//!
//! ```text
//!  file --parse--> fields of each rule --Draft--> Rule          all that is wrong is told at once, with its line
//!    ^                                              |
//!    +-- RulesFile looks again every few seconds ---+           a broken file keeps the rules that were
//! ```

mod draft;
mod file;
mod problem;
mod table;

use std::collections::BTreeMap;
use std::path::Path;

pub use self::file::RulesFile;
pub use self::problem::{RulesError, RulesProblem};
use crate::rule::Rule;

/// Rules by their names.
///
/// ```
/// use valkey_ratelimit::{Algorithm, Rules};
///
/// let rules = Rules::parse(r#"
///     [rules.per-ip]
///     quota = "100/1m"
///     allow = ["10.0.0.0/8"]
///
///     [rules.ip]
///     quota = "100/1m"
///     algorithm = "sliding-log"
///     prefix = "elemta:ratelimit:"
/// "#)?;
/// assert_eq!(rules.get("ip").map(|rule| rule.algorithm()), Some(Algorithm::SlidingLog));
///
/// let error = Rules::parse("[rules.per-ip]\nqouta = \"100/1m\"").unwrap_err();
/// assert_eq!(error.to_string(), "line 2: rules.per-ip.qouta: this is no field of a rule; did you mean `quota`?");
/// # Ok::<(), valkey_ratelimit::RulesError>(())
/// ```
///
/// All fields are in `docs/rate-limiting.md`. Tables of other programs may stand in the same file: only what is under `rules` is
/// read.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: BTreeMap<String, Rule>,
    warnings: Vec<RulesProblem>,
}

impl Rules {
    /// The rules in a text.
    ///
    /// # Errors
    /// [`RulesError::Invalid`], with all that is wrong.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        table::read(None, text)
    }

    /// The rules in a file.
    ///
    /// # Errors
    /// [`RulesError::Unreadable`], [`RulesError::Invalid`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, RulesError> {
        let path = path.as_ref();
        Self::of(path, &file::read(path)?)
    }

    fn of(path: &Path, text: &str) -> Result<Self, RulesError> {
        table::read(Some(&path.display().to_string()), text)
    }

    /// Takes over those that are as they were, with what they have seen in this process.
    fn keep(&mut self, before: &Self) {
        for (name, rule) in &mut self.rules {
            if let Some(known) = before.get(name).filter(|known| *known == rule) {
                rule.clone_from(known);
            }
        }
    }

    /// The rule of a name.
    pub fn get(&self, name: &str) -> Option<&Rule> {
        self.rules.get(name)
    }

    /// All rules, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule that somebody who wrote `name` may have meant.
    pub fn nearest(&self, name: &str) -> Option<&Rule> {
        problem::nearest(name, self.rules.keys().map(String::as_str)).and_then(|name| self.get(name))
    }

    /// What is allowed, but rarely meant. [`RulesFile`] logs it.
    pub fn warnings(&self) -> &[RulesProblem] {
        &self.warnings
    }
}

#[cfg(test)]
mod tests;
