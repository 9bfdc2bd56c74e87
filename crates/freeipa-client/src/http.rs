//! One request to one server, and its answer, whatever it is.

use std::time::{Duration, Instant};

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, dns, redirect};

use crate::cookie::{self, SetCookie};
use crate::server::{Connect, Server};
use crate::settings::{InvalidSettings, Settings};
use crate::transport::TransportError;

/// The server closes a connection that was idle for 30 s; one that is about to be closed is not worth a request.
const IDLE: Duration = Duration::from_secs(20);

const REJECTION_REASON: HeaderName = HeaderName::from_static("x-ipa-rejection-reason");

/// The way to one server. Cookies are the business of whoever asks.
#[derive(Debug)]
pub(crate) struct Exchange {
    http: reqwest::Client,
    origin: String,
    referer: HeaderValue,
    max_reply_bytes: usize,
}

/// A request. Its body may hold personal data and secrets.
pub(crate) struct Request {
    pub(crate) path: &'static str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What the server says. Its body may hold personal data and secrets.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `X-IPA-Rejection-Reason`.
    pub(crate) rejection: Option<String>,
    /// Whether it says that it is JSON.
    pub(crate) is_json: bool,
    pub(crate) cookie: Option<SetCookie>,
    /// The status is known even where the body was lost.
    pub(crate) body: Result<Vec<u8>, TransportError>,
}

impl Exchange {
    pub(crate) fn new(server: &Server, settings: &Settings) -> Result<Self, InvalidSettings> {
        let unusable = |reason: String| InvalidSettings::Http { reason };
        let origin = format!("https://{}", server.name());
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(settings.trust.tls()?)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(settings.max_in_flight)
            .redirect(redirect::Policy::none())
            // Nobody but the caller knows what may be repeated.
            .retry(reqwest::retry::never())
            .no_proxy()
            .https_only(true)
            .user_agent(concat!("freeipa-client/", env!("CARGO_PKG_VERSION")));
        // No port in the URL: it would be in the `Host`, which the server compares to its name.
        match server.connect() {
            None => {}
            Some(Connect::Address(address)) => builder = builder.resolve(server.name(), *address),
            Some(Connect::Name { host, port }) => {
                builder = builder.dns_resolver(Elsewhere { host: host.clone(), port: *port });
            }
        }
        let http = builder.build().map_err(|error| unusable(error.without_url().to_string()))?;
        let referer =
            HeaderValue::from_str(&format!("{origin}/ipa")).map_err(|error| unusable(error.to_string()))?;
        Ok(Self { http, origin, referer, max_reply_bytes: settings.max_reply_bytes })
    }

    /// Sends a request and reads the answer until `deadline`.
    pub(crate) async fn send(&self, request: Request, deadline: Instant) -> Result<Answer, TransportError> {
        let start = Instant::now();
        let sent = self
            .http
            .request(Method::POST, format!("{}{}", self.origin, request.path))
            .headers(request.headers)
            .header(header::REFERER, self.referer.clone())
            .timeout(deadline.saturating_duration_since(start))
            .body(request.body)
            .send()
            .await;
        match sent {
            Ok(response) => Ok(self.read(response, start).await),
            Err(error) => Err(TransportError::of(&error, start.elapsed())),
        }
    }

    async fn read(&self, mut response: Response, start: Instant) -> Answer {
        let text = |name: &HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
        let mut answer = Answer {
            status: response.status().as_u16(),
            rejection: text(&REJECTION_REASON).map(str::to_owned),
            is_json: text(&header::CONTENT_TYPE).is_some_and(is_json),
            cookie: session_cookie(response.headers()),
            body: Ok(Vec::new()),
        };
        let mut body = Vec::new();
        answer.body = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > self.max_reply_bytes => {
                    break Err(TransportError::TooLong { limit: self.max_reply_bytes });
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break Ok(body),
                Err(error) => break Err(TransportError::of(&error, start.elapsed())),
            }
        };
        answer
    }
}

/// What the headers say of the session. A server that renews it may empty the old one in the same answer.
fn session_cookie(headers: &HeaderMap) -> Option<SetCookie> {
    let mut said = None;
    for header in headers.get_all(header::SET_COOKIE) {
        match cookie::read(header.as_bytes()) {
            Some(SetCookie::Session(cookie)) => return Some(SetCookie::Session(cookie)),
            Some(SetCookie::Emptied) => said = Some(SetCookie::Emptied),
            None => {}
        }
    }
    said
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Connects to another host than the one that is asked for.
struct Elsewhere {
    host: String,
    port: u16,
}

impl dns::Resolve for Elsewhere {
    fn resolve(&self, _name: dns::Name) -> dns::Resolving {
        let place = (self.host.clone(), self.port);
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host(place).await?.collect();
            Ok(Box::new(found.into_iter()) as dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_json() {
        for good in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "text/html", "text/html; application/json", "application/jsonp"] {
            assert!(!is_json(bad), "{bad}");
        }
    }

    #[test]
    fn a_new_session_wins_over_the_end_of_the_old_one() {
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, HeaderValue::from_static("ipa_session=MagBearerToken=;path=/ipa"));
        assert_eq!(session_cookie(&headers), Some(SetCookie::Emptied));
        headers
            .append(header::SET_COOKIE, HeaderValue::from_static("ipa_session=MagBearerToken=x;path=/ipa"));
        headers.append(header::SET_COOKIE, HeaderValue::from_static("other=1"));
        assert!(matches!(session_cookie(&headers), Some(SetCookie::Session(_))));
        assert_eq!(session_cookie(&HeaderMap::new()), None);
    }
}
