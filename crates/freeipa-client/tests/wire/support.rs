//! A server of raw bytes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use freeipa_client::{Client, Credentials, Server, Settings, Trust};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

pub(crate) const NAME: &str = "ipa.example.test";
pub(crate) const PASSWORD: &str = "S3cret & + % password";

/// In the form that FreeIPA's Apache sends it: a reason phrase of its own, and a cookie whose value is full of signs.
pub(crate) fn logged_in(token: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 Success\r\nDate: Sat, 21 Nov 2026 20:52:59 GMT\r\nServer: Apache/2.4.58\r\n\
         Set-Cookie: ipa_session=MagBearerToken={token};path=/ipa;httponly;secure;\r\n\
         Content-Length: 0\r\nContent-Type: text/plain; charset=UTF-8\r\n\r\n"
    )
    .into_bytes()
}

/// A login that is refused, in the server's way: one reason for many things, and the truth in the page.
pub(crate) fn refused(reason: &str, text: &str) -> Vec<u8> {
    let page = format!(
        "<html>\n<head>\n<title>401 Unauthorized</title>\n</head>\n<body>\n<h1>Invalid Authentication</h1>\n<p>\n<strong>{text}</strong>\n</p>\n</body>\n</html>"
    );
    format!(
        "HTTP/1.1 401 Unauthorized\r\nX-IPA-Rejection-Reason: {reason}\r\nContent-Length: {}\r\n\
         Content-Type: text/html; charset=utf-8\r\n\r\n{page}",
        page.len()
    )
    .into_bytes()
}

pub(crate) fn wrong_password() -> Vec<u8> {
    refused("invalid-password", "kinit: Password incorrect while getting initial credentials")
}

pub(crate) fn no_session() -> Vec<u8> {
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nContent-Type: text/html; charset=UTF-8\r\n\r\n"
        .to_vec()
}

pub(crate) fn json(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 Success\r\nContent-Length: {}\r\nContent-Type: application/json; charset=utf-8\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn result(result: &str) -> Vec<u8> {
    reply_to("svc@EXAMPLE.TEST", result)
}

pub(crate) fn reply_to(principal: &str, result: &str) -> Vec<u8> {
    json(&format!(
        r#"{{"result":{result},"error":null,"id":0,"principal":"{principal}","version":"4.12.4"}}"#
    ))
}

pub(crate) fn user(login: &str) -> Vec<u8> {
    result(&format!(
        r#"{{"result":{{"uid":["{login}"],"dn":"uid={login},cn=users"}},"value":"{login}","summary":null}}"#
    ))
}

pub(crate) fn fault(code: i64, name: &str, message: &str) -> Vec<u8> {
    json(&format!(
        r#"{{"result":null,"error":{{"code":{code},"message":"{message}","data":{{}},"name":"{name}"}},"id":0,"principal":"svc@EXAMPLE.TEST","version":"4.12.4"}}"#
    ))
}

pub(crate) fn page(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: 13\r\nContent-Type: text/html\r\n\r\n<html></html>")
        .into_bytes()
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn is_login(&self) -> bool {
        self.path.contains("/login_")
    }

    /// A header's value, to the letter.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn method(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        body.get("method")?.as_str().map(str::to_owned)
    }
}

/// What the server does with a request.
pub(crate) enum Act {
    Answer(Vec<u8>),
    /// Sends this, and breaks the connection.
    Break(Vec<u8>),
    AnswerAfter(Duration, Vec<u8>),
    /// When somebody says so.
    AnswerOn(Arc<Notify>, Vec<u8>),
    Hang,
}

impl From<Vec<u8>> for Act {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Answer(bytes)
    }
}

/// What to do with a request, and the how-manieth it is at its path, from 0.
type Script = dyn Fn(&Seen, usize) -> Act + Send + Sync;

/// One server. It ends with its runtime, or when it is dropped.
pub(crate) struct Wire {
    name: String,
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    most_at_once: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| authority("Certificate Authority"));

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = parameters.self_signed(&key).unwrap().pem();
    Authority { pem, issuer: Issuer::new(parameters, key) }
}

pub(crate) fn ca() -> Vec<u8> {
    AUTHORITY.pem.clone().into_bytes()
}

/// An authority that nobody has heard of: of the same name with another key, as a reinstalled domain has it.
pub(crate) fn other_ca() -> Vec<u8> {
    authority("Certificate Authority").pem.into_bytes()
}

/// One of another name.
pub(crate) fn foreign_ca() -> Vec<u8> {
    authority("Somebody").pem.into_bytes()
}

impl Wire {
    pub(crate) async fn start(script: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static) -> Self {
        Self::named(NAME, script).await
    }

    /// One that answers as this server.
    pub(crate) async fn named(
        name: &str,
        script: impl Fn(&Seen, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate: CertificateDer<'static> =
            certificate.signed_by(&key, &AUTHORITY.issuer).unwrap().into();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::default();
        let desk = Arc::new(Desk {
            script: Box::new(script),
            seen: Arc::clone(&seen),
            counts: Mutex::default(),
            now: AtomicUsize::new(0),
            most_at_once: Arc::default(),
        });
        let most_at_once = Arc::clone(&desk.most_at_once);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, desk) = (acceptor.clone(), Arc::clone(&desk));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        desk.serve(stream).await;
                    }
                });
            }
        });
        Self { name: name.to_owned(), address, seen, most_at_once, task }
    }

    pub(crate) fn server(&self) -> Server {
        Server::new(&self.name).unwrap().connect_to(&self.address.to_string()).unwrap()
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::new(Credentials::password("svc", PASSWORD)).server(self.server()).trust(Trust::Only(ca()))
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.settings()).unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn logins(&self) -> usize {
        self.seen().iter().filter(|seen| seen.is_login()).count()
    }

    /// How often this command came.
    pub(crate) fn calls(&self, method: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method().as_deref() == Some(method)).count()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.most_at_once.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Desk {
    script: Box<Script>,
    seen: Arc<Mutex<Vec<Seen>>>,
    counts: Mutex<HashMap<String, usize>>,
    now: AtomicUsize,
    most_at_once: Arc<AtomicUsize>,
}

impl Desk {
    async fn serve(&self, mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) {
        let mut bytes = Vec::new();
        while let Some(seen) = request(&mut stream, &mut bytes).await {
            let nth = {
                let mut counts = self.counts.lock().unwrap();
                let count = counts.entry(seen.path.clone()).or_insert(0);
                *count += 1;
                *count - 1
            };
            self.seen.lock().unwrap().push(seen.clone());
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            let act = (self.script)(&seen, nth);
            let (wait, answer, breaks) = match act {
                Act::Answer(answer) => (Duration::ZERO, answer, false),
                Act::AnswerAfter(wait, answer) => (wait, answer, false),
                Act::Break(answer) => (Duration::ZERO, answer, true),
                Act::AnswerOn(word, answer) => {
                    word.notified().await;
                    (Duration::ZERO, answer, false)
                }
                Act::Hang => std::future::pending().await,
            };
            tokio::time::sleep(wait).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            if breaks {
                // Without a good-bye, as a process that is killed.
                let (socket, _) = stream.into_inner();
                drop(socket);
                return;
            }
        }
    }
}

/// The next request, whose body has a length.
async fn request(stream: &mut (impl AsyncReadExt + Unpin), bytes: &mut Vec<u8>) -> Option<Seen> {
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let mut seen = Seen { path, head, body: String::new() };
            let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                seen.body = String::from_utf8(bytes[end + 4..end + 4 + length].to_vec()).unwrap();
                bytes.drain(..end + 4 + length);
                return Some(seen);
            }
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}
