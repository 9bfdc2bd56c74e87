//! Sessions: a cookie as odd as the real one, good for one server and for so long.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;

/// The name of the cookie.
const NAME: &str = "ipa_session=";
/// How its value begins: with another name, and another `=`.
const BEARER: &str = "MagBearerToken=";

/// Who is logged in.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_value: BTreeMap<String, Session>,
}

#[derive(Debug)]
struct Session {
    login: String,
    until: Timestamp,
}

// === impl Sessions ===

impl Sessions {
    /// A new session; the value of its cookie, to be sent back letter for letter.
    pub(crate) fn open(&mut self, login: &str, now: Timestamp, lifetime: Duration) -> String {
        let value = loop {
            let mut secret = [0_u8; 97];
            rand::rng().fill(&mut secret);
            let text = STANDARD.encode(secret);
            // As long as luck has it, real ones have all of it: what clients stumble over is in each of these.
            if text.contains('+') && text.contains('/') {
                break text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3d");
            }
        };
        let value = format!("{BEARER}{value}");
        let lifetime = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::MAX);
        let until = now.saturating_add(lifetime).unwrap_or(Timestamp::MAX);
        self.by_value.insert(value.clone(), Session { login: login.to_owned(), until });
        value
    }

    /// Whose session a `Cookie` header names, if it goes on.
    pub(crate) fn login(&self, cookies: Option<&str>, now: Timestamp) -> Option<String> {
        let session = self.by_value.get(value(cookies?)?)?;
        (now < session.until).then(|| session.login.clone())
    }

    /// Ends a session.
    pub(crate) fn close(&mut self, cookies: Option<&str>) {
        if let Some(value) = cookies.and_then(value) {
            self.by_value.remove(value);
        }
    }

    pub(crate) fn close_all(&mut self) {
        self.by_value.clear();
    }

    pub(crate) fn open_at(&self, now: Timestamp) -> usize {
        self.by_value.values().filter(|session| now < session.until).count()
    }
}

/// A `Set-Cookie` header.
pub(crate) fn set_cookie(value: &str) -> String {
    format!("{NAME}{value};path=/ipa;httponly;secure;")
}

/// A `Set-Cookie` header that leaves nothing of the session.
pub(crate) fn clear_cookie() -> String {
    set_cookie(BEARER)
}

/// The value of our cookie among others.
fn value(cookies: &str) -> Option<&str> {
    cookies.split(';').map(str::trim).find_map(|cookie| cookie.strip_prefix(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn the_cookie_is_as_odd_as_the_real_one_and_good_only_as_it_is() {
        let (mut sessions, now) = (Sessions::default(), Timestamp::UNIX_EPOCH);
        let value = sessions.open("svc", now, DAY);
        assert!(
            value.starts_with("MagBearerToken=") && value.contains("%2B") && value.contains("%3d"),
            "{value}"
        );
        assert!(set_cookie(&value).ends_with(";path=/ipa;httponly;secure;"));
        let cookie = format!("other=1; ipa_session={value}");
        assert_eq!(sessions.login(Some(&cookie), now).as_deref(), Some("svc"));
        for decoded in
            [value.replace("%2B", "+"), value.replace("%3d", "="), value.replace("MagBearerToken=", "")]
        {
            assert_eq!(sessions.login(Some(&format!("ipa_session={decoded}")), now), None);
        }
    }

    #[test]
    fn it_ends_when_its_time_is_over_or_somebody_ends_it() {
        let (mut sessions, now) = (Sessions::default(), Timestamp::UNIX_EPOCH);
        let [one, two] = [0, 1].map(|_| format!("ipa_session={}", sessions.open("svc", now, DAY)));
        let late = now + SignedDuration::from_hours(24);
        assert_eq!((sessions.open_at(now), sessions.open_at(late)), (2, 0));
        assert!(sessions.login(Some(&one), late).is_none());
        sessions.close(Some(&one));
        assert!(sessions.login(Some(&one), now).is_none() && sessions.login(Some(&two), now).is_some());
    }
}
