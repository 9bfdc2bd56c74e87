//! Paths, and what stands between a request and a command: the Referer, the session, the directory.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{COOKIE, HOST, REFERER, SET_COOKIE};
use http::{Method, StatusCode};
use tokio::time::sleep;

use super::Shared;
use crate::freeipa::error::RpcError;
use crate::freeipa::fault::Fault;
use crate::freeipa::rpc::{Answered, Envelope};
use crate::freeipa::state::Barred;
use crate::freeipa::{change_password, kdc, pages, session};
use crate::web::{Answer, Reply, Request, Site};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json; charset=utf-8";

/// The site of one server.
#[derive(Debug)]
pub(super) struct IpaSite {
    shared: Arc<Shared>,
}

impl Site for IpaSite {
    async fn answer(&self, request: Request) -> Answer {
        if !self.is_own_host(&request) {
            self.shared.state().stats.redirected += 1;
            return pages::moved(&self.shared.fqdn, &request.path).into();
        }
        match request.path.as_str() {
            "/ipa/session/json" => self.session_json(&request).await,
            "/ipa/session/login_password" => self.form(&request, Self::login).await,
            "/ipa/session/change_password" => self.form(&request, Self::change_password).await,
            "/ipa/session/login_kerberos" | "/ipa/session/login_x509" | "/ipa/json" | "/ipa/xml" => {
                self.refuse_referer(&request).unwrap_or_else(pages::negotiate).into()
            }
            "/ipa/config/ca.crt" if request.method == Method::GET => Reply::new(StatusCode::OK)
                .with_body("application/x-x509-ca-cert", self.shared.ca_pem.clone())
                .into(),
            path => pages::not_found(path).into(),
        }
    }
}

/// The one value of each field of a form. Empty ones do not count.
type Fields = BTreeMap<String, Vec<String>>;

// === impl IpaSite ===

impl IpaSite {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Whether the client asks for the server by its own name, or by one that somebody in between makes its own; any port will do.
    fn is_own_host(&self, request: &Request) -> bool {
        let host = request.header(HOST.as_str()).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let is = |own: &str| name.eq_ignore_ascii_case(own);
        is(&self.shared.fqdn) || self.shared.alias.as_deref().is_some_and(is)
    }

    fn refuse_referer(&self, request: &Request) -> Option<Reply> {
        let wanted = format!("https://{}/ipa", self.shared.fqdn);
        if request.header(REFERER.as_str()).is_some_and(|referer| referer.starts_with(&wanted)) {
            return None;
        }
        self.shared.state().stats.bad_referers += 1;
        Some(pages::bad_request("denied"))
    }

    /// A request with a form in it, which one of the methods below takes.
    async fn form(
        &self,
        request: &Request,
        take: impl AsyncFn(&Self, &Fields) -> Result<Answer, String>,
    ) -> Answer {
        if let Some(refused) = self.refuse_referer(request) {
            return refused.into();
        }
        if !request.is(FORM) {
            return pages::bad_request("Content-Type must be application/x-www-form-urlencoded").into();
        }
        if request.method != Method::POST {
            return pages::bad_request("HTTP request method must be POST").into();
        }
        let mut fields = Fields::new();
        for (name, value) in form_urlencoded::parse(&request.body).filter(|(_, value)| !value.is_empty()) {
            fields.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        take(self, &fields).await.unwrap_or_else(|why| pages::bad_request(&why).into())
    }

    async fn login(&self, fields: &Fields) -> Result<Answer, String> {
        let user = one(fields, "user")?.to_owned();
        let fault = self.shared.faults.meet("login", Some(&user));
        let open = || -> Result<Reply, String> {
            let mut state = self.shared.state();
            let state = &mut *state;
            state.stats.logins += 1;
            *state.stats.logins_by_user.entry(user.clone()).or_default() += 1;
            let now = self.shared.clock.now();
            let (version, outages) = (state.config.version, state.outages);
            let outcome = if is_malformed(&user) {
                kdc::log_in(&mut state.directory, version, outages, &user, "", now)
            } else {
                let password = one(fields, "password")?;
                kdc::log_in(&mut state.directory, version, outages, &user, password, now)
            };
            match outcome {
                Ok(login) => {
                    state.stats.logins_accepted += 1;
                    let value = state.sessions.open(&login, now, state.config.session);
                    Ok(Reply::new(StatusCode::OK)
                        .with_reason(pages::SUCCESS)
                        .with_header(SET_COOKIE, &session::set_cookie(&value)))
                }
                Err(rejection) => {
                    *state.stats.logins_rejected.entry(rejection.reason.to_owned()).or_default() += 1;
                    Ok(pages::unauthorized(rejection.reason, &rejection.text))
                }
            }
        };
        with_fault(fault, open).await
    }

    async fn change_password(&self, fields: &Fields) -> Result<Answer, String> {
        let user = one(fields, "user")?;
        let (old, new) = (one(fields, "old_password")?, one(fields, "new_password")?);
        let fault = self.shared.faults.meet("change_password", Some(user));
        with_fault(fault, || Ok(change_password::change(&mut self.shared.state(), user, old, new))).await
    }

    async fn session_json(&self, request: &Request) -> Answer {
        if let Some(refused) = self.refuse_referer(request) {
            return refused.into();
        }
        let cookies = request.header(COOKIE.as_str()).map(str::to_owned);
        let login = {
            let mut state = self.shared.state();
            let Some(login) = state.sessions.login(cookies.as_deref(), self.shared.clock.now()) else {
                state.stats.without_session += 1;
                return need_login(cookies.is_some()).into();
            };
            if state.outages.ldap {
                return pages::server_error().into();
            }
            if let Some(barred) = state.bar(&login) {
                state.stats.denied += 1;
                return match barred {
                    Barred::Denied => {
                        pages::unauthorized("denied", "Insufficient access:  Invalid credentials")
                    }
                    Barred::Disabled => pages::unauthorized(
                        "account disabled",
                        "Server is unwilling to perform: Account inactivated. Contact system administrator.",
                    ),
                }
                .into();
            }
            state.stats.begin();
            login
        };
        let answer = self.command(request, &login, cookies.as_deref()).await;
        self.shared.state().stats.end();
        answer
    }

    async fn command(&self, request: &Request, login: &str, cookies: Option<&str>) -> Answer {
        let envelope = if request.method == Method::POST && request.is("application/json") {
            match Envelope::open(&request.body) {
                Ok(envelope) => envelope,
                Err(error) => return self.seal(Answered::unopened(error), login).into(),
            }
        } else {
            // What is no call of a command is taken for a command of the path's name.
            return self.seal(Answered::unopened(RpcError::unknown_command("session/json")), login).into();
        };
        let command = envelope.command().to_owned();
        self.shared.state().stats.count_call(&command);
        let fault = self.shared.faults.meet(&command, envelope.key());
        if let Some(delay) = fault.as_ref().and_then(Fault::delay) {
            sleep(delay).await;
        }
        match fault {
            None | Some(Fault::Delay { .. }) => self.run(envelope, login, cookies).into(),
            Some(Fault::DropBeforeCommit) => Answer::Drop,
            Some(Fault::Hang) => Answer::Hang,
            Some(Fault::Http500) => pages::server_error().into(),
            Some(Fault::Http503) => pages::unavailable().into(),
            Some(Fault::Page) => pages::maintenance().into(),
            Some(Fault::ExpireSessions) => {
                let mut state = self.shared.state();
                state.sessions.close_all();
                state.stats.without_session += 1;
                need_login(true).into()
            }
            Some(Fault::Network907) => {
                let error =
                    RpcError::network("ldapi://%2Frun%2Fslapd-DOUBLE.socket", "Can't contact LDAP server");
                self.seal(envelope.refuse(error), login).into()
            }
            Some(Fault::Internal903) => self.seal(envelope.refuse(RpcError::internal()), login).into(),
            Some(Fault::Deny) => {
                let error = RpcError::access(&format!("not allowed to perform operation: {command}"));
                self.seal(envelope.refuse(error), login).into()
            }
            Some(Fault::Error { code, name, message }) => {
                let error = RpcError::new(code, &name, message, &serde_json::json!({}));
                self.seal(envelope.refuse(error), login).into()
            }
            Some(Fault::CommitThenDrop) => {
                self.run(envelope, login, cookies);
                Answer::Drop
            }
            Some(Fault::CommitThenHalf) => Answer::Half(self.run(envelope, login, cookies)),
            Some(Fault::CommitThenHang) => {
                self.run(envelope, login, cookies);
                Answer::Hang
            }
            Some(Fault::Commit500) => {
                self.run(envelope, login, cookies);
                pages::server_error().into()
            }
            Some(Fault::Commit903) => {
                let answered = envelope.run(&mut self.shared.state(), login);
                self.seal(answered.instead(RpcError::internal()), login).into()
            }
        }
    }

    fn run(&self, envelope: Envelope, login: &str, cookies: Option<&str>) -> Reply {
        let logout = envelope.command() == "session_logout";
        let answered = {
            let mut state = self.shared.state();
            let answered = envelope.run(&mut state, login);
            if logout && answered.is_ok() {
                state.sessions.close(cookies);
            }
            answered
        };
        let ended = logout && answered.is_ok();
        let reply = self.seal(answered, login);
        if ended { reply.with_header(SET_COOKIE, &session::clear_cookie()) } else { reply }
    }

    fn seal(&self, answered: Answered, login: &str) -> Reply {
        let mut state = self.shared.state();
        if let Some(code) = answered.code() {
            *state.stats.errors.entry(code).or_default() += 1;
        }
        let principal = state.directory.names.principal(login);
        let envelope = answered.seal(&principal, state.config.version.server());
        let body = serde_json::to_vec(&envelope).unwrap_or_default();
        Reply::new(StatusCode::OK).with_reason(pages::SUCCESS).with_body(JSON, body)
    }
}

/// The one value of a field, or what is said where there is none.
fn one<'a>(fields: &'a Fields, name: &str) -> Result<&'a str, String> {
    match fields.get(name).map_or(&[][..], Vec::as_slice) {
        [one] => Ok(one),
        [] => Err(format!("no {name} specified")),
        _ => Err(format!("more than one {name} parameter")),
    }
}

/// Names that are refused before a password is asked for.
fn is_malformed(user: &str) -> bool {
    user.contains('\\') || user.split('@').count() > 2 || user.split('@').any(str::is_empty)
}

fn need_login(had_cookie: bool) -> Reply {
    let reply = pages::need_login();
    if had_cookie { reply.with_header(SET_COOKIE, &session::clear_cookie()) } else { reply }
}

/// What a fault leaves of something that is no command. Faults that commands tell of become 500.
async fn with_fault(
    fault: Option<Fault>,
    act: impl FnOnce() -> Result<Reply, String>,
) -> Result<Answer, String> {
    if let Some(delay) = fault.as_ref().and_then(Fault::delay) {
        sleep(delay).await;
    }
    Ok(match fault {
        None | Some(Fault::Delay { .. }) => act()?.into(),
        Some(Fault::DropBeforeCommit) => Answer::Drop,
        Some(Fault::Hang) => Answer::Hang,
        Some(Fault::Http503) => pages::unavailable().into(),
        Some(Fault::Page) => pages::maintenance().into(),
        Some(Fault::CommitThenDrop) => act().map(|_| Answer::Drop)?,
        Some(Fault::CommitThenHalf) => Answer::Half(act()?),
        Some(Fault::CommitThenHang) => act().map(|_| Answer::Hang)?,
        Some(Fault::Commit500) => act().map(|_| pages::server_error().into())?,
        Some(_) => pages::server_error().into(),
    })
}
