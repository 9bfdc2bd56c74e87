//! A mail server that stands in for one, clients, and nodes.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smtp_guard::proxy::{self, Header};
use smtp_guard::settings::PREFIX;
use smtp_guard::{Guard, GuardSettings, Shutdown};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use valkey_config::Sources;
use valkey_testkit::{TestServer, unique_name};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// Greets, says `250` to each line, and `221` to the last one. After `DATA` it gives back whatever comes, bytes as they are.
pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Header>>>,
    task: JoinHandle<()>,
}

impl MailServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Header>>>::default();
        let headers = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let headers = Arc::clone(&headers);
                tokio::spawn(async move {
                    let Ok((header, early)) = proxy::read(&mut stream).await else { return };
                    headers.lock().unwrap().push(header);
                    let _ = serve(stream, early).await;
                });
            }
        });
        Self { address, seen, task }
    }

    /// What it was told of its clients.
    pub(crate) fn headers(&self) -> Vec<Header> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, early: Vec<u8>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    write.write_all(b"220 mail\r\n").await?;
    let mut read = BufReader::new(std::io::Cursor::new(early).chain(read));
    let mut line = String::new();
    loop {
        line.clear();
        if read.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "QUIT" => return write.write_all(b"221 bye\r\n").await,
            "DATA" => {
                write.write_all(b"354 go\r\n").await?;
                tokio::io::copy_buf(&mut read, &mut write).await?;
                return Ok(());
            }
            _ => write.write_all(b"250 ok\r\n").await?,
        }
    }
}

/// Settings of a node that shares limits with those of the same prefix.
pub(crate) struct Cluster {
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) backend: SocketAddr,
}

/// A node that runs.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) running: JoinHandle<()>,
}

impl Cluster {
    pub(crate) async fn new(mail: &MailServer) -> Self {
        let prefix = format!("elemta:ratelimit:{}:", unique_name("gate"));
        Self { url: TestServer::shared().await.url(), prefix, backend: mail.address }
    }

    /// A node with more settings, lines of TOML. Its limits are in force when this returns, unless it has a time of its own to
    /// check them in.
    pub(crate) async fn node(&self, resources: &str, gate: &str) -> Node {
        let Self { url, prefix, backend } = self;
        // No test but those of outages is about how fast a server answers.
        let unless_given = |key: &str, line: &'static str| if gate.contains(key) { "" } else { line };
        let check_timeout = unless_given("check_timeout", "check_timeout = \"10s\"");
        let trusted = unless_given("trusted_proxies", "trusted_proxies = [\"127.0.0.1\"]");
        let text = format!(
            "[resources]\nvalkey_url = \"{url}\"\nvalkey_key_prefix = \"{prefix}\"\n{resources}\n\
             [guard]\nnode_id = \"{}\"\ndrain_timeout = \"2s\"\n\
             [gate]\nlisten = [\"127.0.0.1:0\"]\nbackend = \"{backend}\"\n{trusted}\n{check_timeout}\n{gate}\n",
            unique_name("node"),
        );
        let (settings, _) =
            GuardSettings::from_sources(&Sources::new(PREFIX).toml_text("test", text)).unwrap();
        let guard = Guard::bind(settings).await.unwrap();
        let (address, shutdown) = (guard.gate_addresses()[0], Shutdown::new());
        let store = guard.store().clone();
        let told = shutdown.clone();
        let running = tokio::spawn(async move { guard.run(told).await.unwrap() });
        if !gate.contains("check_timeout") {
            valkey_testkit::eventually("the store answers", async || store.limiter().map(drop)).await;
        }
        Node { address, shutdown, running }
    }
}

impl Node {
    /// A client that a balancer names, up to the first line it hears.
    pub(crate) async fn client(&self, from: &str) -> Client {
        let mut client = Client::connect(self.address).await;
        let from: IpAddr = from.parse().unwrap();
        let header = Header::Proxied {
            client: SocketAddr::new(from, 40_000),
            server: if from.is_ipv4() { "203.0.113.1:25" } else { "[2001:db8::25]:25" }.parse().unwrap(),
        };
        client.say(&header.to_bytes()).await;
        client.greeting = client.line().await;
        client
    }

    /// As [`client`](Self::client), that says goodbye if it is greeted: the first line.
    pub(crate) async fn visit(&self, from: &str) -> String {
        let mut client = self.client(from).await;
        if client.is_greeted() {
            client.say(b"QUIT\r\n").await;
            assert_eq!(client.line().await, "221 bye");
        }
        assert_eq!(client.line().await, "", "it is closed");
        client.greeting
    }

    pub(crate) async fn end(self) {
        self.shutdown.drain();
        timeout(PATIENCE, self.running).await.unwrap().unwrap();
    }
}

/// A client's end of a connection.
pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
    pub(crate) greeting: String,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        Self { stream, greeting: String::new() }
    }

    pub(crate) fn is_greeted(&self) -> bool {
        self.greeting == "220 mail"
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// A line without its end; nothing at the end of the connection, however it ended.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        match timeout(PATIENCE, self.stream.read_line(&mut line)).await.expect("it says something, or ends") {
            Ok(_) => line.trim_end().to_owned(),
            Err(_) => String::new(),
        }
    }
}
