//! A queue of one's own, and hands to put things into it as other programs would.

use std::time::Duration;

use bytes::Bytes;
use valkey_admin::Admin;
use valkey_connection::{Command, Connection, ConnectionSettings, Reply};
use valkey_envelope::{
    DeadBody, DeadMeta, DeadReason, Delayed, Envelope, Frame, InFlight, Lane, QueueKeys, QueueName,
};
use valkey_testkit::{TestServer, unique_name};

/// Bytes that are no text, with everything a frame could trip over.
pub(crate) const GARBAGE: &[u8] = b"\xff\x00|1|2|n|\r\n{\"";

/// No test is about how fast a server answers: what a busy machine takes long for comes all the same.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Bench {
    pub(crate) admin: Admin,
    pub(crate) connection: Connection,
    pub(crate) queue: QueueName,
    pub(crate) keys: QueueKeys,
}

impl Bench {
    /// A fresh queue on the shared server.
    pub(crate) async fn new() -> Self {
        Self::on(TestServer::shared().await).await
    }

    pub(crate) async fn on(server: &TestServer) -> Self {
        Self::at(&server.url()).await
    }

    pub(crate) async fn at(url: &str) -> Self {
        Self::with(ConnectionSettings::from_url(url).unwrap()).await
    }

    pub(crate) async fn with(settings: ConnectionSettings) -> Self {
        let settings = settings.dial_timeout(PATIENCE).read_timeout(PATIENCE);
        Self::with_just(&settings.write_timeout(PATIENCE).probe_timeout(PATIENCE)).await
    }

    /// With the timeouts that these settings name.
    pub(crate) async fn with_just(settings: &ConnectionSettings) -> Self {
        let connection = Connection::connect(settings).await.unwrap();
        let queue: QueueName = unique_name("admin").parse().unwrap();
        Self { admin: Admin::new(connection.clone()), connection, keys: queue.keys(), queue }
    }

    pub(crate) async fn run(&self, command: Command) -> Reply {
        self.connection.execute(command).await.unwrap()
    }

    pub(crate) async fn int(&self, command: &'static str, key: &str) -> i64 {
        self.run(Command::new(command).key(key)).await.as_int().unwrap()
    }

    /// As a producer does: on the left.
    pub(crate) async fn push(&self, key: &str, element: impl Into<Bytes>) {
        self.run(Command::new("LPUSH").key(key).arg(element.into())).await;
    }

    /// The list as consumers would pop it: right end first.
    pub(crate) async fn popped(&self, key: &str) -> Vec<Bytes> {
        let all = self.run(Command::new("LRANGE").key(key).arg(0u32).arg(-1i64)).await.into_array().unwrap();
        all.into_iter().rev().map(|element| element.into_bytes().unwrap()).collect()
    }

    pub(crate) async fn delay(&self, id: &str, due_ms: u64, attempts: u32, raw: impl Into<Bytes>) {
        let frame = Frame { crashes: 0, attempts, lane: Lane::Normal, raw: raw.into() };
        let member = Delayed { id: id.into(), frame }.encode().unwrap();
        self.run(Command::new("ZADD").key(self.keys.delayed()).arg(due_ms).arg(member)).await;
    }

    pub(crate) async fn claim(&self, consumer: &str, field: &str, attempts: u32, raw: impl Into<Bytes>) {
        let frame = Frame { crashes: 0, attempts, lane: Lane::Normal, raw: raw.into() };
        let value = InFlight { claimed_ms: self.now().await - 5_000, frame }.encode();
        let take = field.split('-').next().unwrap().to_owned();
        let key = self.keys.inflight(consumer);
        self.run(Command::new("HSET").key(key).arg(field).arg(value).arg("#").arg(take)).await;
    }

    pub(crate) async fn register(&self, consumer: &str, deadline: u64) {
        self.run(Command::new("ZADD").key(self.keys.consumers()).arg(deadline).arg(consumer)).await;
    }

    pub(crate) async fn bury(&self, id: &str, died_ms: u64, reason: &str, lane: Lane, raw: impl Into<Bytes>) {
        let meta = DeadMeta {
            lane: Some(lane),
            error: Some("because".into()),
            attempts: 3,
            ..DeadMeta::new(DeadReason::from(reason))
        };
        let body = DeadBody { meta, raw: raw.into() }.encode();
        self.run(Command::new("ZADD").key(self.keys.dead()).arg(died_ms).arg(id)).await;
        self.run(Command::new("HSET").key(self.keys.dead_body()).arg(id).arg(body)).await;
    }

    /// Milliseconds of the server's clock.
    pub(crate) async fn now(&self) -> u64 {
        let time = self.run(Command::new("TIME")).await.into_array().unwrap();
        time[0].as_int().unwrap().unsigned_abs() * 1000 + time[1].as_int().unwrap().unsigned_abs() / 1000
    }
}

/// An envelope as a plain producer writes it.
pub(crate) fn foreign(id: &str, retries: u32) -> String {
    format!(
        r#"{{"id":"{id}","payload":"eyJsb2dpbiI6ImFkYSJ9","headers":null,"timestamp":"2026-01-02T03:04:05.123456789+02:00","ttl":0,"retries":{retries},"x-new":[1, 2]}}"#
    )
}

pub(crate) fn encoded(id: &str) -> Bytes {
    Envelope::new(&serde_json::json!({ "login": "ada" })).unwrap().with_id(id).encode().unwrap()
}
