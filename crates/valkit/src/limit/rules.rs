//! Which rule a verb is about.

use std::path::PathBuf;

use clap::Args;
use valkey_ratelimit::{Algorithm, Prefix, Quota, Rule, RuleName, Rules};

use crate::{context::Context, failure::Failure};

/// Where rules come from: a file, or the command line.
#[derive(Args)]
#[command(next_help_heading = "Where the rule comes from")]
pub(super) struct Origin {
    /// Rules from a TOML file
    #[arg(long, value_name = "FILE", env = "VALKIT_RULES", hide_env_values = true)]
    rules: Option<PathBuf>,
    /// A rule without a file: how much in how long, such as 100/1m
    #[arg(long, value_name = "N/TIME")]
    quota: Option<Quota>,
    /// How it is counted: sliding-window, sliding-log, gcra, sliding-counter or fixed-window
    #[arg(long, value_name = "NAME", requires = "quota", default_value = Algorithm::default().name(), hide_default_value = true)]
    algorithm: String,
    /// How much may come at once; gcra needs it
    #[arg(long, value_name = "N", requires = "quota", value_parser = clap::value_parser!(u64).range(1..))]
    burst: Option<u64>,
    /// What the rule is called, which is a part of its keys
    #[arg(long, value_name = "NAME", requires = "quota", default_value = "cli")]
    name: RuleName,
    /// What its keys begin with
    #[arg(long, value_name = "TEXT", requires = "quota", default_value = valkey_ratelimit::PREFIX)]
    prefix: Prefix,
}

impl Origin {
    /// The rules of these names, separated by commas; without any, that of the command line.
    pub(super) fn rules(&self, names: Option<&str>, context: &Context) -> Result<Vec<Rule>, Failure> {
        match (names, self.quota) {
            (None, Some(quota)) => Ok(vec![self.own(quota)?]),
            (Some(names), None) => {
                let rules = self.file(context)?;
                names.split(',').map(|name| find(&rules, name.trim())).collect()
            }
            (Some(names), Some(_)) => Err(Failure::usage(
                format!("there is a quota, and a rule {names} beside it"),
                "without --quota, the rule is looked for in the file; with it, the rule is called --name",
            )),
            (None, None) => Err(Failure::usage(
                "there is no rule",
                "RULE of the file --rules, or --quota 100/1m without a file",
            )),
        }
    }

    /// The rule of this name; without any, that of the command line.
    pub(super) fn rule(&self, name: Option<&str>, context: &Context) -> Result<Rule, Failure> {
        if let (Some(name), None) = (name, self.quota) {
            if name.contains(',') {
                return Err(Failure::usage(
                    format!("{name}: one rule at a time"),
                    "valkit limit check and top take several",
                ));
            }
            return find(&self.file(context)?, name);
        }
        // Without a name there is one rule, or a failure.
        let mut rules = self.rules(name, context)?;
        rules.pop().ok_or_else(|| Failure::Failed("there is no rule".to_owned()))
    }

    /// All rules of the file; without a file, that of the command line.
    pub(super) fn all(&self, context: &Context) -> Result<Vec<Rule>, Failure> {
        match self.quota {
            Some(quota) => Ok(vec![self.own(quota)?]),
            None => Ok(self.file(context)?.iter().cloned().collect()),
        }
    }

    fn own(&self, quota: Quota) -> Result<Rule, Failure> {
        let algorithm = Algorithm::named(&self.algorithm, self.burst).map_err(|invalid| {
            Failure::usage(invalid.to_string(), "--algorithm NAME, and for gcra --burst N")
        })?;
        Ok(Rule::new(self.name.clone(), quota).with_algorithm(algorithm).with_prefix(self.prefix.clone()))
    }

    fn file(&self, context: &Context) -> Result<Rules, Failure> {
        let Some(path) = &self.rules else {
            return Err(Failure::usage(
                "there is no file of rules",
                "--rules FILE or VALKIT_RULES; or a rule without a file: --quota 100/1m",
            ));
        };
        let rules = Rules::load(path)?;
        for warning in rules.warnings() {
            context.hint(&warning.to_string());
        }
        Ok(rules)
    }
}

fn find(rules: &Rules, name: &str) -> Result<Rule, Failure> {
    rules.get(name).cloned().ok_or_else(|| {
        let near = rules.nearest(name).map(|rule| format!("did you mean {}?", rule.name()));
        let all = || rules.iter().map(|rule| rule.name().as_str()).collect::<Vec<_>>().join(", ");
        let hint = near.unwrap_or_else(|| {
            if rules.is_empty() {
                "the file has no rules".to_owned()
            } else {
                format!("the file has {}", all())
            }
        });
        Failure::NoRule { name: name.to_owned(), hint }
    })
}
