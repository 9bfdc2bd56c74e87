//! A queue on a server of its own, with a proxy before its senders and another before its receivers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use valkey_connection::{Command, Connection, ConnectionSettings, Reply};
use valkey_envelope::{DeadBody, Envelope, Frame, InFlight, Lane, QueueKeys, QueueName};
use valkey_testkit::{FaultProxy, TestServer, TestServerBuilder, unique_name};

use crate::books::Books;

pub(crate) struct Bed {
    pub(crate) server: TestServer,
    /// Past all proxies.
    pub(crate) direct: Connection,
    pub(crate) sending: FaultProxy,
    pub(crate) receiving: FaultProxy,
    pub(crate) queue: QueueName,
    pub(crate) keys: QueueKeys,
    settings: fn(&str) -> ConnectionSettings,
}

/// As a program that sets nothing has it, with one connection.
pub(crate) fn patient(url: &str) -> ConnectionSettings {
    ConnectionSettings::from_url(url).unwrap().pool_size(1).breaker_timeout(Duration::from_millis(200))
}

/// Quick to notice and quick to try again.
pub(crate) fn brisk(url: &str) -> ConnectionSettings {
    let settings = ConnectionSettings::from_url(url).unwrap().pool_size(1);
    let settings =
        settings.probe_interval(Duration::from_millis(300)).probe_timeout(Duration::from_millis(500));
    settings.read_timeout(Duration::from_secs(1)).breaker_timeout(Duration::from_millis(200))
}

/// For looks past all proxies: no test is about how fast they are, and a busy machine may take its time.
fn unhurried(url: &str) -> ConnectionSettings {
    const PATIENCE: Duration = Duration::from_secs(20);
    let settings = ConnectionSettings::from_url(url).unwrap().pool_size(1).dial_timeout(PATIENCE);
    settings.read_timeout(PATIENCE).write_timeout(PATIENCE).probe_timeout(PATIENCE)
}

impl Bed {
    pub(crate) async fn new(name: &str, server: TestServerBuilder) -> Self {
        let server = server.start().await.unwrap();
        let queue: QueueName = unique_name(name).parse().unwrap();
        Self {
            direct: Connection::connect(&unhurried(&server.url())).await.unwrap(),
            sending: FaultProxy::start(&server.address()).await.unwrap(),
            receiving: FaultProxy::start(&server.address()).await.unwrap(),
            keys: queue.keys(),
            queue,
            server,
            settings: brisk,
        }
    }

    pub(crate) fn connecting(mut self, settings: fn(&str) -> ConnectionSettings) -> Self {
        self.settings = settings;
        self
    }

    /// As a sender or receiver on the far side of a proxy connects.
    pub(crate) fn through(&self, proxy: &FaultProxy) -> ConnectionSettings {
        (self.settings)(&self.server.url().replace(&self.server.address(), &proxy.address()))
    }

    /// Nobody of ours comes through, until [`open`](Self::open).
    pub(crate) async fn shut(&self) {
        for proxy in [&self.sending, &self.receiving] {
            proxy.refuse(true).await.unwrap();
            proxy.drop_connections();
        }
    }

    pub(crate) async fn open(&self) {
        self.sending.heal().await.unwrap();
        self.receiving.heal().await.unwrap();
    }

    pub(crate) async fn ask(&self, command: Command) -> Reply {
        self.direct.execute(command).await.unwrap()
    }

    pub(crate) async fn set(&self, name: &str, value: &str) {
        self.server.cli(&["CONFIG", "SET", name, value]).await.unwrap();
    }

    /// A number of one of the sections of `INFO`.
    pub(crate) async fn info(&self, section: &str, field: &str) -> u64 {
        let text = self.server.cli(&["INFO", section]).await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {field} in {text}")).trim().parse().unwrap()
    }

    /// The server's version, and whether it is one of those that replay their file as it was written: from 8.0.11, 8.1.10
    /// and 9.1.2 on.
    pub(crate) async fn version(&self) -> (String, bool) {
        let info = self.server.cli(&["INFO", "server"]).await.unwrap();
        let version = info.lines().find_map(|line| line.trim().strip_prefix("valkey_version:"));
        // An engine that is older than the name.
        let version = version.unwrap_or("7.0.0").to_owned();
        let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
        let mended = match parts[..] {
            [8, 0, patch] => patch >= 11,
            [8, 1, patch] => patch >= 10,
            [9, 1, patch] => patch >= 2,
            [major, minor, _] => (major, minor) > (9, 1),
            _ => panic!("{version}"),
        };
        (version, mended)
    }

    async fn list(&self, key: &str) -> Vec<Bytes> {
        let list = self.ask(Command::new("LRANGE").key(key).arg("0").arg("-1")).await.into_array().unwrap();
        list.into_iter().map(|raw| raw.into_bytes().unwrap()).collect()
    }

    pub(crate) async fn keys_like(&self, pattern: &str) -> Vec<String> {
        let keys = self.ask(Command::new("KEYS").arg(pattern)).await.into_array().unwrap();
        keys.into_iter().map(|key| key.into_string().unwrap()).collect()
    }

    /// The messages in the queue, wherever they are, with how often each is there. Not those that are dead.
    pub(crate) async fn contents(&self) -> BTreeMap<u32, u32> {
        let mut raws = Vec::new();
        for key in
            [self.keys.public(), self.keys.lane(Lane::High), self.keys.lane(Lane::Low), self.keys.woken()]
        {
            raws.extend(self.list(key).await);
        }
        raws.extend(
            self.list(self.keys.redo()).await.into_iter().map(|frame| Frame::decode(frame).unwrap().raw),
        );
        let delayed = self.ask(Command::new("ZRANGE").key(self.keys.delayed()).arg("0").arg("-1")).await;
        for member in delayed.into_array().unwrap() {
            raws.push(valkey_envelope::Delayed::decode(member.into_bytes().unwrap()).unwrap().frame.raw);
        }
        for key in self.keys_like(&self.keys.inflight("*").replace('{', "\\{")).await {
            let fields = self.ask(Command::new("HGETALL").key(key)).await.into_pairs().unwrap();
            let claims = fields.into_iter().filter_map(|(field, value)| {
                InFlight::of_field(&field.into_bytes().unwrap(), value.into_bytes().unwrap())
            });
            raws.extend(claims.map(|claim| claim.frame.raw));
        }
        let mut contents = BTreeMap::new();
        for raw in raws {
            *contents.entry(number_of(&raw)).or_default() += 1;
        }
        contents
    }

    /// The messages among the dead letters.
    async fn dead(&self) -> BTreeSet<u32> {
        let bodies = self.ask(Command::new("HVALS").key(self.keys.dead_body())).await.into_array().unwrap();
        let raw = |body: Reply| DeadBody::decode(body.into_bytes().unwrap()).unwrap().raw;
        bodies.into_iter().map(|body| number_of(&raw(body))).collect()
    }

    /// Confirmed, and neither handled, nor waiting, nor dead. Only of a queue at which nobody works any more: messages move
    /// while one looks.
    pub(crate) async fn lost(&self, books: &Books) -> BTreeSet<u32> {
        let (there, dead) = (self.contents().await, self.dead().await);
        let is_kept = |number: &u32| there.contains_key(number) || dead.contains(number);
        books.missing().into_iter().filter(|number| !is_kept(number)).collect()
    }

    /// The numbers whose ids are remembered.
    pub(crate) async fn remembered(&self) -> Vec<u32> {
        let mut found = Vec::new();
        for key in self.keys_like(&format!("{}:dedup:*", self.keys.tag())).await {
            let ids = self.ask(Command::new("SMEMBERS").key(key)).await.into_array().unwrap();
            found.extend(ids.into_iter().map(|id| id.into_string().unwrap().parse::<u32>().unwrap()));
        }
        found.sort_unstable();
        found
    }
}

/// The number of a message: its id.
pub(crate) fn number_of(raw: &[u8]) -> u32 {
    Envelope::decode(raw).unwrap().id().as_str().parse().unwrap()
}

/// `VALKIT_LONG=1` does the same more often.
pub(crate) fn long(short: u32, long: u32) -> u32 {
    if valkey_testkit::is_long() { long } else { short }
}

/// A number below `below`.
pub(crate) fn random(below: usize) -> usize {
    // The low half of a version 7 id is random.
    usize::try_from(uuid::Uuid::now_v7().as_u128() % (1 << 48)).unwrap() % below
}
