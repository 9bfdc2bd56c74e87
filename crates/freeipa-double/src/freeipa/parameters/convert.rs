//! From JSON to the type of a parameter. What cannot be is 3008.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::{Setting, Value, from_generalized};
use crate::freeipa::error::RpcError;
use crate::freeipa::facts::{Kind, Parameter};

/// The forms in which a time may be written.
const FORMS: [&str; 6] = [
    "%Y%m%d%H%M%SZ",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%MZ",
    "%Y-%m-%dZ",
    "%Y-%m-%d %H:%M:%SZ",
    "%Y-%m-%d %H:%MZ",
];

/// The value, or `None` where nothing was given in so many words: `null`, `""`, `[]`, `{}`.
pub(super) fn convert(
    parameter: &Parameter,
    json: &Json,
    setting: Setting<'_>,
) -> Result<Option<Value>, RpcError> {
    if is_empty(json) {
        return Ok(None);
    }
    if !parameter.many {
        return scalar(parameter, json, setting).map(Some);
    }
    let values: Vec<&Json> = match json {
        Json::Array(values) => values.iter().filter(|value| !is_empty(value)).collect(),
        one => vec![one],
    };
    if parameter.kind == Kind::Calls {
        return calls(parameter, &values).map(|calls| (!calls.is_empty()).then_some(Value::Calls(calls)));
    }
    let mut texts = Vec::with_capacity(values.len());
    for value in values {
        texts.extend(scalar(parameter, value, setting)?.stored());
    }
    Ok((!texts.is_empty()).then_some(Value::Many(texts)))
}

fn is_empty(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(values) => values.is_empty(),
        Json::Object(members) => members.is_empty(),
        Json::Bool(_) | Json::Number(_) => false,
    }
}

fn scalar(parameter: &Parameter, json: &Json, setting: Setting<'_>) -> Result<Value, RpcError> {
    match parameter.kind {
        Kind::Number(_) => number(json)
            .map(Value::Number)
            .ok_or_else(|| RpcError::conversion(parameter.cli, "must be an integer")),
        Kind::Switch => switch(parameter, json).map(Value::Switch),
        Kind::Moment => moment(parameter, json, setting.now).map(Value::Moment),
        Kind::Name { .. } => text(parameter, json).map(|text| Value::Text(text.to_lowercase())),
        Kind::Password => password(parameter, json).map(Value::Text),
        Kind::Principal => principal(parameter, json, setting.realm).map(Value::Text),
        Kind::OneOf(_) => match json {
            Json::String(text) => Ok(Value::Text(text.clone())),
            _ => Err(RpcError::conversion(parameter.name, "incorrect type")),
        },
        Kind::Certificate => Err(RpcError::new(
            4302,
            "CertificateFormatError",
            "Certificate format error: unknown",
            &Json::Null,
        )),
        Kind::Text | Kind::Verbatim | Kind::Languages | Kind::Pair | Kind::Calls => {
            text(parameter, json).map(Value::Text)
        }
    }
}

/// Numbers become text, nothing else does.
fn text(parameter: &Parameter, json: &Json) -> Result<String, RpcError> {
    match json {
        Json::String(text) => Ok(text.clone()),
        Json::Number(number) => Ok(number.to_string()),
        Json::Array(_) => Err(RpcError::conversion(parameter.name, "Only one value is allowed")),
        _ => Err(RpcError::conversion(parameter.name, "must be Unicode text")),
    }
}

/// Text, or the same text twice.
fn password(parameter: &Parameter, json: &Json) -> Result<String, RpcError> {
    match json {
        Json::Array(both) if both.len() == 2 && both[0] == both[1] => text(parameter, &both[0]),
        Json::Array(both) if both.len() == 2 => {
            let data = serde_json::json!({"name": parameter.name});
            Err(RpcError::new(3011, "PasswordMismatch", "Passwords do not match", &data))
        }
        one => text(parameter, one),
    }
}

fn number(json: &Json) -> Option<i64> {
    match json {
        Json::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)),
        Json::String(text) => {
            let text = text.trim();
            match text.strip_prefix("0x") {
                Some(hexadecimal) => i64::from_str_radix(hexadecimal, 16).ok(),
                None if text.contains('.') => text.parse::<f64>().ok().map(|float| float as i64),
                // Too large for us is too large for any rule, too.
                None => text
                    .parse::<i128>()
                    .ok()
                    .map(|number| number.clamp(i64::MIN.into(), i64::MAX.into()) as i64),
            }
        }
        _ => None,
    }
}

fn switch(parameter: &Parameter, json: &Json) -> Result<bool, RpcError> {
    let found = match json {
        Json::Bool(on) => Some(*on),
        Json::Number(number) => match number.as_f64() {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        },
        Json::String(text) => match text.to_lowercase().as_str() {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        },
        // The server trips over these.
        Json::Array(_) | Json::Object(_) => return Err(RpcError::internal()),
        Json::Null => None,
    };
    found.ok_or_else(|| RpcError::conversion(parameter.name, "must be True or False"))
}

fn moment(parameter: &Parameter, json: &Json, now: Timestamp) -> Result<Timestamp, RpcError> {
    if let Some(marked) = json.get("__datetime__").and_then(Json::as_str) {
        return from_generalized(marked).ok_or_else(|| {
            RpcError::json(&format!("time data '{marked}' does not match format '{}'", FORMS[0]))
        });
    }
    let Json::String(text) = json else {
        return Err(RpcError::conversion(parameter.name, "must be datetime value"));
    };
    if text == "now" {
        return Ok(now);
    }
    FORMS.iter().find_map(|form| in_form(form, text)).ok_or_else(|| {
        let why = format!("does not match any of accepted formats: {}", FORMS.join(", "));
        RpcError::conversion(parameter.cli, &why)
    })
}

fn in_form(form: &str, text: &str) -> Option<Timestamp> {
    let form = form.strip_suffix('Z')?;
    let text = text.strip_suffix('Z')?;
    let civil = match DateTime::strptime(form, text) {
        Ok(civil) => civil,
        Err(_) if !form.contains("%H") => jiff::civil::Date::strptime(form, text).ok()?.into(),
        Err(_) => return None,
    };
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// In lower case before the realm, which is ours if none is named.
fn principal(parameter: &Parameter, json: &Json, realm: &str) -> Result<String, RpcError> {
    let Json::String(text) = json else {
        return Err(RpcError::conversion(parameter.name, "must be Kerberos principal"));
    };
    let malformed = || RpcError::conversion(parameter.cli, &format!("Malformed principal: '{text}'"));
    let (name, of) = match text.split('@').collect::<Vec<_>>()[..] {
        [name] => (name, realm),
        [name, of] if !of.is_empty() => (name, of),
        _ => return Err(malformed()),
    };
    // Only the first part of a name is a user's.
    let (user, rest) =
        name.split_once('/').map_or((name, String::new()), |(user, rest)| (user, format!("/{rest}")));
    Ok(format!("{}{rest}@{}", user.to_lowercase(), of.to_uppercase()))
}

/// The calls of a batch; one more list around them is taken, too.
fn calls(parameter: &Parameter, values: &[&Json]) -> Result<Vec<Json>, RpcError> {
    let values: Vec<&Json> = match values {
        [Json::Array(inner)] => inner.iter().collect(),
        values => values.to_vec(),
    };
    values
        .into_iter()
        .map(|value| {
            value
                .is_object()
                .then(|| value.clone())
                .ok_or_else(|| RpcError::conversion(parameter.name, "must be dictionary"))
        })
        .collect()
}
