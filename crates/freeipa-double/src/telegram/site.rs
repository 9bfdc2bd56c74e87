//! From a path to a method: the token, faults, the reply.

use std::sync::Arc;

use http::{Method as Verb, StatusCode};
use jiff::SignedDuration;
use tokio::time::sleep;

use super::Shared;
use super::config::is_token;
use super::fault::TelegramFault;
use super::methods::Method;
use super::parameters::Parameters;
use super::reply::{Failure, ok};
use crate::web::{Answer, Reply, Request, Site};

/// The site of one bot.
pub(super) struct BotSite {
    shared: Arc<Shared>,
}

impl Site for BotSite {
    async fn answer(&self, request: Request) -> Answer {
        let answer = self.method(&request).await;
        if let Answer::Reply(reply) = &answer {
            *self.shared.state().stats.statuses.entry(reply.status()).or_default() += 1;
        }
        answer
    }
}

// === impl BotSite ===

impl BotSite {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn method(&self, request: &Request) -> Answer {
        let not_found = || Failure::new(404, "Not Found").reply();
        let Some((token, name)) = request.path.strip_prefix("/bot").and_then(|rest| rest.split_once('/'))
        else {
            return not_found().into();
        };
        // Clients may write the colon as it is, or not.
        let token = token.replace("%3A", ":").replace("%3a", ":");
        let method = {
            let mut state = self.shared.state();
            if !is_token(&token) {
                state.stats.without_token += 1;
                return not_found().into();
            }
            if token != state.token {
                state.stats.without_token += 1;
                return Failure::new(401, "Unauthorized").reply().into();
            }
            let method = Method::from_name(name).filter(|_| matches!(request.method, Verb::GET | Verb::POST));
            let Some(method) = method else { return not_found().into() };
            *state.stats.requests.entry(method.name().to_owned()).or_default() += 1;
            method
        };
        let parameters = match Parameters::of(request) {
            Ok(parameters) => parameters,
            Err(failure) => return failure.reply().into(),
        };
        let fault = self.shared.faults.meet(method.name(), Some(&parameters.text("chat_id")));
        if let Some(delay) = fault.as_ref().and_then(TelegramFault::delay) {
            sleep(delay).await;
        }
        match fault {
            None | Some(TelegramFault::Delay { .. }) => self.run(method, &parameters).into(),
            Some(TelegramFault::TooMany { retry_after }) => self.silence(retry_after).into(),
            Some(TelegramFault::Error { code, description }) => {
                Failure::new(code, description).reply().into()
            }
            Some(TelegramFault::Page { status }) => page(status).into(),
            Some(TelegramFault::Hang) => Answer::Hang,
            Some(TelegramFault::Drop) => Answer::Drop,
            Some(TelegramFault::DeliverThenHang) => {
                self.run(method, &parameters);
                Answer::Hang
            }
            Some(TelegramFault::DeliverThenDrop) => {
                self.run(method, &parameters);
                Answer::Drop
            }
            Some(TelegramFault::Deliver500) => {
                self.run(method, &parameters);
                Failure::new(500, "Internal Server Error").reply().into()
            }
        }
    }

    fn run(&self, method: Method, parameters: &Parameters) -> Reply {
        let now = self.shared.clock.now();
        match method.run(&mut self.shared.state(), parameters, now) {
            Ok(result) => ok(&result),
            Err(failure) => failure.reply(),
        }
    }

    fn silence(&self, seconds: u64) -> Reply {
        let time = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        let until = self.shared.clock.now().checked_add(time).ok();
        self.shared.state().silent_until = until;
        Failure::too_many(seconds).reply()
    }
}

/// What stands before the Bot API when the Bot API does not answer.
fn page(status: u16) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let title = status.canonical_reason().unwrap_or_default();
    let html = format!("<html><head><title>{status}</title></head><body><h1>{title}</h1></body></html>\n");
    Reply::new(status).with_body("text/html", html)
}
