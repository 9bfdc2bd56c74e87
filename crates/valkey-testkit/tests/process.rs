//! What a test process leaves behind, and what it does where there is no Valkey: told by processes of their own.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use valkey_testkit::{TestServer, TestkitError};

/// One of the ignored tests below, as a process of its own.
struct Part {
    child: Child,
    // Kept open: a test runner that cannot write its last line fails.
    lines: Lines<BufReader<ChildStdout>>,
}

impl Part {
    fn run(name: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The rest of the first line that holds `key`. The test runner may have written the beginning of it.
    fn told(&mut self, key: &str) -> String {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        let found = lines.find_map(|line| Some(line.split_once(key)?.1.to_owned()));
        found.unwrap_or_else(|| panic!("it never said {key}"))
    }

    fn succeed(mut self) {
        let rest: Vec<_> = self.lines.by_ref().map_while(Result::ok).collect();
        assert!(self.child.wait().unwrap().success(), "{rest:?}");
    }
}

#[test]
fn a_killed_process_leaves_no_server_behind() {
    let mut part = Part::run("part_that_is_killed", &[]);
    let certificate = part.told("certificate ");
    assert!(Path::new(&certificate).is_file());
    let addresses = part.told("addresses ");
    for address in addresses.split(' ') {
        TcpStream::connect(address).unwrap();
    }
    part.child.kill().unwrap();
    part.child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    for address in addresses.split(' ') {
        let address = address.parse().unwrap();
        while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
            assert!(Instant::now() < deadline, "{address} still answers");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    while Path::new(&certificate).exists() {
        assert!(Instant::now() < deadline, "{certificate} is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
#[ignore = "a part of the test above"]
async fn part_that_is_killed() {
    let shared = TestServer::shared().await;
    let own = TestServer::builder().tls().start().await.unwrap();
    println!("certificate {}", own.tls_ca_path().unwrap().display());
    println!("addresses {} {}", shared.address(), own.address());
    std::future::pending::<()>().await;
}

/// What `docker` says to these arguments; nothing where there is none.
fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output();
    output.map(|output| String::from_utf8(output.stdout).unwrap().trim().to_owned()).unwrap_or_default()
}

#[test]
fn the_next_process_removes_containers_of_a_dead_one() {
    let mut part = Part::run("part_that_is_killed", &[]);
    part.told("addresses ");
    let name = format!("name=valkey-testkit-{}-", part.child.id());
    let format = "{{.Image}} {{.Label \"valkey-testkit.owner\"}}";
    let found = docker(&["ps", "--filter", &name, "--format", format]);
    part.child.kill().unwrap();
    part.child.wait().unwrap();
    let Some((image, owner)) = found.lines().next().and_then(|line| line.split_once(' ')) else {
        // Started from a binary: then there are no containers.
        return;
    };
    let managed_by = "org.testcontainers.managed-by=testcontainers";
    let owner = format!("valkey-testkit.owner={owner}");
    let id = docker(&["create", "--label", managed_by, "--label", &owner, image]);
    let of_nobody = docker(&["create", "--label", managed_by, image]);
    let exists = |id: &str| {
        !docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &format!("id={id}")]).is_empty()
    };
    assert!(exists(&id) && exists(&of_nobody));
    let mut next = Part::run("part_that_is_killed", &[]);
    next.told("addresses ");
    next.child.kill().unwrap();
    next.child.wait().unwrap();
    let (swept, spared) = (!exists(&id), exists(&of_nobody));
    docker(&["rm", "--force", "--volumes", &id, &of_nobody]);
    assert!(swept, "its owner is dead");
    assert!(spared, "it is not ours");
}

#[test]
fn without_any_engine_the_ways_out_are_named() {
    // No registry listens there, and no program is on that path.
    let image = ("VALKIT_TEST_IMAGE", "127.0.0.1:1/valkey:0");
    let unset = ("VALKIT_TEST_URL", "");
    let variables = [image, unset, ("VALKIT_TEST_ENGINE", ""), ("PATH", "/nonexistent")];
    let mut part = Part::run("part_without_an_engine", &variables);
    let error = part.told("error ");
    for text in [
        "no Valkey to test against",
        "Docker",
        "127.0.0.1:1/valkey:0",
        "valkey-server is not on PATH",
        "1. VALKIT_TEST_URL",
        "2. Docker",
        "3. valkey-server and valkey-cli on PATH",
    ] {
        assert!(error.contains(text), "{text} is not in {error}");
    }
    part.succeed();
}

#[tokio::test]
#[ignore = "a part of the test above"]
async fn part_without_an_engine() {
    let error = TestServer::start().await.unwrap_err();
    assert!(matches!(error, TestkitError::NoEngine { .. }));
    // What `unwrap` prints is what a person should read.
    println!("error {}", format!("{error:?}").replace('\n', " "));
}

#[tokio::test]
async fn a_given_server_is_used_and_left_alone() {
    let given = TestServer::start().await.unwrap();
    let mut part = Part::run("part_with_a_given_server", &[("VALKIT_TEST_URL", &given.url())]);
    let url = tokio::task::spawn_blocking(move || {
        let url = part.told("url ");
        part.succeed();
        url
    });
    assert_eq!(url.await.unwrap(), given.url());
    assert!(given.is_running());
}

#[tokio::test]
#[ignore = "a part of the test above"]
async fn part_with_a_given_server() {
    let server = TestServer::start().await.unwrap();
    assert!(server.url().ends_with(&server.address()));
    for refused in [server.kill().await, server.restart().await, server.pause().await] {
        assert!(matches!(refused, Err(TestkitError::NeedsOwnServer { .. })));
    }
    let configured = TestServer::builder().append_only(true).start().await;
    assert!(matches!(configured, Err(TestkitError::NeedsOwnServer { .. })));
    println!("url {}", server.url());
}
