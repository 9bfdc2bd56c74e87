//! Metrics and health over HTTP.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | all metrics in the text format of Prometheus |
//! | `/healthz` | `200` as long as the process lives |
//! | `/readyz` | `200` if the program is ready, else `503`; how it stands, as JSON |

use std::convert::Infallible;
use std::io;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, warn};

use crate::shutdown::Shutdown;

/// Connections at a time; more wait to be accepted.
const MOST: usize = 64;
/// How long one may last: a scraper connects anew then, and nobody holds one for ever.
const LONGEST: Duration = Duration::from_mins(1);
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// How often what histograms gathered is put into their buckets; a scrape does it, too.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a program says of itself.
pub trait Site: Send + Sync + 'static {
    /// All metrics in the text format of Prometheus, as they are now; `None`: another recorder of this process has them.
    fn metrics(&self, is_draining: bool) -> Option<String>;

    /// Puts what histograms gathered into their buckets.
    fn keep_up(&self);

    /// How it stands.
    fn readiness(&self, is_draining: bool) -> Readiness;
}

/// How a program stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it should get work.
    pub is_ready: bool,
    /// The same with the reason, a JSON document.
    pub document: String,
}

/// Serves what a [`Site`] says.
#[derive(Debug)]
pub struct Http<S> {
    listener: TcpListener,
    site: Arc<S>,
}

impl<S: Site> Http<S> {
    /// Listens.
    ///
    /// # Errors
    /// The address is taken, or not ours.
    pub async fn bind(address: SocketAddr, site: S) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, site: Arc::new(site) })
    }

    /// Where it really listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Runs until it is dropped: also who drains is watched.
    pub async fn run(self, shutdown: Shutdown) {
        let Self { listener, site } = self;
        tokio::join!(accept(&listener, &site, &shutdown), keep_up(&*site));
    }
}

async fn accept<S: Site>(listener: &TcpListener, site: &Arc<S>, shutdown: &Shutdown) {
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

async fn keep_up(site: &impl Site) {
    let mut ticks = interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        site.keep_up();
    }
}

async fn serve<S: Site>(stream: TcpStream, site: Arc<S>, shutdown: Shutdown) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(&*site, request.method(), request.uri().path(), shutdown.is_draining());
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

fn respond(site: &impl Site, method: &Method, path: &str, is_draining: bool) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => match site.metrics(is_draining) {
            Some(metrics) => of(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics),
            None => plain(StatusCode::NOT_FOUND, "this process has another recorder of metrics\n"),
        },
        "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => {
            let Readiness { is_ready, document } = site.readiness(is_draining);
            let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            of(code, "application/json", document)
        }
        _ => plain(StatusCode::NOT_FOUND, "/metrics, /healthz and /readyz are what there is\n"),
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
