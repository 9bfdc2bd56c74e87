//! A queue of its own on a real server, and looks at what is in it.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod books;

use std::time::Duration;

use bytes::Bytes;
use valkey_connection::{Arg, Command, Connection, ConnectionSettings, Reply, Script};
use valkey_envelope::{DeadBody, Envelope, Lane, QueueKeys, QueueName};
use valkey_receiver::{Receiver, ReceiverSettings};
use valkey_testkit::{TestServer, unique_name};

/// Longer than anything takes that works, so a wait of this length is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// KEYS: five lists, the delayed ones, and what each consumer has in flight (where the field `#` is no message).
static COUNT: Script = Script::new(
    "count",
    "local sum = redis.call('ZCARD', KEYS[6])
     for i = 1, 5 do sum = sum + redis.call('LLEN', KEYS[i]) end
     for i = 7, #KEYS do sum = sum + math.max(redis.call('HLEN', KEYS[i]) - 1, 0) end
     return sum",
);

pub(crate) struct Bed {
    pub(crate) server: &'static TestServer,
    pub(crate) connection: Connection,
    pub(crate) queue: QueueName,
    pub(crate) keys: QueueKeys,
}

impl Bed {
    pub(crate) async fn new(name: &str) -> Self {
        Self::on(TestServer::shared().await, name).await
    }

    /// A queue on a server of the test's own.
    pub(crate) async fn on(server: &'static TestServer, name: &str) -> Self {
        let settings = ConnectionSettings::from_url(&server.url()).unwrap();
        let connection = Connection::connect(&settings).await.unwrap();
        let queue: QueueName = unique_name(name).parse().unwrap();
        Self { server, connection, keys: queue.keys(), queue }
    }

    pub(crate) async fn receiver(&self, settings: ReceiverSettings) -> Receiver {
        Receiver::builder(&self.connection)
            .queue(self.queue.clone())
            .settings(settings)
            .start()
            .await
            .unwrap()
    }

    /// Returns the bytes pushed.
    pub(crate) async fn push(&self, envelope: &Envelope) -> Bytes {
        let raw = envelope.encode().unwrap();
        self.push_raw(raw.clone()).await;
        raw
    }

    /// Payloads 1 to `count`, in this order.
    pub(crate) async fn push_numbers(&self, count: u32) -> Vec<Bytes> {
        let mut pushed = Vec::new();
        for number in 1..=count {
            pushed.push(self.push(&Envelope::new(&number).unwrap()).await);
        }
        pushed
    }

    pub(crate) async fn push_raw(&self, raw: impl Into<Arg>) {
        self.ask(Command::new("LPUSH").key(self.keys.public()).arg(raw)).await;
    }

    pub(crate) async fn ask(&self, command: Command) -> Reply {
        self.connection.execute(command).await.unwrap()
    }

    async fn count(&self, command: &'static str, key: &str) -> i64 {
        self.ask(Command::new(command).key(key)).await.as_int().unwrap()
    }

    /// Messages that wait for whoever takes next, whichever way they came back.
    pub(crate) async fn ready(&self) -> i64 {
        self.count("LLEN", self.keys.public()).await
            + self.count("LLEN", self.keys.redo()).await
            + self.count("LLEN", self.keys.woken()).await
    }

    pub(crate) async fn delayed(&self) -> i64 {
        self.count("ZCARD", self.keys.delayed()).await
    }

    pub(crate) async fn consumers(&self) -> Vec<String> {
        let reply = self.ask(Command::new("ZRANGE").key(self.keys.consumers()).arg("0").arg("-1")).await;
        reply.into_array().unwrap().into_iter().map(|cid| cid.into_string().unwrap()).collect()
    }

    /// Waits until there are so many consumers, dead ones that nobody has reaped yet included.
    /// The fields of what a consumer holds, in the order it was claimed.
    pub(crate) async fn held_by(&self, consumer: &str) -> Vec<String> {
        let names = self.ask(Command::new("HKEYS").key(self.keys.inflight(consumer))).await;
        let names = names.into_array().unwrap().into_iter().map(|name| name.into_string().unwrap());
        let number = |name: &String| {
            let (take, place) = name.split_once('-')?;
            Some((take.parse::<u64>().ok()?, place.parse::<u64>().ok()?))
        };
        let mut fields: Vec<String> = names.filter(|name| number(name).is_some()).collect();
        fields.sort_by_key(number);
        fields
    }

    pub(crate) async fn until_consumers(&self, count: usize) {
        until("so many consumers", async || (self.consumers().await.len() == count).then_some(())).await;
    }

    pub(crate) async fn dead(&self) -> Vec<DeadBody> {
        let reply = self.ask(Command::new("HVALS").key(self.keys.dead_body())).await;
        let bodies = reply.into_array().unwrap().into_iter();
        bodies.map(|body| DeadBody::decode(body.into_bytes().unwrap()).unwrap()).collect()
    }

    /// Waits until there are so many dead letters.
    pub(crate) async fn until_dead(&self, count: usize) -> Vec<DeadBody> {
        until("dead letters", async || {
            let dead = self.dead().await;
            (dead.len() >= count).then_some(dead)
        })
        .await
    }

    /// Waits until the queue holds nothing at all: not waiting, not delayed, not with a consumer.
    pub(crate) async fn until_empty(&self) {
        until("an empty queue", async || (self.held_anywhere().await == 0).then_some(())).await;
    }

    /// All messages of the queue but the dead ones, counted at one instant: they move while one looks.
    pub(crate) async fn held_anywhere(&self) -> i64 {
        let keys = &self.keys;
        let mut count = COUNT.call().keys([keys.public(), keys.lane(Lane::High), keys.lane(Lane::Low)]);
        count = count.keys([keys.woken(), keys.redo(), keys.delayed()]);
        for cid in self.consumers().await {
            count = count.key(keys.inflight(&cid));
        }
        self.connection.invoke(count).await.unwrap().as_int().unwrap()
    }

    /// The public list from its head (next to be taken) on.
    pub(crate) async fn waiting(&self) -> Vec<Bytes> {
        let reply = self.ask(Command::new("LRANGE").key(self.keys.public()).arg("0").arg("-1")).await;
        let mut list: Vec<Bytes> =
            reply.into_array().unwrap().into_iter().map(|raw| raw.into_bytes().unwrap()).collect();
        list.reverse();
        list
    }
}

/// Quick failures, quick retries.
pub(crate) fn settings() -> ReceiverSettings {
    ReceiverSettings::default().lease(Duration::from_secs(3)).retry_delay(Duration::from_millis(5))
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Waits for what a test cannot go on without.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Tells when it is dropped.
pub(crate) struct Tell(pub(crate) tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}
