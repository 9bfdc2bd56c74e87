//! The two calls of the Bot API that are needed, over HTTPS.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, Url};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use valkey_config::Secret;

use super::answer::Answer;
use super::{Body, TelegramSettings};
use crate::files;
use crate::status::ReportError;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// A bot cannot be spoken for with these settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelegramError {
    /// The CA file is of no use.
    #[error("telegram_ca_file {file}: {reason}")]
    Ca {
        /// Which.
        file: String,
        /// Why.
        reason: String,
    },
    /// The HTTP client does not start.
    #[error("the HTTP client for Telegram does not start: {0}")]
    Client(String),
    /// The URL would show the token to everybody on the path.
    #[error(
        "telegram_url is plain http to another host, which shows the token and all passwords on the way: use https, or set telegram_allow_plain_http"
    )]
    PlainHttp,
    /// No message could ever be sent.
    #[error("telegram_rate is 0: nothing could ever be told")]
    Rate,
    /// The token is none.
    #[error("telegram_token is no token: expected `123456:letters-and-digits`, as the BotFather gives it")]
    Token,
    /// The URL is none.
    #[error(
        "telegram_url is no http(s) URL without user, query and fragment, such as https://api.telegram.org"
    )]
    Url,
}

/// A bot's two calls.
pub(super) struct Client {
    http: reqwest::Client,
    send_message: Url,
    get_me: Url,
    /// To take it out of errors, should it ever be in one.
    token: Secret,
    host: String,
}

impl Client {
    pub(super) fn new(settings: &TelegramSettings) -> Result<Self, TelegramError> {
        let token = &settings.token;
        let (bot, secret) = token.expose().split_once(':').ok_or(TelegramError::Token)?;
        let is_secret = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let is_token = !bot.is_empty()
            && bot.bytes().all(|byte| byte.is_ascii_digit())
            && !secret.is_empty()
            && secret.bytes().all(is_secret);
        if !is_token {
            return Err(TelegramError::Token);
        }
        let base = Url::parse(&settings.base_url).map_err(|_| TelegramError::Url)?;
        let is_base = matches!(base.scheme(), "http" | "https")
            && base.username().is_empty()
            && base.password().is_none()
            && base.query().is_none()
            && base.fragment().is_none();
        let host = base.host_str().filter(|_| is_base).ok_or(TelegramError::Url)?;
        let host = format!("{host}:{}", base.port_or_known_default().unwrap_or_default());
        if base.scheme() == "http" && !settings.allow_plain_http && !is_loopback(&base) {
            return Err(TelegramError::PlainHttp);
        }
        let base = base.as_str().trim_end_matches('/');
        let method = |name: &str| {
            Url::parse(&format!("{base}/bot{}/{name}", token.expose())).map_err(|_| TelegramError::Url)
        };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(settings.ca_file.as_deref())?)
            // Who answers elsewhere is not to be told the token, nor what is said.
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(settings.timeout)
            .build()
            .map_err(|error| TelegramError::Client(error.without_url().to_string()))?;
        Ok(Self {
            http,
            send_message: method("sendMessage")?,
            get_me: method("getMe")?,
            token: token.clone(),
            host,
        })
    }

    /// Says something in a chat. A secret cannot be forwarded or saved there.
    pub(super) async fn send_message(
        &self,
        chat_id: i64,
        body: &Body<'_>,
        secret: bool,
    ) -> Result<Answer, ReportError> {
        let mut message = json!({
            "chat_id": chat_id,
            "text": body.text,
            "link_preview_options": { "is_disabled": true },
            "protect_content": secret,
        });
        if body.is_html {
            message["parse_mode"] = "HTML".into();
        }
        // A value always has a JSON form.
        let message = serde_json::to_vec(&message).unwrap_or_default();
        let request = self.http.post(self.send_message.clone()).body(message);
        self.call(request.header("content-type", "application/json")).await
    }

    /// Asks who we are.
    pub(super) async fn get_me(&self) -> Result<Answer, ReportError> {
        self.call(self.http.get(self.get_me.clone())).await
    }

    async fn call(&self, request: RequestBuilder) -> Result<Answer, ReportError> {
        let response = request.send().await.map_err(|error| self.failed(error))?;
        let status = response.status().as_u16();
        let seconds =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = self.body(response).await?;
        Ok(Answer::of(status, &body, seconds))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ReportError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(ReportError::Uncertain { reason: "the answer to it is endless".to_owned() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The meaning of a call without an answer.
    fn failed(&self, error: reqwest::Error) -> ReportError {
        let error = error.without_url();
        // The layers above it say no more than that a request was sent.
        let (mut cause, mut source) = (error.to_string(), error.source());
        while let Some(deeper) = source {
            cause = deeper.to_string();
            source = deeper.source();
        }
        let cause = cause.replace(self.token.expose(), "[redacted]");
        let reason = if error.is_connect() {
            format!("cannot connect to {}: {cause}", self.host)
        } else {
            format!("{}: {cause}", self.host)
        };
        if is_distrust(&error) {
            ReportError::Misconfigured { reason: format!("{reason}; look at telegram_ca_file") }
        } else if error.is_connect() {
            ReportError::Unavailable { reason }
        } else {
            ReportError::Uncertain { reason }
        }
    }
}

/// Whether the certificate is the trouble. Errors of input and output hold it without naming it as their source.
fn is_distrust(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    held.is_some_and(|held| is_distrust(held)) || error.source().is_some_and(is_distrust)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One provider, roots of a file or of the system.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, TelegramError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let wrong = |reason: String| TelegramError::Ca { file: path.display().to_string(), reason };
        let pem = files::read(path).map_err(|error| wrong(error.to_string()))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(wrong("there is no certificate in it".to_owned()));
        }
    } else {
        // A system without any is said so when the first certificate is not trusted: plain http needs none.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TelegramError::Client(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Without the token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("host", &self.host).finish_non_exhaustive()
    }
}
