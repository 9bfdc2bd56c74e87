//! HTTP/1.1 as the doubles speak it: with own reason phrases, and with connections that break in the middle.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::DoubleError;

/// The largest body taken.
const LARGEST: usize = 4 << 20;
/// How long a TLS handshake may take: who connects and says nothing holds no task for ever.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A request, read whole.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A reply, as it will stand on the wire.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: StatusCode,
    reason: Option<&'static [u8]>,
    headers: HeaderMap,
    body: Bytes,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A reply.
    Reply(Reply),
    /// The head of a reply and half of its body, then the connection is gone.
    Half(Reply),
    /// The connection is gone.
    Drop,
    /// Nothing, for as long as the client keeps waiting.
    Hang,
}

/// What answers requests.
pub(crate) trait Site: Send + Sync + 'static {
    fn answer(&self, request: Request) -> impl Future<Output = Answer> + Send;
}

/// A site that is being served; ends when dropped.
#[derive(Debug)]
pub(crate) struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// The connection ends here, on purpose.
#[derive(Debug)]
struct Broken;

type Body = BoxBody<Bytes, io::Error>;

// === impl Request ===

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether the body says it is of this kind.
    pub(crate) fn is(&self, content_type: &str) -> bool {
        self.header(CONTENT_TYPE.as_str())
            .is_some_and(|value| value.to_ascii_lowercase().starts_with(content_type))
    }
}

// The body and the headers may hold passwords.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

// === impl Reply ===

impl Reply {
    pub(crate) fn new(status: StatusCode) -> Self {
        Self { status, reason: None, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A reply with a JSON body.
    pub(crate) fn json(status: StatusCode, body: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self::new(status).with_body("application/json", body)
    }

    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(crate) fn with_reason(mut self, reason: &'static [u8]) -> Self {
        self.reason = Some(reason);
        self
    }

    pub(crate) fn with_body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = body.into();
        self
    }

    /// Adds a header, unless its value cannot stand in one.
    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    fn into_response(self, whole: bool) -> http::Response<Body> {
        let length = self.body.len();
        let body: Body = if whole {
            Full::new(self.body).map_err(|never| match never {}).boxed()
        } else {
            let half = Ok(Frame::data(self.body.slice(..length / 2)));
            BodyExt::boxed(StreamBody::new(stream::iter([half, Err(io::ErrorKind::ConnectionReset.into())])))
        };
        let mut response = http::Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        if let Some(reason) = self.reason.and_then(|reason| ReasonPhrase::try_from(reason).ok()) {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

// === impl Served ===

impl Served {
    /// Serves a site at an address until dropped, over TLS if there is an acceptor.
    pub(crate) async fn start<S: Site>(
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        site: Arc<S>,
    ) -> Result<Self, DoubleError> {
        let refused = |source| DoubleError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept(listener, tls, site, stop.clone()));
        Ok(Self { address, stop, task: Mutex::new(Some(task)) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, and breaks all connections.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept<S: Site>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    site: Arc<S>,
    stop: CancellationToken,
) {
    // Dropped with this task, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, tls.clone(), Arc::clone(&site)));
            }
            // Out of files, most likely; connections that end give some back.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection<S: Site>(stream: TcpStream, tls: Option<TlsAcceptor>, site: Arc<S>) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => exchange(stream, site).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await {
                exchange(stream, site).await;
            }
        }
    }
}

async fn exchange<S: Site>(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, site: Arc<S>) {
    let service = service_fn(move |request| respond(request, Arc::clone(&site)));
    // A connection that a client or a fault broke is no news.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond<S: Site>(
    request: http::Request<Incoming>,
    site: Arc<S>,
) -> Result<http::Response<Body>, Broken> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST).collect().await else {
        return Ok(Reply::new(StatusCode::PAYLOAD_TOO_LARGE).into_response(true));
    };
    let request = Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: body.to_bytes(),
    };
    // A task of its own: a client that goes away does not stop what the server is doing for it.
    match tokio::spawn(async move { site.answer(request).await }).await {
        Ok(Answer::Reply(reply)) => Ok(reply.into_response(true)),
        Ok(Answer::Half(reply)) => Ok(reply.into_response(false)),
        Ok(Answer::Drop) | Err(_) => Err(Broken),
        Ok(Answer::Hang) => std::future::pending().await,
    }
}

// === impl Broken ===

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken on purpose")
    }
}

impl std::error::Error for Broken {}
