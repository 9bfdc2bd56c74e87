//! Limits in front of a service: one count for all clones, connections and programs; readiness, refunds, outages.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::routing::get;
use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt};
use valkey_connection::{Connection, ConnectionSettings};
use valkey_ratelimit::{LimitError, Limiter, OnUnavailable, RateLimitLayer, Refusal, Rule, Subject, Toll};
use valkey_testkit::{FaultProxy, TestServer, eventually, unique_name};

const DEADLINE: Duration = Duration::from_millis(500);

async fn limiter_of(url: &str) -> Limiter {
    let settings = ConnectionSettings::from_url(url).unwrap();
    Limiter::new(Connection::connect(&settings).await.unwrap())
}

/// No test that uses it is about how fast a server answers.
async fn limiter() -> Limiter {
    limiter_of(&TestServer::shared().await.url()).await.with_deadline(Duration::from_secs(10))
}

/// A rule that nobody else has, with a window that no test sees the end of.
fn rule(quota: &str) -> Rule {
    Rule::new(unique_name("r").parse().unwrap(), quota.parse().unwrap())
}

/// Charges everybody the same subject.
fn all(rule: &Rule) -> impl Fn(&Request) -> Option<Toll> + Send + Sync + 'static {
    let rule = rule.clone();
    move |_| Some(Toll::new(&rule, Subject::text("all")))
}

async fn used(limiter: &Limiter, rule: &Rule, subject: &str) -> u64 {
    rule.quota().limit() - limiter.peek(rule, &Subject::text(subject), 1).await.unwrap().remaining
}

/// A server that says hello.
fn app(limits: RateLimitLayer<Request, Response<Body>>) -> Router {
    Router::new().route("/", get(async || "hello")).layer(limits)
}

fn empty() -> Request {
    Request::new(Body::empty())
}

async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// A whole answer, as it came over the wire to a client that knows nothing but bytes.
async fn fetch(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_one_for_all_clones_all_connections_and_all_programs() {
    let rule = rule("30/10day");
    let (mut addresses, served) = (Vec::new(), Arc::new(AtomicUsize::new(0)));
    for _program in 0..2 {
        let (rule, count) = (rule.clone(), Arc::clone(&served));
        let limits = RateLimitLayer::http(limiter().await, move |request: &Request| {
            let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
            Some(Toll::new(&rule, Subject::ip(peer.ip())))
        });
        let hello = async move || {
            count.fetch_add(1, Ordering::Relaxed);
            "hello"
        };
        let app = Router::new().route("/", get(hello)).layer(limits);
        for _clone in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let app = app.clone().into_make_service_with_connect_info::<SocketAddr>();
            tokio::spawn(async move { axum::serve(listener, app).await });
        }
    }
    let mut calls = JoinSet::new();
    for number in 0..100 {
        calls.spawn(fetch(addresses[number % addresses.len()]));
    }
    let answers = calls.join_all().await;
    let (allowed, denied): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!((allowed.len(), served.load(Ordering::Relaxed)), (30, 30));
    for answer in allowed {
        assert!(answer.contains("\r\nratelimit: ") && !answer.contains("\r\nretry-after: "), "{answer}");
    }
    for answer in denied {
        assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
        for expected in [
            "\r\nretry-after: ",
            "\r\nratelimit-policy: ",
            "\r\ncontent-type: application/problem+json\r\n",
            "http-problem-types#quota-exceeded",
            rule.name().as_str(),
        ] {
            assert!(answer.contains(expected), "{expected} is not in {answer}");
        }
    }
}

#[tokio::test]
async fn who_has_no_key_is_not_limited_and_not_charged() {
    let (limiter, rule) = (limiter().await, rule("1/10day"));
    let asked = rule.clone();
    let limits = RateLimitLayer::http(limiter.clone(), move |request: &Request| {
        let user = request.headers().get("x-user")?;
        Some(Toll::new(&asked, Subject::text(user.to_str().ok()?)))
    });
    let app = app(limits);
    for _ in 0..3 {
        let response = app.clone().oneshot(empty()).await.unwrap();
        assert_eq!((response.status(), header(&response, "ratelimit")), (StatusCode::OK, None));
    }
    for (user, expected) in [("ada", 200), ("ada", 429), ("bob", 200)] {
        let request = Request::builder().header("x-user", user).body(Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), expected, "{user}");
    }
    assert_eq!(used(&limiter, &rule, "ada").await, 1);
}

#[tokio::test]
async fn several_limits_are_charged_all_or_none_and_the_answer_names_the_one_in_the_way() {
    let limiter = limiter().await;
    let (wide, narrow) = (rule("100/10day"), rule("2/10day"));
    let asked = (wide.clone(), narrow.clone());
    let limits = RateLimitLayer::http(limiter.clone(), move |_: &Request| {
        let all = Subject::text("all");
        [Toll::new(&asked.0, all.clone()).cost(10), Toll::new(&asked.1, all)]
    });
    let app = app(limits);
    for _ in 0..2 {
        assert_eq!(app.clone().oneshot(empty()).await.unwrap().status(), 200);
    }
    let response = app.oneshot(empty()).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers().get_all("ratelimit-policy").iter().count(), 2);
    assert!(header(&response, "ratelimit").unwrap().contains(narrow.name().as_str()));
    assert_eq!(response.headers().get_all("ratelimit").iter().count(), 1);
    let violated = format!(r#""violated-policies":["{}"]}}"#, narrow.name());
    let body = text(response).await;
    assert!(body.ends_with(&violated), "{body}");
    assert_eq!(used(&limiter, &wide, "all").await, 20, "the refused one is not charged");
}

#[tokio::test]
async fn what_failed_is_given_back_if_that_is_wished() {
    let limiter = limiter().await;
    for (wished, expected) in [(false, 5), (true, 2)] {
        let rule = rule("100/10day");
        let mut limits = RateLimitLayer::http(limiter.clone(), all(&rule));
        if wished {
            limits = limits.refund_if(|response| response.status().is_server_error());
        }
        let app = Router::new()
            .route("/", get(async || "hello"))
            .route("/broken", get(async || StatusCode::BAD_GATEWAY))
            .layer(limits);
        for path in ["/", "/broken", "/broken", "/", "/broken"] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            app.clone().oneshot(request).await.unwrap();
        }
        assert_eq!(used(&limiter, &rule, "all").await, expected, "wished: {wished}");
    }
}

#[tokio::test]
async fn what_waiting_does_not_help_is_said_without_a_time_and_what_is_wrong_here_is_not_told() {
    let (limiter, rule) = (limiter().await, rule("10/10day"));
    let asked = rule.clone();
    let dear = app(RateLimitLayer::http(limiter.clone(), move |_| {
        Some(Toll::new(&asked, Subject::text("all")).cost(11))
    }));
    let response = dear.oneshot(empty()).await.unwrap();
    assert_eq!((response.status(), header(&response, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, None));
    let body = text(response).await;
    assert!(body.contains("costs 11, and the limit is 10"), "{body}");

    let key = rule.key(&Subject::text("all"));
    TestServer::shared().await.cli(&["SET", &key, "somebody's"]).await.unwrap();
    let foreign = app(RateLimitLayer::http(limiter, all(&rule)));
    let response = foreign.oneshot(empty()).await.unwrap();
    assert_eq!(response.status(), 500);
    let error = response.extensions().get::<LimitError>().unwrap();
    assert!(error.to_string().contains(&key), "the log is told: {error}");
    let body = text(response).await;
    assert!(!body.contains(&key) && !body.contains(rule.name().as_str()), "{body}");
}

/// Each rule says what becomes of requests then; nobody waits longer than the deadline, and no answer is one of a limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_no_limit_that_is_reached() {
    let server = TestServer::start().await.unwrap();
    let limiter = limiter_of(&server.url()).await.with_deadline(DEADLINE);
    let that = |quota, on_unavailable| {
        let rule = rule(quota).with_on_unavailable(on_unavailable);
        app(RateLimitLayer::http(limiter.clone(), all(&rule)))
    };
    let deny = that("1000/10day", OnUnavailable::Deny);
    let allow = that("1000/10day", OnUnavailable::Allow);
    let local = that("4/10day", OnUnavailable::Local { nodes: NonZeroU32::new(2).unwrap() });
    for app in [&deny, &allow] {
        assert_eq!(app.clone().oneshot(empty()).await.unwrap().status(), 200);
    }
    server.kill().await.unwrap();
    for _ in 0..20 {
        let begun = Instant::now();
        let response = deny.clone().oneshot(empty()).await.unwrap();
        assert!(begun.elapsed() < DEADLINE * 2, "{:?}", begun.elapsed());
        assert_eq!(response.status(), 503);
        assert_eq!((header(&response, "retry-after"), header(&response, "ratelimit")), (Some("5"), None));
        assert!(response.extensions().get::<LimitError>().is_some());
        let body = text(response).await;
        assert!(body.contains("temporary-reduced-capacity") && !body.contains("violated"), "{body}");

        let begun = Instant::now();
        let response = allow.clone().oneshot(empty()).await.unwrap();
        assert!(begun.elapsed() < DEADLINE * 2, "{:?}", begun.elapsed());
        assert_eq!((response.status(), header(&response, "ratelimit")), (StatusCode::OK, None));
        assert!(header(&response, "ratelimit-policy").is_some(), "the policy is known");
    }
    // By its own count, which is a share of the limit: as an answer it is like any other.
    for (status, left) in [(200, "r=1;"), (200, "r=0;"), (429, "r=0;")] {
        let response = local.clone().oneshot(empty()).await.unwrap();
        assert_eq!(response.status(), status);
        assert!(header(&response, "ratelimit").unwrap().contains(left), "{response:?}");
        assert_eq!(header(&response, "retry-after").is_some(), status == 429);
    }
    server.restart().await.unwrap();
    eventually("the limit works again", async || {
        let response = deny.clone().oneshot(empty()).await.unwrap();
        (response.status() == 200 && header(&response, "ratelimit").is_some()).then_some(())
    })
    .await;
}

/// Ready once for each time it was asked; a clone is not.
#[derive(Debug, Default)]
struct Fussy {
    ready: bool,
}

impl Clone for Fussy {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl Service<u32> for Fussy {
    type Response = Result<u32, String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, number: u32) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been ready");
        std::future::ready(Ok(Ok(number)))
    }
}

/// Neither HTTP nor a server: any request, any answer.
#[tokio::test]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    let rule = rule("3/10day");
    let layer = RateLimitLayer::new(
        limiter().await,
        move |number: &u32| Some(Toll::new(&rule, Subject::text("all")).cost(u64::from(*number))),
        |number, refusal| match refusal {
            Refusal::Denied(verdicts) => Err(format!("{number} of {}", verdicts[0].rule().quota())),
            other => Err(format!("{other:?}")),
        },
    );
    let mut service = layer.layer(Fussy::default());
    let denied = Err("2 of 3/10days".to_owned());
    for (number, expected) in [(2, Ok(2)), (2, denied.clone()), (1, Ok(1)), (2, denied)] {
        assert_eq!(service.ready().await.unwrap().call(number).await, Ok(expected));
    }
}

#[tokio::test]
async fn who_is_not_ready_is_not_asked_for() {
    let (limiter, rule) = (limiter().await, rule("10/10day"));
    let limits = RateLimitLayer::http(limiter.clone(), all(&rule));
    let busy = tower::limit::ConcurrencyLimit::new(
        tower::service_fn(|_: Request| std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))),
        1,
    );
    let mut service = limits.layer(busy);
    let mut other = service.clone();
    let first = service.ready().await.unwrap().call(empty());
    assert!(poll(&mut other).is_pending(), "the one place is taken");
    assert_eq!(used(&limiter, &rule, "all").await, 0, "nothing is charged before the call");
    assert_eq!(first.await.unwrap().status(), 200);
    assert!(poll(&mut other).is_ready(), "the place is free again");
}

fn poll<S: Service<Request>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(std::task::Waker::noop()))
}

/// Whoever leaves while the limit is asked takes nothing along: neither the place in the service behind nor the limiter's.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_does_not_spoil_the_service() {
    let server = TestServer::start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let limiter = limiter_of(&format!("valkey://{}", proxy.address())).await.with_deadline(DEADLINE * 20);
    let passed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&passed);
    let behind = tower::limit::ConcurrencyLimit::new(
        tower::service_fn(move |_: Request| {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
        }),
        1,
    );
    let mut service = RateLimitLayer::http(limiter, all(&rule("1000/10day"))).layer(behind);
    assert_eq!(service.ready().await.unwrap().call(empty()).await.unwrap().status(), 200);
    proxy.stall();
    for _ in 0..10 {
        let call = service.ready().await.unwrap().call(empty());
        assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err(), "it stalls");
    }
    assert_eq!(passed.load(Ordering::Relaxed), 1, "nobody passes unasked");
    proxy.heal().await.unwrap();
    eventually("the service answers", async || {
        let response = service.ready().await.unwrap().call(empty()).await.unwrap();
        (response.status() == 200).then_some(())
    })
    .await;
}
