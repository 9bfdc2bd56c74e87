//! A node with a policy service, and somebody who asks it as Postfix does.

use std::time::Duration;

use smtp_guard::settings::Listen;
use smtp_guard::{Guard, GuardSettings, Shutdown};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use valkey_config::Sources;
use valkey_testkit::{TestServer, eventually, unique_name};

/// A promise that is not kept is a failure, not a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A node that runs until it is dropped.
pub(crate) struct Node {
    pub(crate) address: Listen,
    pub(crate) prefix: String,
    pub(crate) shutdown: Shutdown,
    pub(crate) running: JoinHandle<()>,
}

impl Node {
    /// With these lines in `[policy]`, over a store that answers.
    pub(crate) async fn start(server: &TestServer, prefix: &str, policy: &str) -> Self {
        let guard = guard(&server.url(), prefix, policy).await;
        eventually("the store", async || guard.store().probe().await.ok()).await;
        Self::run(guard, prefix)
    }

    /// Over any store.
    pub(crate) async fn start_over(url: &str, prefix: &str, policy: &str) -> Self {
        Self::run(guard(url, prefix, policy).await, prefix)
    }

    pub(crate) fn run(guard: Guard, prefix: &str) -> Self {
        let address = guard.policy_addresses().remove(0);
        let shutdown = Shutdown::new();
        let told = shutdown.clone();
        let running = tokio::spawn(async move { guard.run(told).await.unwrap() });
        Self { address, prefix: prefix.to_owned(), shutdown, running }
    }

    pub(crate) async fn connect(&self) -> Postfix<TcpStream> {
        let Listen::Tcp(address) = &self.address else { panic!("{} is no address", self.address) };
        Postfix(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A prefix that nobody else has.
pub(crate) fn prefix() -> String {
    unique_name("policy") + ":"
}

async fn guard(url: &str, prefix: &str, policy: &str) -> Guard {
    let listen = if policy.contains("listen") { "" } else { "listen = \"127.0.0.1:0\"\n" };
    let text = format!(
        "[gate]\nlisten = []\ncheck_timeout = \"5s\"\n\
         [resources]\nvalkey_url = \"{url}\"\nvalkey_key_prefix = \"{prefix}\"\n[policy]\n{listen}{policy}"
    );
    let (settings, _) =
        GuardSettings::from_sources(&Sources::new("SMTP_GUARD_").toml_text("guard.toml", text)).unwrap();
    Guard::bind(settings).await.unwrap()
}

/// A connection of one of its processes.
pub(crate) struct Postfix<S>(pub(crate) BufReader<S>);

/// What a question says beside its stage.
#[derive(Clone, Copy)]
pub(crate) struct Mail<'a> {
    pub(crate) instance: &'a str,
    pub(crate) client: &'a str,
    pub(crate) sender: &'a str,
    pub(crate) user: &'a str,
}

pub(crate) const MAIL: Mail<'static> =
    Mail { instance: "1f.6b02e854.1.0", client: "192.0.2.7", sender: "ada@example.org", user: "" };

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Postfix<S> {
    /// Asks, and gives the action; empty if the connection is closed.
    pub(crate) async fn ask(
        &mut self,
        stage: &str,
        mail: Mail<'_>,
        recipient: &str,
        recipients: u64,
    ) -> String {
        let Mail { instance, client, sender, user } = mail;
        let question = format!(
            "request=smtpd_access_policy\nprotocol_state={stage}\nprotocol_name=ESMTP\nclient_address={client}\n\
             client_name=unknown\nhelo_name=x\nsender={sender}\nrecipient={recipient}\n\
             recipient_count={recipients}\nqueue_id=\ninstance={instance}\nsize=0\nsasl_username={user}\n\
             policy_context=\n\n"
        );
        self.say(question.as_bytes()).await;
        self.answer().await
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.0.write_all(bytes)).await.unwrap().unwrap();
    }

    pub(crate) async fn answer(&mut self) -> String {
        let mut answer = String::new();
        loop {
            let read = timeout(PATIENCE, self.0.read_line(&mut answer)).await.unwrap();
            // Closed with something unread of ours, which the system calls a reset.
            if read.unwrap_or(0) == 0 {
                return String::new();
            }
            if let Some(answer) = answer.strip_suffix("\n\n") {
                return answer.strip_prefix("action=").unwrap().to_owned();
            }
        }
    }
}
