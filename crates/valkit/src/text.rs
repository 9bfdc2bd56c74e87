//! Numbers, times and bytes as people read them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::RawValue;
use valkey_envelope::Envelope;

/// A duration in its two largest units: `4ms`, `12s`, `3m 5s`, `2h 10m`, `3d 4h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let pair = |large: u64, l: &str, small: u64, s: &str| {
        if small == 0 { format!("{large}{l}") } else { format!("{large}{l} {small}{s}") }
    };
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..=59 => format!("{seconds}s"),
        60..=3_599 => pair(seconds / 60, "m", seconds % 60, "s"),
        3_600..=86_399 => pair(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// A duration, or a dash.
pub(crate) fn optional(duration_: Option<Duration>) -> String {
    duration_.map_or_else(|| "-".to_owned(), duration)
}

/// `1 message`, `2 messages`: the noun without its `s`, unless it is more than one.
pub(crate) fn counted(count: impl TryInto<u64>, one: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// A rate by the time in which it is a whole number: `100/1s`, `30/1m`.
pub(crate) fn rate(a_second: f64) -> String {
    const TIMES: [(&str, f64); 4] = [("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];
    let whole = |value: f64| value.round() >= 1.0 && (value - value.round()).abs() < 1e-6 * value;
    let found = TIMES.into_iter().find(|(_, seconds)| whole(a_second * seconds));
    found.map_or_else(
        || format!("{a_second}/1s"),
        |(unit, seconds)| format!("{}/1{unit}", (a_second * seconds).round()),
    )
}

/// Bytes: `17 B`, `1.5 KiB`, `3.0 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// An instant, in UTC to the millisecond.
pub(crate) fn instant(ms: u64) -> String {
    let timestamp = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(|| format!("{ms} ms"), |timestamp| format!("{timestamp:.3}"))
}

/// The text with everything that could act on a terminal escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Besides control characters: those that reorder a line without being seen.
        if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The same for what may have several lines: they stay.
pub(crate) fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// The beginning of some bytes on one line, for a table.
pub(crate) fn preview(bytes: &[u8], most: usize) -> String {
    let mut text: String = String::from_utf8_lossy(bytes).chars().take(most).collect();
    if text.len() < bytes.len() {
        text.push('…');
    }
    printable(&text)
}

/// A message for programs: the envelope as JSON, or the bytes in base64 if they are none.
pub(crate) fn message(bytes: &[u8], whole: bool) -> Message {
    use base64::Engine as _;
    let envelope = if whole { Envelope::decode(bytes).ok() } else { None };
    let json = envelope.and_then(|_| serde_json::from_slice::<Box<RawValue>>(bytes).ok());
    let text = str::from_utf8(bytes).ok().filter(|_| json.is_none());
    let base64 = json.is_none() && text.is_none();
    Message {
        envelope: json,
        text: text.map(str::to_owned),
        base64: base64.then(|| base64::engine::general_purpose::STANDARD.encode(bytes)),
    }
}

/// A message in JSON output: exactly one of the three is there.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Message {
    /// The envelope as it is on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) envelope: Option<Box<RawValue>>,
    /// Text that is no envelope, or only the beginning of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Bytes that are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<String>,
}

/// JSON, indented. Nothing but the space between tokens changes: no number loses a digit, no key its place.
pub(crate) fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped, mut opened) = (0usize, false, false, false);
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    for c in json.chars() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        // An empty object or array stays on its line; of deep ones not every level is worth an indent.
        if opened != closes && (opened || closes) && depth <= 64 {
            newline(&mut out, depth);
        }
        opened = matches!(c, '{' | '[');
        depth += usize::from(opened);
        in_string = c == '"';
        out.push(c);
        match c {
            ',' if depth <= 64 => newline(&mut out, depth),
            ':' => out.push(' '),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_two_units() {
        for (millis, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (12_000, "12s"),
            (185_000, "3m 5s"),
            (120_000, "2m"),
            (7_800_000, "2h 10m"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(optional(None), "-");
    }

    #[test]
    fn bytes_in_the_largest_fitting_unit() {
        assert_eq!([bytes(17), bytes(1536), bytes(3 << 20)], ["17 B", "1.5 KiB", "3.0 MiB"]);
    }

    #[test]
    fn instants_are_utc() {
        assert_eq!(instant(1_753_000_000_123), "2025-07-20T08:26:40.123Z");
        assert_eq!(instant(u64::MAX), format!("{} ms", u64::MAX));
    }

    #[test]
    fn counts_and_rates_read_well() {
        assert_eq!([0u64, 1, 2].map(|n| counted(n, "warning")), ["0 warnings", "1 warning", "2 warnings"]);
        let shown = [100.0, 0.5, 1.0 / 3_600.0, 100.0 / 60.0, 0.123_456_7, 1e9].map(rate);
        assert_eq!(shown, ["100/1s", "30/1m", "1/1h", "100/1m", "0.1234567/1s", "1000000000/1s"]);
    }

    #[test]
    fn nothing_acts_on_the_terminal() {
        assert_eq!(printable("a\tb\u{202e}ü"), "a\\tb\\u{202e}ü");
        assert_eq!(preview(b"\xff\x00long enough", 4), "\u{fffd}\\u{0}lo…");
        assert_eq!(preview(b"abc", 3), "abc");
    }

    #[test]
    fn json_is_indented_and_nothing_else() {
        let json = r#"{"b":[1,{"x":"a, {\"}"}],"a":{},"n":12345678901234567890.10 }"#;
        let expected = r#"{
  "b": [
    1,
    {
      "x": "a, {\"}"
    }
  ],
  "a": {},
  "n": 12345678901234567890.10
}"#;
        assert_eq!(pretty(json), expected);
    }

    #[test]
    fn messages_are_envelopes_text_or_base64() {
        let envelope = Envelope::new("x").and_then(|envelope| envelope.encode()).expect("encodes");
        assert!(message(&envelope, true).envelope.is_some());
        assert!(message(&envelope, false).text.is_some());
        assert_eq!(message(b"plain", true).text.as_deref(), Some("plain"));
        assert_eq!(message(b"\xff\x00", true).base64.as_deref(), Some("/wA="));
    }
}
