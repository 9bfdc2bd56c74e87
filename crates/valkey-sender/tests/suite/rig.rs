//! A connection to the shared server and a queue of the test's own.

use bytes::Bytes;
use valkey_connection::{Command, Connection, ConnectionSettings, Reply};
use valkey_envelope::{Delayed, Envelope, Lane, QueueKeys, QueueName};
use valkey_sender::{Receipt, SendError, Sender, SenderBuilder};
use valkey_testkit::{FaultProxy, TestServer, unique_name};

pub(crate) struct Rig {
    pub(crate) server: &'static TestServer,
    /// What the sender under test uses.
    pub(crate) connection: Connection,
    /// What the test looks with, past any proxy.
    direct: Connection,
    pub(crate) queue: QueueName,
    pub(crate) keys: QueueKeys,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let server = TestServer::shared().await;
        let connection = connect(&server.url()).await;
        let queue = queue();
        Self { server, direct: connection.clone(), connection, keys: queue.keys(), queue }
    }

    /// The same, through a proxy.
    pub(crate) async fn behind_proxy() -> (Self, FaultProxy) {
        let server = TestServer::shared().await;
        let proxy = FaultProxy::start(&server.address()).await.unwrap();
        let settings =
            ConnectionSettings::from_url(&format!("valkey://{}", proxy.address())).unwrap().pool_size(1);
        // Tests cut connections hundreds of times; that must not look like an outage.
        let connection = Connection::connect(&settings.breaker_failures(1_000_000)).await.unwrap();
        let (queue, direct) = (queue(), connect(&server.url()).await);
        (Self { server, connection, direct, keys: queue.keys(), queue }, proxy)
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

    /// Asks the server, faster than through the command line.
    pub(crate) async fn ask(&self, command: &'static str, arguments: &[&str]) -> Reply {
        self.direct.execute(Command::new(command).args(arguments.iter().copied())).await.unwrap()
    }

    pub(crate) async fn count(&self, command: &'static str, key: &str) -> usize {
        self.ask(command, &[key]).await.as_int().unwrap().try_into().unwrap()
    }

    pub(crate) async fn public_length(&self) -> usize {
        self.count("LLEN", self.keys.public()).await
    }

    /// The payloads of a list, in the order in which consumers get them.
    pub(crate) async fn payloads(&self, key: &str) -> Vec<String> {
        self.messages(key).await.iter().map(|message| message.payload().get().to_owned()).collect()
    }

    /// The ids of all messages that wait; of what is none of ours, the text.
    pub(crate) async fn waiting(&self) -> Vec<String> {
        waiting(&self.direct, &self.queue).await
    }

    async fn messages(&self, key: &str) -> Vec<Envelope> {
        let listed = self.ask("LRANGE", &[key, "0", "-1"]).await.into_array().unwrap();
        listed.into_iter().rev().map(|raw| Envelope::decode(&raw.into_bytes().unwrap()).unwrap()).collect()
    }

    /// Every key of this queue that exists.
    pub(crate) async fn existing_keys(&self) -> Vec<String> {
        let found = self.ask("KEYS", &[&format!("*{}*", self.queue)]).await.into_array().unwrap();
        let mut found: Vec<String> = found.into_iter().map(|key| key.into_string().unwrap()).collect();
        found.sort();
        found
    }

    pub(crate) fn lane(&self, lane: Lane) -> &str {
        self.keys.lane(lane)
    }
}

/// The ids of all messages of a queue that wait; of what is none of ours, the text.
pub(crate) async fn waiting(connection: &Connection, queue: &QueueName) -> Vec<String> {
    let keys = queue.keys();
    let id = |raw: Bytes| match Envelope::decode(&raw) {
        Ok(envelope) => envelope.id().to_string(),
        Err(_) => String::from_utf8_lossy(&raw).into_owned(),
    };
    let all = async |command: &'static str, key: &str| {
        let range = Command::new(command).key(key).args(["0", "-1"]);
        let listed = connection.execute(range).await.unwrap().into_array().unwrap();
        listed.into_iter().map(|raw| raw.into_bytes().unwrap()).collect::<Vec<Bytes>>()
    };
    let mut ids = Vec::new();
    for lane in Lane::ALL {
        ids.extend(all("LRANGE", keys.lane(lane)).await.into_iter().map(id));
    }
    let delayed = all("ZRANGE", keys.delayed()).await.into_iter();
    ids.extend(delayed.map(|member| id(Delayed::decode(member).unwrap().frame.raw)));
    ids
}

pub(crate) async fn connect(url: &str) -> Connection {
    Connection::connect(&ConnectionSettings::from_url(url).unwrap()).await.unwrap()
}

/// Redis has `WAITAOF` from 7.2 on.
pub(crate) async fn can_wait_for_the_disk(server: &TestServer) -> bool {
    !server.cli(&["COMMAND", "INFO", "WAITAOF"]).await.unwrap().trim().is_empty()
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
