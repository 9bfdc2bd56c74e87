//! The fields of one rule, as they stand in a file.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::str::FromStr;

use toml::de::{DeTable, DeValue};

use super::problem::nearest;
use crate::algorithm::{Algorithm, InvalidAlgorithm};
use crate::allow::AllowList;
use crate::quota::Quota;
use crate::rule::{InvalidRule, Network, Prefix, Rule, RuleName, Share};
use crate::unavailable::OnUnavailable;

/// What a rule can say.
pub(super) const FIELDS: [&str; 12] = [
    "quota",
    "algorithm",
    "burst",
    "prefix",
    "on_unavailable",
    "nodes",
    "lease",
    "shadow",
    "address_bits",
    "networks",
    "allow",
    "most_subjects",
];

#[derive(Default)]
pub(super) struct Draft {
    quota: Option<Quota>,
    algorithm: Option<String>,
    burst: Option<u64>,
    prefix: Option<Prefix>,
    on_unavailable: Option<String>,
    nodes: Option<NonZeroU32>,
    lease: Option<Share>,
    shadow: bool,
    address_bits: Bits,
    networks: Vec<Network>,
    allow: AllowList,
    most_subjects: Option<usize>,
}

#[derive(Clone, Copy)]
struct Bits {
    v4: u8,
    v6: u8,
}

/// A field, and what is wrong with it.
pub(super) type Wrong = (&'static str, String);

impl Default for Bits {
    fn default() -> Self {
        Self { v4: 32, v6: 128 }
    }
}

impl Draft {
    /// Takes one of [`FIELDS`].
    pub(super) fn set(&mut self, field: &str, value: &DeValue<'_>) -> Result<(), String> {
        match field {
            "quota" => self.quota = Some(parsed(value)?),
            "algorithm" => self.algorithm = Some(text(value)?.to_owned()),
            "burst" => self.burst = Some(number(value, 1, u64::MAX)?),
            "prefix" => self.prefix = Some(parsed(value)?),
            "on_unavailable" => self.on_unavailable = Some(choice(value, &["allow", "deny", "local"])?),
            "nodes" => {
                self.nodes = NonZeroU32::new(number(value, 1, u64::from(u32::MAX))? as u32);
            }
            "lease" => self.lease = Some(parsed(value)?),
            "shadow" => self.shadow = boolean(value)?,
            "address_bits" => self.address_bits = bits(table(value)?, &["v4", "v6"])?,
            "networks" => self.networks = steps(value)?,
            "allow" => self.allow = AllowList::parse(texts(value)?).map_err(told)?,
            "most_subjects" => self.most_subjects = Some(number(value, 1, u64::from(u32::MAX))? as usize),
            _ => debug_assert!(false, "`{field}` is in FIELDS, and not taken"),
        }
        Ok(())
    }

    /// The rule, and what speaks against it.
    pub(super) fn finish(self, name: RuleName) -> Result<(Rule, Option<Wrong>), Wrong> {
        let Some(quota) = self.quota else {
            return Err(("quota", "it is missing: how much in how long, such as \"100/1m\"".to_owned()));
        };
        let mut rule = Rule::new(name, quota)
            .with_algorithm(self.counted(quota)?)
            .with_on_unavailable(self.in_an_outage()?)
            .with_address_bits(self.address_bits.v4, self.address_bits.v6)
            .with_allowed(self.allow);
        if let Some(prefix) = self.prefix {
            rule = rule.with_prefix(prefix);
        }
        if let Some(share) = self.lease {
            rule = rule.with_lease(share);
        }
        if self.shadow {
            rule = rule.shadow();
        }
        if let Some(most) = self.most_subjects {
            rule = rule.with_most_subjects(most);
        }
        let mut narrower = self.address_bits;
        for network in self.networks {
            if network.v4 >= narrower.v4 || network.v6 >= narrower.v6 {
                let Bits { v4, v6 } = narrower;
                let why =
                    format!("each network is wider than the one before: v4 below {v4} and v6 below {v6}");
                return Err(("networks", why));
            }
            narrower = Bits { v4: network.v4, v6: network.v6 };
            rule = rule.with_network(network);
        }
        // The place names the rule already.
        let said = format!("rule {}: ", rule.name());
        let short = |text: String| text.strip_prefix(&said).map_or(text.clone(), str::to_owned);
        rule.validate().map_err(|invalid| {
            let field = match invalid {
                InvalidRule::LeasedLog { .. } => "lease",
                InvalidRule::Prefix { .. } => "prefix",
                InvalidRule::LogTooLong { .. } => "algorithm",
            };
            (field, short(invalid.to_string()))
        })?;
        let field = if rule.lease().is_some() { "lease" } else { "algorithm" };
        let warning = rule.warning().map(|warning| (field, short(warning)));
        Ok((rule, warning))
    }

    fn in_an_outage(&self) -> Result<OnUnavailable, Wrong> {
        match (self.on_unavailable.as_deref(), self.nodes) {
            (Some("local"), Some(nodes)) => Ok(OnUnavailable::Local { nodes }),
            (Some("local"), None) => {
                Err(("on_unavailable", "local needs nodes: how many processes share the limit".to_owned()))
            }
            (_, Some(_)) => Err(("nodes", "this says nothing without on_unavailable = \"local\"".to_owned())),
            (Some("allow"), None) => Ok(OnUnavailable::Allow),
            (_, None) => Ok(OnUnavailable::Deny),
        }
    }

    fn counted(&self, quota: Quota) -> Result<Algorithm, Wrong> {
        let name = self.algorithm.as_deref().unwrap_or(Algorithm::default().name());
        let algorithm = Algorithm::named(name, self.burst).map_err(|invalid| match invalid {
            InvalidAlgorithm::Burst(_) => ("burst", invalid.to_string()),
            _ => ("algorithm", invalid.to_string()),
        })?;
        let quotas = self.networks.iter().map(|network| network.quota).chain([quota]);
        match (self.burst, quotas.map(Algorithm::most_burst).min()) {
            (Some(burst), Some(most)) if burst > most => Err((
                "burst",
                format!("{burst} would not drain in a hundred years: at most {most} for this quota"),
            )),
            _ => Ok(algorithm),
        }
    }
}

fn told(error: impl Display) -> String {
    error.to_string()
}

fn kind(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("the text {text:?}"),
        DeValue::String(_) => "a text".to_owned(),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    match value {
        DeValue::String(text) => Ok(text),
        other => Err(format!("expected a text in quotes, found {}", kind(other))),
    }
}

fn parsed<T: FromStr>(value: &DeValue<'_>) -> Result<T, String>
where
    T::Err: Display,
{
    text(value)?.parse().map_err(told)
}

fn number(value: &DeValue<'_>, least: u64, most: u64) -> Result<u64, String> {
    let found = match value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    found.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        let range =
            if most == u64::MAX { format!("from {least}") } else { format!("from {least} to {most}") };
        format!("expected a whole number {range}, found {}", kind(value))
    })
}

fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(value) => Ok(*value),
        other => Err(format!("expected true or false, found {}", kind(other))),
    }
}

fn choice(value: &DeValue<'_>, all: &[&'static str]) -> Result<String, String> {
    let text = text(value)?;
    if all.contains(&text) {
        return Ok(text.to_owned());
    }
    let hint = nearest(text, all.iter().copied())
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Err(format!("`{text}` is none of {}{hint}", all.join(", ")))
}

fn table<'v, 'i>(value: &'v DeValue<'i>) -> Result<&'v DeTable<'i>, String> {
    match value {
        DeValue::Table(table) => Ok(table),
        other => Err(format!("expected a table in braces, found {}", kind(other))),
    }
}

fn list<'v, 'i>(value: &'v DeValue<'i>) -> Result<impl Iterator<Item = &'v DeValue<'i>>, String> {
    match value {
        DeValue::Array(items) => Ok(items.iter().map(toml::Spanned::get_ref)),
        other => Err(format!("expected a list in brackets, found {}", kind(other))),
    }
}

fn texts<'v>(value: &'v DeValue<'_>) -> Result<Vec<&'v str>, String> {
    list(value)?.map(text).collect()
}

/// How many leading bits of an address count; fields that are not there are whole addresses.
fn bits(table: &DeTable<'_>, fields: &[&'static str]) -> Result<Bits, String> {
    if let Some((field, _)) = table.iter().find(|(field, _)| !fields.contains(&&**field.get_ref())) {
        return Err(format!("`{}` has no place here; there are {}", field.get_ref(), fields.join(", ")));
    }
    let bits = |field: &str, most: u8| match table.get(field) {
        None => Ok(most),
        Some(value) => match number(value.get_ref(), 0, u64::from(most)) {
            Ok(bits) => Ok(bits as u8),
            Err(reason) => Err(format!("{field}: {reason}")),
        },
    };
    Ok(Bits { v4: bits("v4", 32)?, v6: bits("v6", 128)? })
}

fn steps(value: &DeValue<'_>) -> Result<Vec<Network>, String> {
    let step = |value| {
        let table = table(value)?;
        for field in ["v4", "v6", "quota"] {
            if !table.contains_key(field) {
                return Err(format!("{field} is missing, as in {{ v4 = 24, v6 = 48, quota = \"1000/1m\" }}"));
            }
        }
        let Bits { v4, v6 } = bits(table, &["v4", "v6", "quota"])?;
        let quota = parsed(table["quota"].get_ref()).map_err(|reason| format!("quota: {reason}"))?;
        Ok(Network { v4, v6, quota })
    };
    let numbered = |(at, value)| step(value).map_err(|reason| format!("network {}: {reason}", at + 1));
    list(value)?.enumerate().map(numbered).collect()
}
