//! A call: a session, a turn, a request, and what its answer means.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use reqwest::header::{self, HeaderMap, HeaderValue};
use tokio::time::timeout_at;

use crate::class::Class;
use crate::command::{Command, Effect};
use crate::cookie::Cookie;
use crate::envelope::{self, BadReply, Reply};
use crate::error::{CallError, Cause};
use crate::http::{Answer, Request};
use crate::member::Member;
use crate::transport::TransportError;

/// What an answer means, before anything is sent again.
enum Said {
    Done(Reply),
    /// The server has forgotten the session. It looked at nothing else.
    NoSession,
    Wrong(Cause),
}

impl Member {
    /// Calls a command. See [`Pinned::call`](crate::Pinned::call).
    pub(crate) async fn call(self: &Arc<Self>, command: &Command) -> Result<Reply, CallError> {
        let result =
            self.settle(command).await.map_err(|cause| CallError::new(command, self.server.name(), cause));
        match &result {
            Ok(_) => self.went(false),
            Err(error) => {
                match error.cause() {
                    // These say nothing about the server; of a login, the login itself has told.
                    Cause::NoTurn | Cause::Closed | Cause::Login(_) => {}
                    // A certificate that is refused makes a server as useless as one that is away.
                    Cause::Transport(TransportError::Certificate(_)) => self.went(true),
                    _ => self.went(error.class() == Class::Unavailable),
                }
                tracing::debug!(class = error.class().as_str(), %error, "a call to FreeIPA failed");
            }
        }
        result
    }

    async fn settle(self: &Arc<Self>, command: &Command) -> Result<Reply, Cause> {
        let deadline = Instant::now() + self.timeout;
        let body = envelope::encode(command, &self.api_version);
        let (mut may_log_in_again, mut may_ask_again) = (true, command.effect() == Effect::Reads);
        let mut stale = None;
        loop {
            if self.in_flight.is_closed() {
                return Err(Cause::Closed);
            }
            let live = in_time(deadline, self.session(stale)).await?.map_err(Cause::Login)?;
            let permit = in_time(deadline, self.in_flight.acquire()).await?.map_err(|_| Cause::Closed)?;
            let answered = self.exchange.send(request(&live.cookie, body.clone()), deadline).await;
            drop(permit);
            let said = answered.map_or_else(
                |error| Said::Wrong(error.into()),
                |mut answer| {
                    if let Some(cookie) = answer.cookie.take() {
                        self.session.hear(live.number, cookie);
                    }
                    judge(answer)
                },
            );
            match said {
                Said::Done(reply) => return Ok(reply),
                // Nothing of the call was looked at, so also one that writes may go again.
                Said::NoSession if may_log_in_again => {
                    may_log_in_again = false;
                    stale = Some(live.number);
                }
                Said::NoSession => {
                    self.session.forget(live.number);
                    return Err(Cause::SessionRefused);
                }
                Said::Wrong(Cause::Fault(fault)) if fault.class(command.name()) == Class::Session => {
                    self.session.forget(live.number);
                    if command.effect() == Effect::Writes || !may_log_in_again {
                        return Err(Cause::Fault(fault));
                    }
                    may_log_in_again = false;
                    stale = Some(live.number);
                }
                // What only reads does no harm twice. The connection may have been an old one, about to be closed.
                Said::Wrong(Cause::Transport(TransportError::Lost { .. })) if may_ask_again => {
                    may_ask_again = false;
                }
                Said::Wrong(cause) => return Err(cause),
            }
        }
    }

    /// Asks without a session, only to see who answers and how: no login is tried, and nothing is done.
    pub(crate) async fn knock(&self) -> Result<(), Cause> {
        let deadline = Instant::now() + self.timeout;
        let _permit = in_time(deadline, self.in_flight.acquire()).await?.map_err(|_| Cause::Closed)?;
        let body = envelope::encode(&Command::read("ping"), &self.api_version);
        // What a check sees is known to all from then on; that it works is shown by a call only.
        let answer =
            self.exchange.send(json_request(body), deadline).await.inspect_err(|_| self.went(true))?;
        match answer.status {
            // It wants a session: it is what it should be.
            200 | 401 => Ok(()),
            status => {
                self.went(true);
                Err(Cause::Status { status })
            }
        }
    }

    /// Lets nobody begin any more, waits for those who have begun, and ends the session.
    pub(crate) async fn close(&self, max_in_flight: usize) {
        let all = u32::try_from(max_in_flight).unwrap_or(u32::MAX);
        // Who is not through by then is not waited for.
        let _everyone = tokio::time::timeout(self.timeout, self.in_flight.acquire_many(all)).await;
        self.in_flight.close();
        let Some(live) = self.session.take() else { return };
        let body = envelope::encode(&Command::write("session_logout"), &self.api_version);
        let answered = self.exchange.send(request(&live.cookie, body), Instant::now() + self.timeout).await;
        match answered.map(|answer| answer.status) {
            Ok(200 | 401) => {}
            Ok(status) => tracing::debug!(server = self.server.name(), status, "the session was not ended"),
            Err(error) => tracing::debug!(server = self.server.name(), %error, "the session was not ended"),
        }
    }
}

async fn in_time<T>(deadline: Instant, what: impl Future<Output = T>) -> Result<T, Cause> {
    timeout_at(deadline.into(), what).await.map_err(|_| Cause::NoTurn)
}

fn request(cookie: &Cookie, body: Vec<u8>) -> Request {
    let mut request = json_request(body);
    request.headers.insert(header::COOKIE, cookie.header());
    request
}

fn json_request(body: Vec<u8>) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    Request { path: "/ipa/session/json", headers, body }
}

/// What an answer means.
fn judge(answer: Answer) -> Said {
    match answer.status {
        200 if answer.is_json => match answer.body.map(|body| envelope::decode(&body)) {
            Ok(Ok(Ok(reply))) => Said::Done(reply),
            Ok(Ok(Err(fault))) => Said::Wrong(Cause::Fault(fault)),
            Ok(Err(bad)) => Said::Wrong(bad.into()),
            Err(error) => Said::Wrong(error.into()),
        },
        200 => Said::Wrong(BadReply::new("it is not JSON").into()),
        401 => match answer.rejection {
            None => Said::NoSession,
            Some(reason) => Said::Wrong(Cause::SessionDenied { reason: word(reason) }),
        },
        status => Said::Wrong(Cause::Status { status }),
    }
}

/// The server's word, if it looks like one.
fn word(reason: String) -> String {
    let plain =
        reason.len() <= 40 && reason.bytes().all(|byte| byte.is_ascii_alphabetic() || b" -".contains(&byte));
    if plain { reason } else { "for another reason".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, rejection: Option<&str>, is_json: bool, body: &[u8]) -> Answer {
        let rejection = rejection.map(str::to_owned);
        Answer { status, rejection, is_json, cookie: None, body: Ok(body.to_vec()) }
    }

    fn said(answer: Answer) -> String {
        match judge(answer) {
            Said::Done(_) => "done".to_owned(),
            Said::NoSession => "no session".to_owned(),
            Said::Wrong(cause) => cause.to_string(),
        }
    }

    #[test]
    fn the_table() {
        let good = br#"{"result":{"result":null},"error":null,"id":0,"principal":"p","version":"v"}"#;
        let fault = br#"{"result":null,"error":{"code":4001,"name":"NotFound","message":"anna","data":{}}}"#;
        assert_eq!(said(answer(200, None, true, good)), "done");
        assert_eq!(said(answer(200, None, true, fault)), "error 4001 NotFound");
        assert_eq!(said(answer(200, None, false, good)), "the reply makes no sense: it is not JSON");
        assert_eq!(said(answer(401, None, false, b"")), "no session");
        assert!(said(answer(401, Some("denied"), false, b"<html>")).contains("(denied)"));
        assert!(!said(answer(401, Some("uid=anna"), false, b"")).contains("anna"));
        for status in [302, 400, 404, 500, 503] {
            assert!(said(answer(status, None, true, good)).ends_with(&format!("status {status}")));
        }
    }

    #[test]
    fn a_result_that_broke_off_is_not_a_session_that_is_gone() {
        let lost = TransportError::Lost { reason: "eof".to_owned() };
        let broken = |status| Answer { body: Err(lost.clone()), ..answer(status, None, true, b"") };
        assert_eq!(said(broken(200)), lost.to_string());
        assert_eq!(said(broken(401)), "no session");
    }
}
