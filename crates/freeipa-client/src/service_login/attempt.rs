//! One login.

use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{self, HeaderMap, HeaderValue};
use secrecy::ExposeSecret;

use super::outcome::{LoginError, LoginOutcome, LoginRejected, LoginUnavailable, login_outcome};
use crate::cookie::{Cookie, SetCookie};
use crate::credentials::Credentials;
use crate::http::{Answer, Exchange, Request};
use crate::negotiate::{NegotiateError, NegotiateFault};

/// Why there is no session, before anybody knows how long to wait.
pub(crate) enum Refused {
    Rejected(LoginRejected),
    /// By the KDC, before the server was asked.
    RejectedByKdc(LoginRejected),
    /// Nobody knows: the password was sent, and no answer says what came of it.
    Unclear(LoginError),
    Otherwise(LoginError),
}

/// Logs in at one server, called `name`, until `deadline`.
pub(crate) async fn attempt(
    exchange: &Exchange,
    name: &str,
    credentials: &Credentials,
    deadline: Instant,
) -> Result<Cookie, Refused> {
    let request = match credentials {
        Credentials::Password { login, password } => with_password(login, password.expose_secret()),
        Credentials::Negotiate(source) => {
            let (source, host) = (source.clone(), name.to_owned());
            let token = tokio::task::spawn_blocking(move || source.token(&host)).await;
            let token = token.unwrap_or_else(|_| Err(NegotiateError::new("the source of tokens panicked")));
            with_token(&token.map_err(|error| no_token(name, error))?)
        }
    };
    let with_ticket = matches!(credentials, Credentials::Negotiate(_));
    let sent = exchange.send(request, deadline).await;
    let answer = sent.map_err(|error| {
        let may_be_sent = error.may_be_sent();
        let error = LoginError::Transport(error);
        if may_be_sent { unclear(error, with_ticket) } else { Refused::Otherwise(error) }
    })?;
    judge(answer, with_ticket)
}

/// No ticket is a wrong password: the KDC has judged before.
fn unclear(error: LoginError, with_ticket: bool) -> Refused {
    if with_ticket { Refused::Otherwise(error) } else { Refused::Unclear(error) }
}

fn no_token(name: &str, error: NegotiateError) -> Refused {
    match error.fault() {
        NegotiateFault::Rejected(why) => {
            tracing::warn!(server = name, %error, "the KDC refuses the account");
            Refused::RejectedByKdc(why)
        }
        NegotiateFault::Credentials | NegotiateFault::Unavailable | NegotiateFault::Configuration => {
            Refused::Otherwise(LoginError::Negotiate(error))
        }
    }
}

fn with_password(login: &str, password: &str) -> Request {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("user", login)
        .append_pair("password", password)
        .finish();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/plain"));
    Request { path: "/ipa/session/login_password", headers, body: form.into_bytes() }
}

fn with_token(token: &[u8]) -> Request {
    let mut value = HeaderValue::from_str(&format!("Negotiate {}", BASE64_STANDARD.encode(token)))
        .expect("Base64 is made of characters that headers may have");
    value.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, value);
    Request { path: "/ipa/session/login_kerberos", headers, body: Vec::new() }
}

/// What the answer means. Who comes with a ticket and is told only `Negotiate` was refused: there are no reasons then.
fn judge(answer: Answer, with_ticket: bool) -> Result<Cookie, Refused> {
    if answer.status == 401 && answer.rejection.is_none() && with_ticket {
        return Err(Refused::Rejected(LoginRejected::TicketRefused));
    }
    // A reason without its text says too little: `invalid-password` may be an outage.
    let body = match (answer.status, answer.body) {
        (401, Err(error)) => return Err(unclear(LoginError::Transport(error), with_ticket)),
        (_, body) => body.unwrap_or_default(),
    };
    let error =
        match login_outcome(answer.status, answer.rejection.as_deref(), &String::from_utf8_lossy(&body)) {
            LoginOutcome::Accepted => match answer.cookie {
                Some(SetCookie::Session(cookie)) => return Ok(cookie),
                Some(SetCookie::Emptied) | None => LoginError::Unavailable(LoginUnavailable::NoSession),
            },
            LoginOutcome::Rejected(why) => return Err(Refused::Rejected(why)),
            // The server may have failed after it had looked at the password.
            LoginOutcome::Unavailable(why @ LoginUnavailable::Status { .. }) => {
                return Err(unclear(LoginError::Unavailable(why), with_ticket));
            }
            LoginOutcome::Unavailable(why) => LoginError::Unavailable(why),
            LoginOutcome::WrongName => LoginError::WrongName,
            LoginOutcome::NoSuchPath => LoginError::NoSuchPath,
        };
    Err(Refused::Otherwise(error))
}
