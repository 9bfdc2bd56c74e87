//! A consumer in a process of its own, which is killed and replaced, and what the server says it handed out.

use std::time::Duration;

use valkey_connection::{Command, Script};
use valkey_receiver::{Message, ReceiverSettings};

use crate::child::{Part, Process, heed, say};
use crate::ledger::Ledger;
use crate::support::Bed;

pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// KEYS: statistics of each minute. A claim is counted in the run that makes it.
static TAKEN: Script = Script::new(
    "taken",
    "local sum = 0
     for _, key in ipairs(KEYS) do sum = sum + (tonumber(redis.call('HGET', key, 'taken') or '0') or 0) end
     return sum",
);

/// KEYS: the consumers. ARGV: what in-flight keys begin with. How many messages are in flight with all of them.
static IN_FLIGHT: Script = Script::new(
    "in-flight",
    "local sum = 0
     for _, cid in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
       for _, field in ipairs(redis.call('HKEYS', ARGV[1] .. cid)) do
         if string.find(field, '^%d+-%d+$') then sum = sum + 1 end
       end
     end
     return sum",
);

/// A process that handles messages and tells of each.
pub(crate) struct Worker {
    process: Process,
    ledger: Ledger,
}

impl Worker {
    pub(crate) fn spawn(bed: &Bed, role: &str, ledger: &Ledger) -> Self {
        Self::spawn_with(bed, role, ledger, &[])
    }

    pub(crate) fn spawn_with(bed: &Bed, role: &str, ledger: &Ledger, variables: &[(&str, String)]) -> Self {
        Self { process: Process::spawn_with(bed, role, variables), ledger: ledger.clone() }
    }

    /// What its clock said when it began, in seconds since the Unix epoch.
    pub(crate) async fn clock(&mut self) -> i64 {
        let word = self.process.hear().await.expect("it lives");
        word.strip_prefix("clock ").expect("its first word").parse().unwrap()
    }

    /// Writes down what it has said so far.
    pub(crate) async fn listen(&mut self, duration: Duration) {
        let _ = tokio::time::timeout(duration, async {
            while let Some(line) = self.process.hear().await {
                self.ledger.read(&line);
            }
        })
        .await;
    }

    /// `SIGKILL`, and everything it said before.
    pub(crate) async fn kill(mut self) {
        self.process.signal("KILL").await;
        while let Some(line) = self.process.hear().await {
            self.ledger.read(&line);
        }
        assert!(!self.process.end().await.success());
    }

    /// Lets it finish.
    pub(crate) async fn drain(mut self) {
        self.process.tell("drain").await;
        while let Some(line) = self.process.hear().await {
            self.ledger.read(&line);
        }
        assert!(self.process.end().await.success());
    }
}

/// Listens to all for a while.
pub(crate) async fn listen(workers: &mut [Worker], duration: Duration) {
    futures::future::join_all(workers.iter_mut().map(|worker| worker.listen(duration))).await;
}

impl Bed {
    pub(crate) async fn control(&self, fields: &[(&str, &str)]) {
        let pairs = fields.iter().flat_map(|(name, value)| [*name, *value]);
        self.ask(Command::new("HSET").key(self.keys.control()).args(pairs)).await;
    }

    /// How many claims there have been.
    pub(crate) async fn taken(&self) -> i64 {
        let pattern = format!("{}:stats:*", self.keys.tag());
        let keys = self.ask(Command::new("KEYS").arg(pattern)).await.into_array().unwrap();
        let keys = keys.into_iter().map(|key| key.into_string().unwrap());
        self.connection.invoke(TAKEN.call().keys(keys)).await.unwrap().as_int().unwrap()
    }

    /// How many messages are in flight, at one instant; `None` while the server is away.
    pub(crate) async fn try_in_flight(&self) -> Option<i64> {
        let call = IN_FLIGHT.call().key(self.keys.consumers()).arg(self.keys.inflight(""));
        self.connection.invoke(call).await.ok()?.as_int().ok()
    }
}

/// The life of a worker. Its role is how long its handler takes, in milliseconds.
pub(crate) fn live(part: Part) {
    part.play(async |part| {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        say(format_args!("clock {}", clock.as_secs()));
        let work = Duration::from_millis(part.role.parse().unwrap());
        let handler = move |message: Message| async move {
            let number: u32 = message.payload_as().unwrap();
            say(format_args!("handed {number} {}", message.crashes()));
            tokio::time::sleep(work).await;
            say(format_args!("done {number}"));
        };
        let settings = ReceiverSettings::default().lease(LEASE).prefetch(16.try_into().unwrap());
        let service = part.receiver(settings).await.serve(handler);
        let report = service.with_graceful_shutdown(async { drop(heed().await) }).await.unwrap();
        assert!(report.is_clean(), "{report}");
    });
}
