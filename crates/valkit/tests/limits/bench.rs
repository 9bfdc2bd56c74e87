//! A queue with senders, receivers and an operator.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assert_cmd::Command as Program;
use tokio::task::JoinHandle;
use valkey_admin::Admin;
use valkey_connection::{Command, Connection, ConnectionSettings, Reply};
use valkey_envelope::{QueueKeys, QueueName};
use valkey_receiver::{Message, Outcome, Receiver, ReceiverHandle, ReceiverSettings};
use valkey_sender::{Sender, SenderBuilder};
use valkey_testkit::{TestServer, eventually, soon, unique_name};

pub(crate) struct Bench {
    pub(crate) server: &'static TestServer,
    pub(crate) connection: Connection,
    pub(crate) admin: Admin,
    pub(crate) queue: QueueName,
    pub(crate) keys: QueueKeys,
}

/// No test is about how fast a server answers: what a busy machine takes long for comes all the same.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often each message was handled, by its id.
pub(crate) type Effects = Arc<Mutex<BTreeMap<String, u32>>>;

/// How many deliveries were one too many.
pub(crate) fn doubled(effects: &Effects) -> u64 {
    effects.lock().unwrap().values().map(|times| u64::from(times - 1)).sum()
}

/// A receiver at work.
pub(crate) struct Crew {
    handle: ReceiverHandle,
    task: JoinHandle<()>,
}

impl Bench {
    pub(crate) async fn new(name: &str) -> Self {
        Self::at(TestServer::shared().await, unique_name(name).parse().unwrap()).await
    }

    pub(crate) async fn at(server: &'static TestServer, queue: QueueName) -> Self {
        let connection = connect(server).await;
        Self { server, admin: Admin::new(connection.clone()), connection, keys: queue.keys(), queue }
    }

    pub(crate) async fn connect(&self) -> Connection {
        connect(self.server).await
    }

    /// A sender with a connection of its own, as in a process of its own.
    pub(crate) async fn sender(&self) -> SenderBuilder {
        Sender::builder(self.connect().await, self.queue.clone())
    }

    /// A receiver with a connection of its own, whose handler takes `work` and rejects what `rejects` wants.
    pub(crate) async fn crew(
        &self,
        effects: &Effects,
        work: Duration,
        rejects: fn(&Message) -> bool,
    ) -> Crew {
        let settings =
            ReceiverSettings::default().lease(Duration::from_secs(3)).prefetch(8.try_into().unwrap());
        let receiver = Receiver::builder(&self.connect().await).queue(self.queue.clone()).settings(settings);
        let receiver = receiver.start().await.unwrap();
        let handle = receiver.handle();
        let effects = Arc::clone(effects);
        let handler = move |message: Message| {
            let effects = Arc::clone(&effects);
            async move {
                tokio::time::sleep(work).await;
                if rejects(&message) {
                    return Outcome::dead_letter("the test says so");
                }
                *effects.lock().unwrap().entry(message.envelope().id().to_string()).or_default() += 1;
                Outcome::ack()
            }
        };
        let task = tokio::spawn(async move { drop(receiver.serve(handler).await.unwrap()) });
        Crew { handle, task }
    }

    pub(crate) async fn ask(&self, command: Command) -> Reply {
        self.connection.execute(command).await.unwrap()
    }

    pub(crate) async fn control(&self, field: &str, value: &str) {
        self.ask(Command::new("HSET").key(self.keys.control()).args([field, value])).await;
    }

    /// Waits until nothing waits and nothing is in flight.
    pub(crate) async fn until_empty(&self) {
        eventually("an empty queue", async || {
            let stats = self.admin.stats(&self.queue).await.unwrap();
            (stats.ready.total() + stats.delayed + stats.in_flight == 0).then_some(())
        })
        .await;
    }

    pub(crate) async fn dead(&self) -> u64 {
        self.admin.stats(&self.queue).await.unwrap().dead
    }

    /// The program, pointed at the server.
    pub(crate) fn valkit(&self, arguments: &[&str]) -> Program {
        let mut program = Program::new(env!("CARGO_BIN_EXE_valkit"));
        program.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        program.env("VALKEY_URL", self.server.url()).env("VALKEY_READ_TIMEOUT", "30s");
        program
    }

    /// Runs it, expects success, and returns stdout.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let done = self.valkit(arguments).assert().success();
        String::from_utf8(done.get_output().stdout.clone()).unwrap()
    }
}

impl Crew {
    pub(crate) async fn drain(self) {
        self.handle.drain();
        soon("the end of a receiver", self.task).await.unwrap();
    }
}

async fn connect(server: &TestServer) -> Connection {
    let settings = ConnectionSettings::from_url(&server.url()).unwrap();
    let settings = settings.dial_timeout(PATIENCE).read_timeout(PATIENCE);
    Connection::connect(&settings.write_timeout(PATIENCE).probe_timeout(PATIENCE)).await.unwrap()
}
