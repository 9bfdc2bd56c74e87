//! The forms that one and the same value has in messages of different writers.

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

use super::refusal::Why;

/// Ids above this are not exact in languages that know only doubles, and Telegram gives out none of more than 52 bits.
const LARGEST_ID: i64 = 1 << 53;

/// From here on a number of seconds would be past the year 5000, and so it counts milliseconds; and so on.
const SECONDS_END: f64 = 1e11;
const MILLISECONDS_END: f64 = 1e14;
const MICROSECONDS_END: f64 = 1e17;

/// A value without what stands for "nothing": null, and the empty text that Go writes for it.
pub(super) fn value(raw: &RawValue) -> Result<Option<Value>, Why> {
    // It was JSON when it was taken out of the message; what is left is its depth, and the size of numbers.
    match serde_json::from_str::<Value>(raw.get()).map_err(|_| Why::Unreadable)? {
        Value::Null => Ok(None),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        value => Ok(Some(value)),
    }
}

/// A text of at most so many characters, trimmed.
pub(super) fn text(raw: &RawValue, limit: usize) -> Result<Option<String>, Why> {
    match value(raw)? {
        None => Ok(None),
        Some(Value::String(text)) => bounded(text.trim(), limit).map(Some),
        Some(_) => Err(Why::Type { expected: "a text" }),
    }
}

/// A text, or the number that some write without quotes.
pub(super) fn text_or_number(raw: &RawValue, limit: usize) -> Result<Option<String>, Why> {
    match value(raw)? {
        None => Ok(None),
        Some(Value::String(text)) => bounded(text.trim(), limit).map(Some),
        Some(Value::Number(_)) => bounded(raw.get().trim(), limit).map(Some),
        Some(_) => Err(Why::Type { expected: "a text" }),
    }
}

/// An id: a whole number, or its text, or the double (`1.23e+08`) that Go makes of one without a type. Zero is no id.
pub(super) fn id(raw: &RawValue) -> Result<Option<i64>, Why> {
    const WRONG: Why = Why::Type { expected: "a whole number" };
    let id = match value(raw)? {
        None => return Ok(None),
        Some(Value::String(text)) => text.trim().parse().map_err(|_| WRONG)?,
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(id), _) => id,
            (None, Some(double)) if double.fract() == 0.0 && double.abs() <= LARGEST_ID as f64 => {
                double as i64
            }
            _ => return Err(WRONG),
        },
        Some(_) => return Err(WRONG),
    };
    if (-LARGEST_ID..=LARGEST_ID).contains(&id) {
        Ok(Some(id).filter(|id| *id != 0))
    } else {
        Err(Why::Range)
    }
}

/// A time: RFC 3339, or the seconds, milli-, micro- or nanoseconds since 1970, as a number or its text. Go's zero time is none.
pub(super) fn time(raw: &RawValue) -> Result<Option<Timestamp>, Why> {
    let since_1970 = match value(raw)? {
        None => return Ok(None),
        Some(Value::String(text)) => {
            let Ok(number) = text.trim().parse::<f64>() else {
                let time: Timestamp = text.trim().parse().map_err(|_| Why::Time)?;
                return Ok(Some(time).filter(|time| *time > GO_ZERO_ENDS));
            };
            number
        }
        Some(Value::Number(number)) => number.as_f64().ok_or(Why::Time)?,
        Some(_) => return Err(Why::Time),
    };
    if !since_1970.is_finite() {
        return Err(Why::Time);
    }
    let milliseconds = match since_1970.abs() {
        0.0 => return Ok(None),
        seconds if seconds < SECONDS_END => since_1970 * 1e3,
        milliseconds if milliseconds < MILLISECONDS_END => since_1970,
        microseconds if microseconds < MICROSECONDS_END => since_1970 / 1e3,
        _ => since_1970 / 1e6,
    };
    Timestamp::from_millisecond(milliseconds.round() as i64).map(Some).map_err(|_| Why::Time)
}

/// The first day of the year 1, in whatever zone: nobody has registered by then.
const GO_ZERO_ENDS: Timestamp = Timestamp::constant(-62_135_510_400, 0);

/// Texts: an array of them, or one with commas.
pub(super) fn texts(raw: &RawValue, most: usize, limit: usize) -> Result<Vec<String>, Why> {
    const WRONG: Why = Why::Type { expected: "a list of texts" };
    let texts: Vec<String> = match value(raw)? {
        None => Vec::new(),
        Some(Value::String(text)) => text.split(',').map(str::to_owned).collect(),
        Some(Value::Array(values)) => values
            .into_iter()
            .map(|value| if let Value::String(text) = value { Ok(text) } else { Err(WRONG) })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(WRONG),
    };
    let texts = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
    let texts = texts.map(|text| bounded(text, limit)).collect::<Result<Vec<_>, _>>()?;
    if texts.len() > most { Err(Why::TooLong { limit: most }) } else { Ok(texts) }
}

fn bounded(text: &str, limit: usize) -> Result<String, Why> {
    if text.chars().nth(limit).is_some() { Err(Why::TooLong { limit }) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn ids() {
        for (json, expected) in [
            ("42", Some(42)),
            ("\" 42 \"", Some(42)),
            ("-1001234567890", Some(-1_001_234_567_890)),
            ("1.23456789e+08", Some(123_456_789)),
            ("0", None),
            ("null", None),
            ("\"\"", None),
        ] {
            assert_eq!(id(&raw(json)), Ok(expected), "{json}");
        }
        for json in ["1.5", "\"42a\"", "true", "[42]", "{}", "1e300"] {
            assert!(matches!(id(&raw(json)), Err(Why::Type { .. })), "{json}");
        }
        assert_eq!(id(&raw("9007199254740993")), Err(Why::Range));
    }

    #[test]
    fn times() {
        let expected: Timestamp = "2026-11-21T20:31:00Z".parse().unwrap();
        for json in [
            "\"2026-11-21T20:31:00Z\"",
            "\"2026-11-21T23:31:00.000000000+03:00\"",
            "1795293060",
            "\"1795293060\"",
            "1795293060.0",
            "1795293060000",
            "1795293060000000",
            "1795293060000000000",
        ] {
            assert_eq!(time(&raw(json)), Ok(Some(expected)), "{json}");
        }
        for json in ["null", "0", "\"\"", "\"0001-01-01T00:00:00Z\""] {
            assert_eq!(time(&raw(json)), Ok(None), "{json}");
        }
        for json in ["\"yesterday\"", "\"2026-13-01T00:00:00Z\"", "true", "\"inf\"", "\"nan\"", "1e300"] {
            assert_eq!(time(&raw(json)), Err(Why::Time), "{json}");
        }
    }

    #[test]
    fn lists_and_texts() {
        assert_eq!(texts(&raw("[\" a \",\"b\",\"\"]"), 9, 9).unwrap(), ["a", "b"]);
        assert_eq!(texts(&raw("\"a, b\""), 9, 9).unwrap(), ["a", "b"]);
        assert!(texts(&raw("null"), 9, 9).unwrap().is_empty());
        assert!(matches!(texts(&raw("[1]"), 9, 9), Err(Why::Type { .. })));
        assert_eq!(texts(&raw("[\"a\",\"b\"]"), 1, 9), Err(Why::TooLong { limit: 1 }));
        assert_eq!(text_or_number(&raw("79990001122"), 20).unwrap().as_deref(), Some("79990001122"));
        assert!(matches!(text(&raw("7"), 20), Err(Why::Type { .. })));
        assert_eq!(text(&raw("\"äöü\""), 3).unwrap().as_deref(), Some("äöü"));
        assert_eq!(text(&raw("\"äöüß\""), 3), Err(Why::TooLong { limit: 3 }));
    }
}
