//! A connection to the shared server and a queue of the test's own.

use valkey_connection::{Connection, ConnectionSettings};
use valkey_envelope::{Envelope, Lane, QueueKeys, QueueName};
use valkey_sender::{Receipt, SendError, Sender, SenderBuilder};
use valkey_testkit::{FaultProxy, TestServer, unique_name};

pub(crate) struct Rig {
    pub(crate) server: &'static TestServer,
    pub(crate) connection: Connection,
    pub(crate) queue: QueueName,
    pub(crate) keys: QueueKeys,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let server = TestServer::shared().await;
        let connection = connect(&server.url()).await;
        let queue = queue();
        Self { server, connection, keys: queue.keys(), queue }
    }

    /// The same, through a proxy.
    pub(crate) async fn behind_proxy() -> (Self, FaultProxy) {
        let server = TestServer::shared().await;
        let proxy = FaultProxy::start(&server.address()).await.unwrap();
        let settings =
            ConnectionSettings::from_url(&format!("valkey://{}", proxy.address())).unwrap().pool_size(1);
        // Tests cut connections hundreds of times; that must not look like an outage.
        let connection = Connection::connect(&settings.breaker_failures(1_000_000)).await.unwrap();
        let queue = queue();
        (Self { server, connection, keys: queue.keys(), queue }, proxy)
    }

    pub(crate) fn builder(&self) -> SenderBuilder {
        Sender::builder(self.connection.clone(), self.queue.clone())
    }

    pub(crate) fn sender(&self) -> Sender {
        self.builder().build()
    }

    pub(crate) async fn cli(&self, arguments: &[&str]) -> String {
        self.server.cli(arguments).await.unwrap()
    }

    pub(crate) async fn count(&self, command: &str, key: &str) -> usize {
        self.cli(&[command, key]).await.parse().unwrap()
    }

    pub(crate) async fn public_length(&self) -> usize {
        self.count("LLEN", self.keys.public()).await
    }

    /// The payloads of a list, in the order in which consumers get them.
    pub(crate) async fn payloads(&self, key: &str) -> Vec<String> {
        let lines = self.cli(&["LRANGE", key, "0", "-1"]).await;
        let mut payloads: Vec<String> = lines
            .lines()
            .map(|line| Envelope::decode(line.as_bytes()).unwrap().payload().get().to_owned())
            .collect();
        payloads.reverse();
        payloads
    }

    /// Every key of this queue that exists.
    pub(crate) async fn existing_keys(&self) -> Vec<String> {
        let found = self.cli(&["--scan", "--pattern", &format!("*{}*", self.queue)]).await;
        let mut found: Vec<String> = found.lines().map(str::to_owned).collect();
        found.sort();
        found
    }

    pub(crate) fn lane(&self, lane: Lane) -> &str {
        self.keys.lane(lane)
    }
}

pub(crate) async fn connect(url: &str) -> Connection {
    Connection::connect(&ConnectionSettings::from_url(url).unwrap()).await.unwrap()
}

pub(crate) fn queue() -> QueueName {
    unique_name("sender").parse().unwrap()
}

pub(crate) fn message(payload: impl serde::Serialize) -> Envelope {
    Envelope::new(&payload).unwrap()
}

pub(crate) fn is_sent(result: &Result<Receipt, SendError>) -> bool {
    matches!(result, Ok(Receipt::Sent { .. }))
}
