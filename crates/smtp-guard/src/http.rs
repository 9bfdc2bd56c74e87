//! Metrics and health over HTTP.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | all metrics in the text format of Prometheus |
//! | `/healthz` | `200` as long as the process lives |
//! | `/readyz` | `200` if this node should get clients, else `503`; how the store does, as JSON |
//!
//! A node is ready without its store, too, as long as its gate lets clients pass then: it says `"degraded":true`. It is not ready
//! once it drains.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, warn};
use valkey_ratelimit::{Health, Limiter, NodeId};

use crate::guard::GuardError;
use crate::settings::{GuardSettings, OnUnavailable};
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::telemetry;

/// Connections at a time; more wait to be accepted.
const MOST: usize = 64;
/// How long one may last: a scraper connects anew then, and nobody holds one for ever.
const LONGEST: Duration = Duration::from_mins(1);
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// How often what histograms gathered is put into their buckets; a scrape does it, too.
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves metrics and health.
#[derive(Debug)]
pub(crate) struct Http {
    listener: TcpListener,
    site: Arc<Site>,
}

#[derive(Debug)]
struct Site {
    node: NodeId,
    store: Store,
    /// Whether clients are sent away while the store is away.
    needs_store: bool,
}

/// The body of `/readyz`.
#[derive(Debug, Serialize)]
struct Readiness<'a> {
    status: &'static str,
    degraded: bool,
    node: &'a str,
    store: &'static str,
}

// === impl Http ===

impl Http {
    /// Listens, if the settings say where; also installs the recorder of this process's metrics, unless it has another.
    ///
    /// # Errors
    /// The address is taken, or not ours.
    pub(crate) async fn bind(
        settings: &GuardSettings,
        node: &NodeId,
        store: Store,
    ) -> Result<Option<Self>, GuardError> {
        let Some(address) = settings.http.listen else { return Ok(None) };
        let listener = TcpListener::bind(address).await.map_err(|source| GuardError::Listen {
            section: "http.listen",
            address: address.to_string(),
            source,
        })?;
        if telemetry::recorder().is_none() {
            warn!("this process has another recorder of metrics: /metrics stays empty");
        }
        telemetry::begin(node);
        let has_gate = !settings.gate.listen.is_empty();
        let needs_store = has_gate && settings.gate.on_unavailable == OnUnavailable::Deny;
        Ok(Some(Self { listener, site: Arc::new(Site { node: node.clone(), store, needs_store }) }))
    }

    /// Where it really listens.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Runs until it is dropped: also who drains is watched.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let Self { listener, site } = self;
        tokio::join!(accept(&listener, &site, &shutdown), keep_up());
    }
}

async fn accept(listener: &TcpListener, site: &Arc<Site>, shutdown: &Shutdown) {
    let places = Arc::new(Semaphore::new(MOST));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let (site, shutdown) = (Arc::clone(site), shutdown.clone());
                connections.spawn(async move {
                    serve(stream, site, shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "a connection for metrics could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn keep_up() {
    let mut ticks = interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(recorder) = telemetry::recorder() {
            recorder.run_upkeep();
        }
    }
}

async fn serve(stream: TcpStream, site: Arc<Site>, shutdown: Shutdown) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = site.respond(request.method(), request.uri().path(), shutdown.is_draining());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = if let Ok(ended) = timeout(LONGEST, connection.as_mut()).await {
        ended
    } else {
        // What is being answered is still answered.
        connection.as_mut().graceful_shutdown();
        timeout(HEAD, connection).await.unwrap_or(Ok(()))
    };
    if let Err(error) = ended {
        debug!(%error, "a connection for metrics ended");
    }
}

// === impl Site ===

impl Site {
    fn respond(&self, method: &Method, path: &str, draining: bool) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/metrics" => self.metrics(),
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(draining),
            _ => plain(StatusCode::NOT_FOUND, "/metrics, /healthz and /readyz are what there is\n"),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        telemetry::state(self.health());
        telemetry::slots_held(self.store.slots().holdings().iter().map(|(_, held)| held).sum());
        match telemetry::recorder() {
            Some(recorder) => {
                of(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", recorder.render())
            }
            None => plain(StatusCode::NOT_FOUND, "this process has another recorder of metrics\n"),
        }
    }

    fn ready(&self, draining: bool) -> Response<Full<Bytes>> {
        let health = self.health();
        let store = match health {
            Some(Health::Healthy) => "healthy",
            Some(Health::Degraded) => "degraded",
            Some(Health::Recovering) => "recovering",
            Some(_) => "away",
            None => "connecting",
        };
        let is_away = matches!(store, "away" | "connecting");
        let status = match (draining, is_away && self.needs_store) {
            (true, _) => "draining",
            (false, true) => "unavailable",
            (false, false) => "ready",
        };
        let code = if status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let degraded = health != Some(Health::Healthy);
        let readiness = Readiness { status, degraded, node: self.node.as_str(), store };
        // Texts and a boolean always have a JSON form.
        of(code, "application/json", serde_json::to_string(&readiness).unwrap_or_default())
    }

    fn health(&self) -> Option<Health> {
        self.store.limiter().map(Limiter::health)
    }
}

fn plain(code: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    of(code, "text/plain; charset=utf-8", text)
}

fn of(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
