//! What Telegram's answers mean: one pure function.

use std::time::Duration;

use serde::Deserialize;

use crate::status::Unreachable;

/// What one answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// To `getMe`: the bot's name.
    Me(String),
    /// The message is there.
    Sent { message_id: i64 },
    /// Too much at once: nothing for so long.
    Flooded(Duration),
    /// The chat has another id now.
    Moved(i64),
    /// The markup was not understood.
    Unparsable,
    /// Nothing will ever arrive there.
    Unreachable(Unreachable),
    /// Somebody has to change something.
    Misconfigured(String),
    /// Not now.
    Unavailable(String),
    /// It may have arrived.
    Uncertain(String),
}

/// The longest pause that is believed: an hour is more than Telegram gives to bots, and a slip must not silence them for good.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

#[derive(Deserialize)]
struct Reply {
    ok: bool,
    #[serde(default)]
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
    #[serde(default)]
    result: Option<Content>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    retry_after: Option<u64>,
    #[serde(default)]
    migrate_to_chat_id: Option<i64>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    message_id: Option<i64>,
    #[serde(default)]
    username: Option<String>,
}

impl Answer {
    /// The meaning of a status, a body, and the header `Retry-After`.
    pub(super) fn of(status: u16, body: &[u8], retry_after: Option<u64>) -> Self {
        let Ok(reply) = serde_json::from_slice::<Reply>(body) else {
            return Self::of_strangers(status, retry_after);
        };
        if reply.ok {
            return match reply.result {
                Some(Content { message_id: Some(message_id), .. }) => Self::Sent { message_id },
                Some(Content { username: Some(name), .. }) => Self::Me(name),
                _ => Self::Uncertain("Telegram says that it is well, and not what".to_owned()),
            };
        }
        // Texts are what it says for people, and the only thing that tells these apart.
        let says = reply.description.to_ascii_lowercase();
        let is = |text: &str| says.contains(text);
        match reply.error_code.unwrap_or(status) {
            429 => Self::flooded(reply.parameters.retry_after.or(retry_after)),
            400 if reply.parameters.migrate_to_chat_id.is_some() => {
                Self::Moved(reply.parameters.migrate_to_chat_id.unwrap_or_default())
            }
            400 if is("can't parse entities") => Self::Unparsable,
            400 if is("chat not found") || is("user not found") || is("peer_id_invalid") => {
                Self::Unreachable(Unreachable::NoChat)
            }
            400 if is("not enough rights") || is("have no rights") || is("chat_write_forbidden") => {
                Self::Unreachable(Unreachable::NotInChat)
            }
            400 | 413 => Self::Unreachable(Unreachable::Rejected),
            403 if is("blocked by the user") => Self::Unreachable(Unreachable::Blocked),
            403 if is("deactivated") => Self::Unreachable(Unreachable::Deactivated),
            403 if is("can't initiate") => Self::Unreachable(Unreachable::NeverMet),
            403 => Self::Unreachable(Unreachable::NotInChat),
            code => Self::of_status(code),
        }
    }

    /// The meaning of an answer that is not Telegram's: a proxy's, a web server's.
    fn of_strangers(status: u16, retry_after: Option<u64>) -> Self {
        match status {
            429 => Self::flooded(retry_after),
            200..=299 => Self::Uncertain(format!("the answer to it (HTTP {status}) cannot be read")),
            400..=499 if !matches!(status, 401 | 404 | 408) => {
                Self::Misconfigured(format!("HTTP {status}, and not from the Bot API: look at telegram_url"))
            }
            status => Self::of_status(status),
        }
    }

    fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Misconfigured(
                "Telegram does not know the token (401): it was revoked, or is another's".to_owned(),
            ),
            404 => Self::Misconfigured(
                "Telegram has no such bot or method (404): the token is malformed, or telegram_url is not that of a Bot API"
                    .to_owned(),
            ),
            300..=399 => {
                Self::Misconfigured(format!("it is sent elsewhere (HTTP {status}): look at telegram_url"))
            }
            500..=599 | 408 => Self::Uncertain(format!("Telegram fails (HTTP {status})")),
            status => Self::Unavailable(format!("Telegram answers HTTP {status}")),
        }
    }

    fn flooded(seconds: Option<u64>) -> Self {
        Self::Flooded(Duration::from_secs(seconds.unwrap_or(1).max(1)).min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, description: &str, parameters: &str) -> Answer {
        let body = format!(r#"{{"ok":false,"error_code":{code},"description":"{description}"{parameters}}}"#);
        Answer::of(code, body.as_bytes(), None)
    }

    #[test]
    fn good_answers() {
        let sent = br#"{"ok":true,"result":{"message_id":7,"date":1,"chat":{"id":42}}}"#;
        assert_eq!(Answer::of(200, sent, None), Answer::Sent { message_id: 7 });
        let me = br#"{"ok":true,"result":{"id":1,"is_bot":true,"username":"a_bot"}}"#;
        assert_eq!(Answer::of(200, me, None), Answer::Me("a_bot".to_owned()));
    }

    #[test]
    fn every_row_of_refusals() {
        use Unreachable::{Blocked, Deactivated, NeverMet, NoChat, NotInChat, Rejected};
        for (code, description, expected) in [
            (403, "Forbidden: bot was blocked by the user", Blocked),
            (403, "Forbidden: user is deactivated", Deactivated),
            (403, "Forbidden: bot can't initiate conversation with a user", NeverMet),
            (403, "Forbidden: bot was kicked from the supergroup chat", NotInChat),
            (403, "Forbidden: something new", NotInChat),
            (400, "Bad Request: chat not found", NoChat),
            (400, "Bad Request: not enough rights to send text messages to the chat", NotInChat),
            (400, "Bad Request: message text is empty", Rejected),
            (400, "Bad Request: message is too long", Rejected),
        ] {
            assert_eq!(error(code, description, ""), Answer::Unreachable(expected), "{description}");
        }
        assert_eq!(
            error(400, "Bad Request: can't parse entities: Unsupported start tag", ""),
            Answer::Unparsable
        );
        let moved = r#","parameters":{"migrate_to_chat_id":-1001}"#;
        let description = "Bad Request: group chat was upgraded to a supergroup chat";
        assert_eq!(error(400, description, moved), Answer::Moved(-1001));
        for code in [401, 404] {
            assert!(matches!(error(code, "x", ""), Answer::Misconfigured(_)), "{code}");
        }
        for code in [500, 502, 504] {
            assert!(matches!(error(code, "x", ""), Answer::Uncertain(_)), "{code}");
        }
        assert!(matches!(error(409, "Conflict", ""), Answer::Unavailable(_)));
    }

    #[test]
    fn pauses_are_as_long_as_it_says_within_reason() {
        let flooded = |seconds| Answer::Flooded(Duration::from_secs(seconds));
        assert_eq!(error(429, "Too Many Requests", r#","parameters":{"retry_after":5}"#), flooded(5));
        assert_eq!(Answer::of(429, b"<html>", Some(7)), flooded(7));
        assert_eq!(Answer::of(429, b"", None), flooded(1));
        assert_eq!(Answer::of(429, b"", Some(u64::MAX)), Answer::Flooded(LONGEST_PAUSE));
    }

    #[test]
    fn what_is_not_telegrams_is_believed_less() {
        for (status, body) in
            [(200, &b"<html>"[..]), (200, b""), (200, br#"{"ok":true}"#), (502, b"<html>"), (503, b"")]
        {
            assert!(matches!(Answer::of(status, body, None), Answer::Uncertain(_)), "{status}");
        }
        for (status, body) in [(302, &b""[..]), (401, b"x"), (403, b"<html>"), (404, b""), (400, b"no")] {
            assert!(matches!(Answer::of(status, body, None), Answer::Misconfigured(_)), "{status}");
        }
    }
}
