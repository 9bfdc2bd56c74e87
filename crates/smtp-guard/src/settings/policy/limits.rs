//! `[policy.limits.NAME]`: one limit of the policy service.

use serde::Deserialize;
use valkey_ratelimit::{Algorithm as Counted, Quota, Rule, RuleName};

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LimitSettings {
    /// Whom it is about.
    pub per: Per,
    /// What is counted.
    #[serde(default)]
    pub count: Count,
    /// How much in how long: `100/1m`.
    pub quota: String,
    /// How it is counted.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How much may come at once; for `gcra` only.
    #[serde(default)]
    pub burst: Option<u64>,
    /// What becomes of mail while the limit cannot be asked.
    #[serde(default)]
    pub on_unavailable: Outage,
    /// Whether it only counts and logs.
    #[serde(default)]
    pub shadow: bool,
}

/// Whom a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Per {
    /// The address of the client.
    Client,
    /// The sender's address, its domain in lower case; of the null sender, the client.
    Sender,
    /// The name under which the client has logged in, in lower case. Who has not is not limited.
    SaslUser,
    /// The domain of the recipient, in lower case. After RCPT, Postfix names the recipient only of messages with a single one:
    /// others pass there.
    RecipientDomain,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Count {
    /// Messages, each once; of one recipient domain, each once for that domain.
    #[default]
    Message,
    /// Recipients, each once for a message.
    Recipient,
}

/// How a limit counts; `valkey_ratelimit::Algorithm` says what each admits at worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Algorithm {
    /// Never more than the limit in any window.
    #[default]
    SlidingWindow,
    /// The same to the instant, in the sorted sets that other nodes know. For small limits.
    SlidingLog,
    /// A burst and then evenly.
    Gcra,
    /// An estimate, small in memory.
    SlidingCounter,
    /// Windows that begin on the hour, the minute, and so on.
    FixedWindow,
}

/// What becomes of mail while a limit cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outage {
    /// It passes, and is counted as such.
    #[default]
    Allow,
    /// It is deferred with `451 4.3.2`.
    Deny,
}

impl LimitSettings {
    /// The rule that they describe.
    ///
    /// # Errors
    /// What is wrong with them, as a sentence.
    pub fn rule(&self, name: &str) -> Result<Rule, String> {
        let name: RuleName = name.parse().map_err(text)?;
        if name.as_str() == "ip" {
            return Err("the name `ip` is that of the gate's own limit: take another".to_owned());
        }
        let quota: Quota = self.quota.parse().map_err(text)?;
        let algorithm = match (self.algorithm, self.burst) {
            (Algorithm::Gcra, Some(burst)) if burst > 0 => Counted::Gcra { burst },
            (Algorithm::Gcra, _) => return Err("gcra needs a burst above 0, as in burst = 20".to_owned()),
            (_, Some(_)) => {
                return Err("only gcra has a burst: remove it, or take algorithm = \"gcra\"".to_owned());
            }
            (Algorithm::SlidingWindow, None) => Counted::SlidingWindow,
            (Algorithm::SlidingLog, None) => Counted::SlidingLog,
            (Algorithm::SlidingCounter, None) => Counted::SlidingCounter,
            (Algorithm::FixedWindow, None) => Counted::FixedWindow,
        };
        Ok(Rule::new(name, quota).with_algorithm(algorithm))
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
