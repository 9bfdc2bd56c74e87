//! Checks what a call gives, as the server does before it runs a command.
//!
//! The order decides which of several faults is told: the version, unknown options, conversions (3008) of options and
//! then of arguments, and at last what is missing (3007) or breaks a rule (3009), parameter by parameter. Names are
//! looked at first of all where others are made of them.

mod convert;
mod rules;

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

pub(crate) use self::rules::is_name;
use crate::freeipa::error::RpcError;
use crate::freeipa::facts::{Command, Need, Parameter};

/// A value of a parameter, converted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Many(Vec<String>),
    Number(i64),
    Switch(bool),
    Moment(Timestamp),
    Calls(Vec<Json>),
}

/// What a call gave, checked and with defaults filled in. `None` stands for what was given empty.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    values: BTreeMap<&'static str, Option<Value>>,
}

/// What conversions and rules depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) realm: &'a str,
    pub(crate) now: Timestamp,
}

// === impl Parameters ===

impl Parameters {
    /// Checks arguments and options.
    pub(crate) fn check(
        command: &'static Command,
        arguments: &[Json],
        options: &Map<String, Json>,
        setting: Setting<'_>,
    ) -> Result<Self, RpcError> {
        let given = gather(command, arguments, options)?;
        let mut parameters = Self::default();
        if command.name.ends_with("user_add") {
            parameters.fill_names(command, &given, setting)?;
        }
        // What has a place of its own comes last here.
        let is_placed =
            |parameter: &&Parameter| command.arguments.iter().any(|other| other.name == parameter.name);
        let (placed, named): (Vec<&Parameter>, Vec<&Parameter>) = command.in_order().partition(is_placed);
        for parameter in named.into_iter().chain(placed) {
            if let Some(json) = given.get(parameter.name) {
                parameters.values.insert(parameter.name, convert::convert(parameter, json, setting)?);
            } else if let Some(default) = parameter.default {
                parameters.values.insert(parameter.name, Some(Value::Switch(default)));
            }
        }
        for parameter in command.in_order() {
            parameters.rule(parameter, setting)?;
        }
        Ok(parameters)
    }

    /// First and last name, and the login; then what is made of them where it was not given.
    fn fill_names(
        &mut self,
        command: &'static Command,
        given: &BTreeMap<&'static str, Cow<'_, Json>>,
        setting: Setting<'_>,
    ) -> Result<(), RpcError> {
        for name in ["givenname", "sn", "uid"] {
            let Some(parameter) = command.in_order().find(|parameter| parameter.name == name) else {
                continue;
            };
            if let Some(json) = given.get(name) {
                self.values.insert(parameter.name, convert::convert(parameter, json, setting)?);
            } else if let ("uid", Some(first), Some(last)) = (name, self.text("givenname"), self.text("sn")) {
                let login = format!("{}{last}", first.chars().next().unwrap_or_default()).to_lowercase();
                self.values.insert(parameter.name, Some(Value::Text(login)));
            }
            self.rule(parameter, setting)?;
        }
        let (Some(first), Some(last), Some(login)) =
            (self.text("givenname"), self.text("sn"), self.text("uid"))
        else {
            return Ok(());
        };
        let full = format!("{first} {last}");
        let initials: String = first.chars().take(1).chain(last.chars().take(1)).collect();
        let principal = format!("{login}@{}", setting.realm);
        for (name, value) in [
            ("cn", Value::Text(full.clone())),
            ("displayname", Value::Text(full.clone())),
            ("gecos", Value::Text(full)),
            ("initials", Value::Text(initials)),
            ("krbprincipalname", Value::Many(vec![principal])),
        ] {
            if !given.contains_key(name) {
                self.values.insert(name, Some(value));
            }
        }
        Ok(())
    }

    fn rule(&self, parameter: &Parameter, setting: Setting<'_>) -> Result<(), RpcError> {
        match self.values.get(parameter.name) {
            Some(Some(_)) if parameter.deprecated => {
                Err(RpcError::validation(parameter.cli, "this option is deprecated"))
            }
            Some(Some(value)) => rules::rule(parameter, value, setting),
            given => {
                let missing = match parameter.need {
                    Need::Optional => false,
                    Need::Required => true,
                    Need::NotEmptied => given.is_some(),
                };
                if missing { Err(RpcError::required(parameter.name)) } else { Ok(()) }
            }
        }
    }

    /// Checks values that were given for one parameter by its name.
    pub(crate) fn check_one(
        parameter: &Parameter,
        values: &[String],
        setting: Setting<'_>,
    ) -> Result<Vec<String>, RpcError> {
        let json = match values {
            [one] if !parameter.many => Json::from(one.as_str()),
            values => Json::from(values),
        };
        match convert::convert(parameter, &json, setting)? {
            Some(value) => rules::rule(parameter, &value, setting).map(|()| value.stored()),
            None if parameter.need != Need::Optional => Err(RpcError::required(parameter.name)),
            None => Ok(Vec::new()),
        }
    }

    /// Whether it was given, be it empty.
    pub(crate) fn was_given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name).and_then(Option::as_ref)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The values of one that takes many; none if it was not given.
    pub(crate) fn many(&self, name: &str) -> &[String] {
        match self.get(name) {
            Some(Value::Many(values)) => values,
            _ => &[],
        }
    }

    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn switch(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Switch(true)))
    }

    pub(crate) fn calls(&self) -> &[Json] {
        match self.get("methods") {
            Some(Value::Calls(calls)) => calls,
            _ => &[],
        }
    }

    /// All that were given or filled in, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, Option<&Value>)> {
        self.values.iter().map(|(name, value)| (*name, value.as_ref()))
    }
}

// === impl Value ===

impl Value {
    /// As the directory keeps it.
    pub(crate) fn stored(&self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text.clone()],
            Self::Many(values) => values.clone(),
            Self::Number(number) => vec![number.to_string()],
            Self::Switch(on) => vec![if *on { "TRUE" } else { "FALSE" }.to_owned()],
            Self::Moment(moment) => vec![generalized(*moment)],
            Self::Calls(_) => vec![],
        }
    }
}

/// A time as LDAP writes it.
pub(crate) fn generalized(moment: Timestamp) -> String {
    moment.strftime("%Y%m%d%H%M%SZ").to_string()
}

/// A time as LDAP writes it, read back.
pub(crate) fn from_generalized(text: &str) -> Option<Timestamp> {
    let civil = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text.strip_suffix('Z')?).ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Arguments and options in one map.
fn gather<'a>(
    command: &'static Command,
    arguments: &'a [Json],
    options: &'a Map<String, Json>,
) -> Result<BTreeMap<&'static str, Cow<'a, Json>>, RpcError> {
    if let Some(most) = command.most_arguments()
        && arguments.len() > most
    {
        return Err(match most {
            0 => RpcError::no_arguments(command.name),
            most => RpcError::too_many_arguments(command.name, most),
        });
    }
    let mut given = BTreeMap::new();
    let known = || command.arguments.iter().chain(&command.options);
    for (name, json) in options {
        let parameter =
            known().find(|parameter| parameter.name == name).ok_or_else(|| RpcError::unknown_option(name))?;
        given.insert(parameter.name, Cow::Borrowed(json));
    }
    let placed = place(command, arguments);
    let both: Vec<&str> = placed.keys().copied().filter(|name| given.contains_key(name)).collect();
    if !both.is_empty() {
        return Err(RpcError::overlap(&both));
    }
    given.extend(placed);
    Ok(given)
}

/// Arguments by their parameters. The last takes all that are left, if it takes many.
fn place<'a>(command: &'static Command, arguments: &'a [Json]) -> BTreeMap<&'static str, Cow<'a, Json>> {
    let places = command.arguments.iter().enumerate();
    places
        .filter_map(|(at, parameter)| {
            let given = match &arguments[at.min(arguments.len())..] {
                [] => return None,
                [one, _, ..] if !parameter.many => Cow::Borrowed(one),
                [one] => Cow::Borrowed(one),
                several => Cow::Owned(Json::from(several)),
            };
            Some((parameter.name, given))
        })
        .collect()
}
