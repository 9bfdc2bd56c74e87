//! Users change their own passwords here. The status is 200 whatever comes of it.

use http::StatusCode;
use http::header::HeaderName;

use crate::freeipa::commands::{policy_violation, set_password};
use crate::freeipa::directory::{Change, Container};
use crate::freeipa::state::State;
use crate::freeipa::{kdc, pages};
use crate::web::Reply;

const RESULT: HeaderName = HeaderName::from_static("x-ipa-pwchange-result");
const POLICY: HeaderName = HeaderName::from_static("x-ipa-pwchange-policy-error");

/// What came of it.
enum Outcome {
    Ok,
    WrongPassword,
    Policy(&'static str),
    Error,
}

/// Changes a password, by the old one.
pub(super) fn change(state: &mut State, login: &str, old: &str, new: &str) -> Reply {
    let outcome = attempt(state, login, old, new);
    let (result, title, message) = match &outcome {
        Outcome::Ok => ("ok", "Password change successful", "Password was changed."),
        Outcome::WrongPassword => {
            ("invalid-password", "Password change rejected", "The old password or username is not correct.")
        }
        Outcome::Policy(why) => ("policy-error", "Password change rejected", *why),
        Outcome::Error => ("error", "Password change rejected", "Could not connect to LDAP server."),
    };
    let html = format!(
        "<html>\n<head>\n<title>200 Success</title>\n</head>\n<body>\n<h1>{title}</h1>\n<p>\n<strong>{}</strong>\n\
         </p>\n</body>\n</html>",
        pages::escape(message)
    );
    let reply = Reply::new(StatusCode::OK)
        .with_reason(pages::SUCCESS)
        .with_body("text/html; charset=utf-8", html)
        .with_header(RESULT, result);
    match outcome {
        Outcome::Policy(why) => reply.with_header(POLICY, why),
        _ => reply,
    }
}

fn attempt(state: &mut State, login: &str, old: &str, new: &str) -> Outcome {
    let now = state.config.clock.now();
    if state.outages.ldap {
        return Outcome::Error;
    }
    let Some(entry) = state.directory.entry_mut(Container::Active, login) else {
        return Outcome::WrongPassword;
    };
    if entry.is_disabled() || kdc::is_locked(entry, now) {
        return Outcome::Error;
    }
    if entry.password.as_deref() != Some(old) {
        kdc::count_failure(entry, now);
        return Outcome::WrongPassword;
    }
    if let Some(why) = policy_violation(entry, new, now) {
        return Outcome::Policy(why);
    }
    set_password(entry, new, true, now);
    let login = entry.login.clone();
    state.directory.note(now, &login, Change::PasswordChanged, &login);
    Outcome::Ok
}
