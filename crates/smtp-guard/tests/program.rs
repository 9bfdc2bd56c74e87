//! The program as an operator sees it: exit codes, signals, what is left of a killed one, memory.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use smtp_guard::proxy::Header;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use valkey_testkit::{TestServer, eventually, is_long, unique_name};

/// Nobody listens on port 1.
const NOWHERE: &str = "valkey://127.0.0.1:1";
const LEASE: Duration = Duration::from_secs(3);

fn guard(vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smtp-guard"));
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(vars.iter().copied());
    command
}

fn check(vars: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = guard(vars).arg("--check").output().unwrap();
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// A node that runs, and is killed when the test ends.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    /// Starts it, and waits until it says where it listens.
    fn start(url: &str, prefix: &str, backend: SocketAddr, vars: &[(&str, &str)]) -> Self {
        Self::start_by(guard, url, prefix, backend, vars).0
    }

    /// The same by a command of its own; also what it had logged by then.
    fn start_by(
        guard: impl Fn(&[(&str, &str)]) -> Command,
        url: &str,
        prefix: &str,
        backend: SocketAddr,
        vars: &[(&str, &str)],
    ) -> (Self, String) {
        let backend = backend.to_string();
        let own = [
            ("VALKEY_URL", url),
            ("VALKEY_KEY_PREFIX", prefix),
            ("NODE_ID", "mx-1"),
            ("SMTP_GUARD_GATE_LISTEN", "127.0.0.1:0"),
            ("SMTP_GUARD_GATE_BACKEND", &backend),
            ("SMTP_GUARD_GATE_TRUSTED_PROXIES", "127.0.0.1"),
            ("SMTP_GUARD_GATE_CHECK_TIMEOUT", "10s"),
            ("SMTP_GUARD_GATE_LEASE", "3s"),
            ("SMTP_GUARD_DRAIN_TIMEOUT", "2s"),
            ("SMTP_GUARD_LOG_FORMAT", "json"),
        ];
        let mut child = guard(&own).envs(vars.iter().copied()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut line, mut before) = (String::new(), String::new());
        let address = loop {
            before.push_str(&line);
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some((_, rest)) = line.split_once("\"gate\":\"") {
                break rest.split('"').next().unwrap().parse().unwrap();
            }
        };
        // Nobody reads it, and nobody must wait for that.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        (Self { child, address }, before)
    }

    async fn client(&self, from: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let client = SocketAddr::new(from.parse().unwrap(), 40_000);
        let header = Header::Proxied { client, server: "203.0.113.1:25".parse().unwrap() };
        stream.write_all(&header.to_bytes()).await.unwrap();
        let mut greeting = [0; 256];
        let read = stream.read(&mut greeting).await.unwrap();
        (stream, String::from_utf8_lossy(&greeting[..read]).into_owned())
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn end(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Greets, and then only listens.
async fn quiet_mail_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut header = [0; 28];
                if stream.read_exact(&mut header).await.is_ok() {
                    let _ = stream.write_all(b"220 mail\r\n").await;
                    let _ = stream.read(&mut header).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn check_says_what_would_run_and_the_exit_code_says_whether_it_could() {
    let server = TestServer::shared().await;
    let url = server.url();
    let (code, told) =
        check(&[("VALKEY_URL", &url), ("NODE_ID", "mx-1"), ("SMTP_GUARD_GATE_CHECK_TIMEOUT", "10s")]);
    assert_eq!(code, Some(0), "{told}");
    for part in
        ["node mx-1", "0.0.0.0:2525 -> 127.0.0.1:10025 with PROXY v2", "100 an address in 1m", "all is well"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (code, told) = check(&[("VALKEY_URL", &url), ("SMTP_GUARD_GATE_BACKEND", "nowhere")]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("SMTP_GUARD_GATE_BACKEND") && told.contains("host:port"), "{told}");
    let (code, told) = check(&[("VALKEY_URL", NOWHERE)]);
    assert_eq!(code, Some(5), "{told}");
    let strict = TestServer::builder().acl_user("app", "canary", "~elemta:* +@all").start().await.unwrap();
    let wrong = format!("valkey://app:wr0ng@{}", strict.address());
    let (code, told) = check(&[("VALKEY_URL", &wrong)]);
    assert_eq!(code, Some(6), "{told}");
    assert!(!told.contains("wr0ng"), "{told}");
    let Output { status, .. } = guard(&[]).arg("--nonsense").output().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_term_lets_connections_end_and_a_second_one_ends_at_once() {
    let (server, mail) = (TestServer::shared().await, quiet_mail_server().await);
    let prefix = format!("{}:", unique_name("term"));
    let mut node = Running::start(&server.url(), &prefix, mail, &[]);
    let (client, greeting) = node.client("192.0.2.7").await;
    assert_eq!(greeting, "220 mail\r\n");
    node.signal("TERM");
    eventually("new ones are sent away", async || {
        node.client("192.0.2.7").await.1.starts_with("421 4.3.2").then_some(())
    })
    .await;
    drop(client);
    assert_eq!(node.end(), Some(0));
    let left = server.cli(&["--scan", "--pattern", &format!("{prefix}*:held")]).await.unwrap();
    assert_eq!(left, "", "it told the store that nothing is held any more");

    let mut node = Running::start(&server.url(), &prefix, mail, &[("SMTP_GUARD_DRAIN_TIMEOUT", "1h")]);
    let (mut client, _) = node.client("192.0.2.8").await;
    node.signal("TERM");
    node.signal("INT");
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert_eq!(node.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connections_of_a_killed_node_are_free_after_the_lease() {
    let (server, mail) = (TestServer::shared().await, quiet_mail_server().await);
    let prefix = format!("{}:", unique_name("killed"));
    let vars = [("SMTP_GUARD_MAX_CONNECTIONS_PER_IP", "10")];
    let mut dies = Running::start(&server.url(), &prefix, mail, &vars);
    let lives = Running::start(&server.url(), &prefix, mail, &vars);
    let mut held = Vec::new();
    for number in 0..10 {
        let (client, greeting) = dies.client("192.0.2.7").await;
        assert_eq!(greeting, "220 mail\r\n", "{number}");
        held.push(client);
    }
    // Longer than the lease: they are held because they are renewed.
    let begun = Instant::now();
    while begun.elapsed() < LEASE + Duration::from_secs(1) {
        assert!(lives.client("192.0.2.7").await.1.starts_with("421 4.7.0"), "after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    dies.child.kill().unwrap();
    let killed = Instant::now();
    let (_client, _) = eventually("a place", async || {
        let (client, greeting) = lives.client("192.0.2.7").await;
        greeting.starts_with("220").then_some((client, greeting))
    })
    .await;
    assert!(killed.elapsed() < LEASE + Duration::from_secs(2), "{:?}", killed.elapsed());
}

/// What a connection that says nothing costs, as the system counts it.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_take_little_memory() {
    let many: usize = if is_long() { 9_500 } else { 1_000 };
    let (server, mail) = (TestServer::shared().await, quiet_mail_server().await);
    let vars = [
        ("SMTP_GUARD_MAX_CONNECTIONS", "100000"),
        ("SMTP_GUARD_MAX_CONNECTIONS_PER_IP", "100000"),
        ("SMTP_GUARD_MAX_REQUESTS_PER_WINDOW", "10000"),
        ("SMTP_GUARD_SESSION_TIMEOUT", "0s"),
        ("SMTP_GUARD_IDLE_TIMEOUT", "0s"),
    ];
    let node = Running::start(&server.url(), &format!("{}:", unique_name("idle")), mail, &vars);
    let mut held = Vec::with_capacity(many);
    // What the first ones need is not theirs: threads, buffers of the runtime, the script.
    for _ in 0..200 {
        held.push(node.client("192.0.2.1").await.0);
    }
    let base = resident(&node);
    while held.len() < many + 200 {
        let number = held.len();
        held.push(node.client(&format!("10.0.{}.{}", number / 250, number % 250)).await.0);
    }
    let each = resident(&node).saturating_sub(base) / many;
    println!("{many} idle connections: {} kB in all, {each} bytes each", resident(&node) / 1_024);
    assert!(each < 16 * 1_024, "{each} bytes for each");
}

fn resident(node: &Running) -> usize {
    let mut status = String::new();
    std::fs::File::open(format!("/proc/{}/status", node.child.id()))
        .unwrap()
        .read_to_string(&mut status)
        .unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1_024
}

/// More connections than it has descriptors for, two each: who comes too late is told so, instead of a mail server that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_no_more_connections_than_it_has_descriptors_for() {
    let few = |vars: &[(&str, &str)]| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 300 && exec \"$0\"", env!("CARGO_BIN_EXE_smtp-guard")]);
        command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(vars.iter().copied());
        command
    };
    let (mail, url) = (quiet_mail_server().await, TestServer::shared().await.url());
    let (node, log) = Running::start_by(few, &url, &format!("{}:", unique_name("few")), mail, &[]);
    // Of 300 the node keeps half for itself.
    assert!(log.contains("\"max_local_connections\":75") && log.contains("ulimit -Hn"), "{log}");
    let mut held = Vec::new();
    for number in 0..75 {
        let (stream, greeting) = node.client(&format!("192.0.2.{}", number + 1)).await;
        assert_eq!(greeting, "220 mail\r\n", "{number}");
        held.push(stream);
    }
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let mut told = String::new();
    // It may be closed with what we said unread.
    let _ = stream.read_to_string(&mut told).await;
    assert!(told.starts_with("421 4.3.2") && told.contains("this node is full"), "{told}");
}

/// Whoever opens a pipe waits until somebody writes into it.
#[test]
fn a_pipe_is_no_settings_file() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut child = guard(&[]).arg("--config").arg(&pipe).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(2), "{told}");
    assert!(told.contains("it is a pipe, and not a file"), "{told}");
}
