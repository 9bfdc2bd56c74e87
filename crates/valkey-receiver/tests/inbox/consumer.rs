//! A consumer in a process of its own, that dies where it is told to; and the ledger in which effects are counted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use valkey_connection::{Command, Connection};
use valkey_envelope::QueueKeys;
use valkey_receiver::inbox::{OnDoubt, ValkeyInbox, Write, Writes, in_transaction};
use valkey_receiver::{Handler, Message, Outcome, Receiver, ReceiverSettings};

use crate::child::{Assassin, Part, heed, say};
use crate::store::{FileStore, FileTx};
use crate::support::Bed;

/// Of the consumers and of the claims.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// Where a consumer dies: in the handler before its effect, in the handler after it, behind the inbox and before the ack,
/// wherever the parent strikes.
pub(crate) const STEPS: [&str; 4] = ["before", "after", "marked", "struck"];

/// Which inbox, and what it takes to make it.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Apply,
    Guard(OnDoubt),
    Transaction(PathBuf),
}

/// How often the effect of each number began and happened.
#[derive(Clone, Debug)]
pub(crate) struct Effects {
    connection: Connection,
    begun: String,
    happened: String,
    running: String,
    overlaps: String,
}

/// What happens at a step of one consumer.
#[derive(Clone)]
struct Fate {
    step: String,
    /// At which message.
    at: u32,
    count: Arc<AtomicU32>,
    assassin: Arc<Mutex<Assassin>>,
}

/// A handler with the step behind the inbox.
struct Marked<H>(H, Fate);

// === impl Effects ===

impl Effects {
    pub(crate) fn new(connection: &Connection, keys: &QueueKeys) -> Self {
        let [begun, happened, running, overlaps] =
            ["begun", "happened", "running", "overlaps"].map(|name| keys.app(name));
        Self { connection: connection.clone(), begun, happened, running, overlaps }
    }

    async fn ask(&self, command: Command) -> valkey_connection::Reply {
        self.connection.execute(command).await.unwrap()
    }

    async fn add(&self, key: &str, number: u32) {
        self.ask(Command::new("HINCRBY").key(key).arg(number).arg(1_u32)).await;
    }

    /// A run begins. It is told if another one of the same effect is under way in a process that lives.
    pub(crate) async fn begin(&self, number: u32) {
        self.add(&self.begun, number).await;
        let set = Command::new("HSETNX").key(self.running.as_str()).arg(number).arg(std::process::id());
        if self.ask(set).await.as_int().unwrap() == 1 {
            return;
        }
        let get = Command::new("HGET").key(self.running.as_str()).arg(number);
        let other = self.ask(get).await;
        if !other.is_nil() && lives(other.as_int().unwrap()) {
            self.add(&self.overlaps, number).await;
        }
        self.ask(Command::new("HSET").key(self.running.as_str()).arg(number).arg(std::process::id())).await;
    }

    pub(crate) async fn happen(&self, number: u32) {
        self.add(&self.happened, number).await;
    }

    pub(crate) async fn end(&self, number: u32) {
        self.ask(Command::new("HDEL").key(self.running.as_str()).arg(number)).await;
    }

    /// The effect as a write for `apply`.
    pub(crate) fn write(&self, number: u32) -> Writes {
        Write::new("HINCRBY").key(self.happened.as_str()).arg(number).arg(1_u32).into()
    }

    async fn counts(&self, key: &str) -> BTreeMap<u32, u32> {
        let pairs = self.ask(Command::new("HGETALL").key(key)).await.into_pairs().unwrap();
        let number = |reply: &valkey_connection::Reply| u32::try_from(reply.as_int().unwrap()).unwrap();
        pairs.iter().map(|(name, count)| (number(name), number(count))).collect()
    }

    pub(crate) async fn begun(&self) -> BTreeMap<u32, u32> {
        self.counts(&self.begun).await
    }

    pub(crate) async fn happened(&self) -> BTreeMap<u32, u32> {
        self.counts(&self.happened).await
    }

    /// The effects of which two runs were under way at the same time.
    pub(crate) async fn overlaps(&self) -> BTreeMap<u32, u32> {
        self.counts(&self.overlaps).await
    }
}

/// Whether a process lives: one that was killed and not waited for yet does not.
fn lives(process: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

// === impl Kind ===

impl Kind {
    fn name(&self) -> String {
        match self {
            Self::Apply => "apply -".to_owned(),
            Self::Guard(OnDoubt::DeadLetter) => "dead_letter -".to_owned(),
            Self::Guard(OnDoubt::RunAgain) => "run_again -".to_owned(),
            Self::Transaction(file) => format!("transaction {}", file.display()),
        }
    }

    fn parse(name: &str, file: &str) -> Self {
        match name {
            "apply" => Self::Apply,
            "dead_letter" => Self::Guard(OnDoubt::DeadLetter),
            "run_again" => Self::Guard(OnDoubt::RunAgain),
            _ => Self::Transaction(file.into()),
        }
    }

    /// The role of a child that dies at `step`, with its message number `at`.
    pub(crate) fn role(&self, step: &str, at: u32) -> String {
        format!("{step} {at} {}", self.name())
    }
}

pub(crate) fn settings() -> ReceiverSettings {
    // Here nobody is to be condemned: whoever dies was killed from outside.
    let settings = ReceiverSettings::default().lease(LEASE).max_crashes(1000.try_into().unwrap());
    settings.prefetch(16.try_into().unwrap()).retry_delay(Duration::from_millis(5))
}

pub(crate) fn inbox(connection: &Connection) -> ValkeyInbox {
    ValkeyInbox::new(connection).lease(LEASE)
}

/// Serves with the inbox of this kind until the receiver is drained.
pub(crate) async fn serve(bed: &Bed, kind: &Kind) -> valkey_receiver::ReceiverHandle {
    let receiver = bed.receiver(settings()).await;
    let handle = receiver.handle();
    let effects = Effects::new(&bed.connection, &bed.keys);
    let (kind, connection) = (kind.clone(), bed.connection.clone());
    tokio::spawn(async move { serve_with(receiver, &connection, effects, kind, None).await });
    handle
}

async fn serve_with(
    receiver: Receiver,
    connection: &Connection,
    effects: Effects,
    kind: Kind,
    fate: Option<Fate>,
) {
    let mark = fate.clone();
    match kind {
        Kind::Apply => {
            let decide = move |message: Message| {
                let (effects, fate) = (effects.clone(), fate.clone());
                async move {
                    let number: u32 = message.payload_as().unwrap();
                    effects.add(&effects.begun, number).await;
                    strike(fate.as_ref(), "before");
                    Ok::<_, Outcome>(effects.write(number))
                }
            };
            serve_marked(receiver, inbox(connection).apply(decide), mark).await;
        }
        Kind::Guard(on_doubt) => {
            let work = move |message: Message| {
                let (effects, fate) = (effects.clone(), fate.clone());
                async move {
                    let number: u32 = message.payload_as().unwrap();
                    effects.begin(number).await;
                    strike(fate.as_ref(), "before");
                    if fate.as_ref().is_some_and(|fate| fate.step == "dwell") {
                        dwell(effects, number);
                        return;
                    }
                    effects.happen(number).await;
                    strike(fate.as_ref(), "after");
                    effects.end(number).await;
                }
            };
            serve_marked(receiver, inbox(connection).guard(on_doubt, work), mark).await;
        }
        Kind::Transaction(file) => {
            let work = move |message: Message, mut tx: FileTx| {
                let fate = fate.clone();
                async move {
                    strike(fate.as_ref(), "before");
                    if fate.as_ref().is_some_and(|fate| fate.step == "dwell") {
                        say("in");
                        std::thread::sleep(Duration::from_millis(300));
                    }
                    tx.put(message.payload_as::<u32>().unwrap());
                    strike(fate.as_ref(), "after");
                    Ok::<_, Outcome>(tx)
                }
            };
            serve_marked(receiver, in_transaction(FileStore::new(file), work), mark).await;
        }
    }
}

async fn serve_marked<H: Handler>(receiver: Receiver, handler: H, mark: Option<Fate>) {
    let report = match mark {
        Some(fate) => receiver.serve(Marked(handler, fate)).await,
        None => receiver.serve(handler).await,
    };
    // The parent may end the test before the drain is over.
    drop(report);
}

/// Stands in the middle of an effect that nothing can stop any more.
fn dwell(effects: Effects, number: u32) {
    say("in");
    std::thread::sleep(Duration::from_millis(300));
    tokio::spawn(async move {
        effects.happen(number).await;
        say("out");
    });
}

fn strike(fate: Option<&Fate>, step: &str) {
    let Some(fate) = fate else { return };
    if fate.step == step && fate.count.fetch_add(1, Ordering::SeqCst) + 1 == fate.at {
        fate.assassin.lock().unwrap().strike();
    }
}

impl<H: Handler> Handler for Marked<H> {
    async fn handle(&self, message: Message) -> Outcome {
        let outcome = self.0.handle(message).await;
        if self.1.step == "struck" {
            say("working");
        }
        strike(Some(&self.1), "marked");
        outcome
    }
}

pub(crate) fn play(part: Part) {
    part.play(async |part| {
        let words: Vec<String> = part.role.split(' ').map(str::to_owned).collect();
        let fate = Fate {
            step: words[0].clone(),
            at: words[1].parse().unwrap(),
            count: Arc::default(),
            assassin: Arc::new(Mutex::new(Assassin::hire())),
        };
        let kind = Kind::parse(&words[2], &words[3]);
        let connection = part.connection().await;
        say("ready");
        heed().await;
        let receiver = part.receiver(settings()).await;
        let effects = Effects::new(&connection, &part.keys());
        serve_with(receiver, &connection, effects, kind, Some(fate)).await;
    });
}
