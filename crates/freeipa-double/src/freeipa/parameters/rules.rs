//! The rules that values have to keep. What breaks one is 3009, under the parameter's other name.

use super::{Setting, Value};
use crate::freeipa::error::RpcError;
use crate::freeipa::facts::{Kind, Parameter};

/// The longest name of a user or group that anybody could allow.
const LONGEST: usize = 255;
/// The largest number.
const LARGEST: i64 = 2_147_483_647;

/// Whether a value keeps the rules of its parameter.
pub(super) fn rule(parameter: &Parameter, value: &Value, setting: Setting<'_>) -> Result<(), RpcError> {
    if !parameter.ruled {
        return Ok(());
    }
    let broken = match value {
        Value::Text(text) => text_rule(parameter.kind, text),
        Value::Many(values) => values.iter().find_map(|text| text_rule(parameter.kind, text)),
        Value::Number(number) => number_rule(parameter.kind, *number),
        Value::Switch(_) | Value::Moment(_) | Value::Calls(_) => None,
    };
    if let Some(why) = broken {
        return Err(RpcError::validation(parameter.cli, &why));
    }
    if parameter.kind == Kind::Principal
        && let Value::Many(values) = value
        && values.iter().any(|principal| !principal.ends_with(&format!("@{}", setting.realm)))
    {
        let text = "The realm for the principal does not match the realm for this IPA server";
        return Err(RpcError::new(4005, "RealmMismatch", text, &serde_json::json!({})));
    }
    Ok(())
}

fn text_rule(kind: Kind, text: &str) -> Option<String> {
    match kind {
        Kind::Name { of } => name_rule(of, text),
        Kind::Text => padding(text),
        Kind::Languages if is_language_list(text) => padding(text),
        Kind::Pair if padding(text).is_some() => padding(text),
        Kind::OneOf(values) if !values.contains(&text) => {
            let values: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
            Some(format!("must be one of {}", values.join(", ")))
        }
        Kind::Languages => Some("must match RFC 2068 - 14.4, e.g., \"da, en-gb;q=0.8, en;q=0.7\"".to_owned()),
        Kind::Pair if !text.contains('=') => Some("Invalid format. Should be name=value".to_owned()),
        _ => None,
    }
}

fn name_rule(of: &str, text: &str) -> Option<String> {
    if text.chars().count() > LONGEST {
        return Some(format!("can be at most {LONGEST} characters"));
    }
    // A line's end is no part of what the rule looks at, and is refused all the same.
    if text.strip_suffix('\n').is_some_and(is_name) {
        return padding(text);
    }
    (!is_name(text)).then(|| {
        format!(
            "may only include letters, numbers, _, -, . and $, refer to 'ipa help {of}' for complete format \
             description"
        )
    })
}

/// The server's rule for names: not digits alone, no `-` at the beginning, `$` at the end only.
pub(crate) fn is_name(text: &str) -> bool {
    let in_name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.');
    let [first, rest @ ..] = text.as_bytes() else { return false };
    let (middle, last) = match rest {
        [middle @ .., last] => (middle, Some(*last)),
        [] => (rest, None),
    };
    in_name(*first)
        && middle.iter().all(|c| in_name(*c) || *c == b'-')
        && last.is_none_or(|c| in_name(c) || matches!(c, b'-' | b'$'))
        && !text.bytes().all(|c| c.is_ascii_digit())
}

fn padding(text: &str) -> Option<String> {
    (text.trim() != text).then(|| "Leading and trailing spaces are not allowed".to_owned())
}

fn number_rule(kind: Kind, number: i64) -> Option<String> {
    match kind {
        Kind::Number(least) if number < least => Some(format!("must be at least {least}")),
        Kind::Number(_) if number > LARGEST => Some(format!("can be at most {LARGEST}")),
        _ => None,
    }
}

/// `*`, or languages of up to eight letters with an optional region and weight, between commas.
fn is_language_list(text: &str) -> bool {
    let last = text.matches(',').count();
    text == "*"
        || text.split(',').enumerate().all(|(at, part)| {
            // Spaces are for around commas.
            let part = if at == 0 { part } else { part.trim_start() };
            is_language(if at == last { part.strip_suffix('\n').unwrap_or(part) } else { part.trim_end() })
        })
}

fn is_language(part: &str) -> bool {
    let (language, weight) = match part.split_once(";q=") {
        Some((language, weight)) => (language, Some(weight)),
        None => (part, None),
    };
    let letters = |text: &str| (1..=8).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphabetic());
    let named = match language.split_once('-') {
        Some((language, region)) => letters(language) && letters(region),
        None => letters(language),
    };
    named && weight.is_none_or(is_weight)
}

fn is_weight(weight: &str) -> bool {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|c| c.is_ascii_digit());
    match whole {
        "0" => digits,
        "1" => digits && fraction.bytes().all(|c| c == b'0'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_server_has_them() {
        for good in ["a", "7a", "_x", ".x", "tg.boris", "a-b", "host$", "a-", "a.b_c-d"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "123", "a b", " a", "a ", "борис", "a$b", "$", "a/b", "a@b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn languages_are_as_the_rfc_has_them() {
        for good in ["*", "en", "da, en-gb;q=0.8, en;q=0.7", "en;q=1.000", "ru-RU"] {
            assert!(is_language_list(good), "{good}");
        }
        for bad in ["", "englishmen-gb", "en;q=2", "en_US", "1", "en;q=0.1234", "en,,ru", "en ", " en"] {
            assert!(!is_language_list(bad), "{bad}");
        }
    }
}
