//! The session's cookie, as the server wrote it.
//!
//! Its value is Base64 in an encoding of its own (`MagBearerToken=AB%2bC%3d`), which the server reads again byte by byte: to
//! decode or re-encode it ends the session.

use std::fmt;

use reqwest::header::HeaderValue;

const NAME: &str = "ipa_session";

/// What a `Set-Cookie` says of the session.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum SetCookie {
    /// This is the session from now on.
    Session(Cookie),
    /// The session is over.
    Emptied,
}

/// A cookie to send. Never shown.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Cookie(HeaderValue);

impl Cookie {
    /// The header that carries it.
    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(…)")
    }
}

/// What one `Set-Cookie` header says of the session; `None` if it is of something else.
pub(crate) fn read(header: &[u8]) -> Option<SetCookie> {
    let pair = header.split(|byte| *byte == b';').next()?.trim_ascii();
    let value = pair.strip_prefix(NAME.as_bytes())?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
    let token = value.strip_prefix(b"MagBearerToken=").unwrap_or(value);
    if token.is_empty() {
        return Some(SetCookie::Emptied);
    }
    let mut header = HeaderValue::from_bytes(&[NAME.as_bytes(), b"=", value].concat()).ok()?;
    header.set_sensitive(true);
    Some(SetCookie::Session(Cookie(header)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sent(header: &str) -> Option<String> {
        match read(header.as_bytes())? {
            SetCookie::Session(cookie) => Some(cookie.header().to_str().unwrap().to_owned()),
            SetCookie::Emptied => Some("emptied".to_owned()),
        }
    }

    #[test]
    fn the_value_stays_as_it_is() {
        let odd = "ipa_session=MagBearerToken=AAB%2bc%2F+/9%3d%3d=;path=/ipa;httponly;secure;";
        assert_eq!(sent(odd).unwrap(), "ipa_session=MagBearerToken=AAB%2bc%2F+/9%3d%3d=");
        assert_eq!(sent("ipa_session=abc").unwrap(), "ipa_session=abc");
    }

    #[test]
    fn an_empty_one_ends_the_session() {
        assert_eq!(sent("ipa_session=MagBearerToken=;path=/ipa;httponly;secure;").unwrap(), "emptied");
        assert_eq!(sent("ipa_session=;path=/ipa").unwrap(), "emptied");
    }

    #[test]
    fn others_are_not_ours() {
        for header in ["", "other=1", "ipa_session_2=x", "ipa_session", "x=ipa_session=1"] {
            assert_eq!(sent(header), None, "{header}");
        }
    }

    #[test]
    fn it_is_never_shown() {
        let Some(SetCookie::Session(cookie)) = read(b"ipa_session=MagBearerToken=secret") else {
            panic!("a session")
        };
        assert!(!format!("{cookie:?} {:?}", cookie.header()).contains("secret"));
    }
}
