//! A queue of one's own, and the program.

use std::ops::{Deref, DerefMut};
use std::process::Child;

use assert_cmd::Command;
use bytes::Bytes;
use serde_json::Value;
use valkey_testkit::{TestServer, unique_name};

pub(crate) struct Bench {
    pub(crate) server: &'static TestServer,
    pub(crate) queue: String,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self { server: TestServer::shared().await, queue: unique_name("cli") }
    }

    /// The program, pointed at the server.
    pub(crate) fn valkit(&self, arguments: &[&str]) -> Command {
        let mut command = valkit(arguments);
        // No test is about how fast a server answers: what a busy machine takes long for comes all the same.
        command.env("VALKEY_URL", self.server.url()).env("VALKEY_READ_TIMEOUT", "30s");
        command
    }

    /// Runs it, expects success, and returns stdout.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let done = self.valkit(arguments).assert().success();
        String::from_utf8(done.get_output().stdout.clone()).unwrap()
    }

    /// Runs it, expects success, and reads stdout as one JSON document.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// Runs it, expects success, and reads stdout as a JSON document a line.
    pub(crate) fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let out = self.ok(&[arguments, &["-o", "ndjson"]].concat());
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Messages 0, 1, 2, ...
    pub(crate) fn send_numbers(&self, count: u32) {
        let numbers: Vec<String> = (0..count).map(|i| i.to_string()).collect();
        self.valkit(&["send", &self.queue, "--ndjson"]).write_stdin(numbers.join("\n")).assert().success();
    }

    /// Messages that are in the queue, wherever, the dead ones included.
    pub(crate) fn kept(&self) -> u64 {
        let stats = self.json(&["queue", "show", &self.queue]);
        let count = |value: &Value| value.as_u64().unwrap();
        count(&stats["ready"]["total"])
            + count(&stats["delayed"])
            + count(&stats["in_flight"])
            + count(&stats["dead"])
    }

    pub(crate) async fn cli(&self, arguments: &[&str]) -> String {
        self.server.cli(arguments).await.unwrap()
    }

    /// A plain producer.
    pub(crate) async fn push(&self, bytes: impl Into<Bytes>) {
        self.server.cli_raw(&["-x", "LPUSH", &self.public()], bytes).await.unwrap();
    }

    pub(crate) fn public(&self) -> String {
        format!("queue:{}", self.queue)
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{{queue:{}}}:{name}", self.queue)
    }

    /// Buries a message, as a receiver would.
    pub(crate) async fn bury(&self, id: &str, reason: &str, raw: &[u8]) {
        let meta = format!(r#"{{"reason":"{reason}","attempts":4,"error":"because","lane":"n"}}"#);
        let body = [format!("{}|{meta}", meta.len()).as_bytes(), raw].concat();
        self.cli(&["ZADD", &self.key("dead"), "1753000000123", id]).await;
        self.server.cli_raw(&["-x", "HSET", &self.key("dead:body"), id], body).await.unwrap();
    }
}

/// A program that ends with its test, also with one that fails: else it would look for its server for ever, and find that of
/// another test at the same address.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut std::process::Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Most have ended by now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program, knowing of no server.
pub(crate) fn valkit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_valkit"));
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}
