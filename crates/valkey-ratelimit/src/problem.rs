//! What HTTP answers to a request that does not go on: RFC 9457 with the problem types of the `RateLimit` draft.

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::error::LimitError;
use crate::headers::{RateLimitHeaders, violated};
use crate::layer::{RateLimitLayer, Refusal, Toll};
use crate::limiter::Limiter;

const QUOTA_EXCEEDED: (&str, &str) = (
    "https://iana.org/assignments/http-problem-types#quota-exceeded",
    "Request cannot be satisfied as assigned quota has been exceeded",
);
const REDUCED_CAPACITY: (&str, &str) = (
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
    "Request cannot be satisfied due to temporary server capacity constraints",
);
const INTERNAL: (&str, &str) = ("about:blank", "Internal Server Error");

/// When to come again while the store is away, in seconds. By then it is noticed if it is back.
const AWAY: u64 = 5;

impl<Req, B> RateLimitLayer<Req, Response<B>>
where
    B: From<String>,
{
    /// Charges each request the tolls that `tolls` names, as [`new`](Self::new) does, and answers as HTTP has it, with a
    /// [`Refusal::response`]. The [`RateLimitHeaders`] are on every answer.
    pub fn http<T>(limiter: Limiter, tolls: impl Fn(&Req) -> T + Send + Sync + 'static) -> Self
    where
        T: IntoIterator<Item = Toll>,
    {
        Self::new(limiter, tolls, |_, refusal| refusal.response()).with_headers(RateLimitHeaders::new())
    }

    /// With other fields.
    #[must_use]
    pub fn with_headers(self, headers: RateLimitHeaders) -> Self {
        self.with_label(move |response, verdicts| headers.write(verdicts, response.headers_mut()))
    }
}

impl Refusal {
    /// The answer of HTTP, with a body for programs:
    ///
    /// | status | when | type | `Retry-After` |
    /// |---|---|---|---|
    /// | 429 | denied | `quota-exceeded`, and which rules | when there is room, by [`RateLimitHeaders`] |
    /// | 429 | costs more than the limit | `quota-exceeded` | none: waiting does not help |
    /// | 503 | the store could not be asked | `temporary-reduced-capacity` | 5 s |
    /// | 500 | anything else | `about:blank` | none |
    ///
    /// Of errors the client learns nothing more. The [`LimitError`] is in the extensions of the answer, for a layer outside
    /// that writes logs.
    pub fn response<B: From<String>>(&self) -> Response<B> {
        match self {
            Self::Denied(verdicts) => {
                // Names of rules and networks need no escapes.
                let names: Vec<String> =
                    violated(verdicts).iter().map(|name| format!("\"{name}\"")).collect();
                let members = format!(r#","violated-policies":[{}]"#, names.join(","));
                problem(StatusCode::TOO_MANY_REQUESTS, QUOTA_EXCEEDED, &members)
            }
            Self::Error(error) => {
                let mut response = of_error(error);
                response.extensions_mut().insert(error.clone());
                response
            }
        }
    }
}

fn of_error<B: From<String>>(error: &LimitError) -> Response<B> {
    match error {
        LimitError::CostAboveLimit { rule, cost, limit } => {
            let members = format!(
                r#","detail":"costs {cost}, and the limit is {limit}: ask for less","violated-policies":["{rule}"]"#
            );
            problem(StatusCode::TOO_MANY_REQUESTS, QUOTA_EXCEEDED, &members)
        }
        error if error.is_unavailable() => {
            let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, REDUCED_CAPACITY, "");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(AWAY));
            response
        }
        _ => problem(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL, ""),
    }
}

fn problem<B: From<String>>(status: StatusCode, (kind, title): (&str, &str), members: &str) -> Response<B> {
    let body = format!(r#"{{"type":"{kind}","title":"{title}","status":{}{members}}}"#, status.as_u16());
    let mut response = Response::new(B::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
