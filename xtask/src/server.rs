//! A Valkey for the length of one verb.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::setup::Valkey;
use crate::{run, workspace};

/// How long a server may take to answer its first `PING`.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long it may take to stop once told to.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Runs the server until standard input ends, which happens however we end: by Ctrl-C, by a kill, or well. In an image of
/// Redis it has Redis's name.
const TETHER: &str = r#"program=$(command -v valkey-server || command -v redis-server)
"$program" "$@" >/dev/null & server=$!; cat >/dev/null; kill "$server"; wait "$server""#;

/// A running server; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Server {
    url: String,
    tether: Option<Child>,
    /// Where a server on this machine keeps its files.
    dir: Option<PathBuf>,
}

impl Server {
    /// Starts one with these options, or takes the one given by URL as it is.
    pub(crate) fn start(valkey: &Valkey, options: &[&str]) -> Result<Self> {
        match valkey {
            Valkey::Url(url) => Ok(Self { url: url.clone(), tether: None, dir: None }),
            Valkey::Image { name, .. } => Self::container(name, options),
            Valkey::Program(_) => Self::process(options),
        }
    }

    /// Starts one more as a replica of this one, and waits until it has its data. Not of a server given by URL.
    pub(crate) fn replica(&self, valkey: &Valkey, options: &[&str]) -> Result<Self> {
        let address = self.url.trim_start_matches("valkey://");
        let (host, port) = address.rsplit_once(':').context("a server's address has a port")?;
        let replica = Self::start(valkey, &[options, &["--replicaof", host, port]].concat())?;
        let replica_address: SocketAddr = replica.url.trim_start_matches("valkey://").parse()?;
        let started = Instant::now();
        while !ask(&replica_address, "INFO replication")?.contains("master_link_status:up") {
            if started.elapsed() > START_LIMIT {
                bail!("the replica did not get the data within {} s", START_LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(replica)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn container(image: &str, options: &[&str]) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let name = format!("valkit-xtask-{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        let mut docker = Command::new("docker");
        docker
            .args(["run", "--rm", "--interactive", "--label", "valkit=xtask", "--publish", "127.0.0.1::6379"])
            .args(["--name", &name, "--entrypoint", "sh", image, "-c", TETHER, "tether"])
            .args(["--protected-mode", "no", "--dir", "/tmp", "--save", ""])
            .args(options);
        let mut server = Self::tethered(docker)?;
        server.settle(|| container_addresses(&name))?;
        Ok(server)
    }

    fn process(options: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let dir = workspace::target().join("valkey").join(port.to_string());
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            TETHER,
            "tether",
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
        ]);
        shell.args(options).current_dir(&dir);
        let mut server = Self::tethered(shell)?;
        server.dir = Some(dir);
        server.settle(|| vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))])?;
        Ok(server)
    }

    /// Starts the command at the other end of a pipe that only we hold.
    fn tethered(mut command: Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // A group of its own: Ctrl-C is for those who use the server, and they may need it once more.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{}`", run::shown(&command)))?;
        Ok(Self { url: String::new(), tether: Some(child), dir: None })
    }

    /// Waits until one of the addresses answers.
    fn settle(&mut self, addresses: impl Fn() -> Vec<SocketAddr>) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(address) = addresses().into_iter().find(answers) {
                self.url = format!("valkey://{address}");
                return Ok(());
            }
            if let Some(status) = self.tether.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("the Valkey server ended at once: {status}");
            }
            if started.elapsed() > START_LIMIT {
                bail!("the Valkey server did not answer within {} s", START_LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.tether {
            release(child);
        }
        if let Some(dir) = &self.dir {
            // What is left there is only clutter.
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

/// Lets go of the tether and waits for the server's end.
fn release(child: &mut Child) {
    drop(child.stdin.take());
    let told = Instant::now();
    while told.elapsed() < STOP_LIMIT {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // The server hangs; its tether is ended without it, which is all that can be done from here.
    let _ = child.kill();
    let _ = child.wait();
}

/// Where a container can be reached: directly where the engine's network is ours, or by its published port. Directly
/// comes first: behind the port stands a proxy process that copies every byte, and a bench would measure that.
fn container_addresses(name: &str) -> Vec<SocketAddr> {
    let published = run::output(Command::new("docker").args(["port", name, "6379/tcp"]));
    let template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}:6379\n{{end}}";
    let inner = run::output(Command::new("docker").args(["inspect", "--format", template, name]));
    [inner, published]
        .into_iter()
        .flatten()
        .flat_map(|text| text.lines().filter_map(|line| line.trim().parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// A port nobody listens on now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether a Valkey at this address is ready.
fn answers(address: &SocketAddr) -> bool {
    ask(address, "PING").is_ok_and(|reply| reply.starts_with("+PONG"))
}

/// What a server answers to a command of few words; of a long answer the first kilobytes.
fn ask(address: &SocketAddr, command: &str) -> std::io::Result<String> {
    let limit = Duration::from_millis(500);
    let mut stream = TcpStream::connect_timeout(address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut reply = vec![0; 4096];
    let length = stream.read(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply[..length]).into_owned())
}

/// Whether anything listens at the host and port of a URL.
pub(crate) fn reachable(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.rsplit('@').next().unwrap_or(rest).split(['/', '?']).next().unwrap_or_default();
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:6379") };
    host.to_socket_addrs().is_ok_and(|mut addresses| {
        addresses.any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A listener that answers one connection with `reply`.
    fn answering(reply: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(reply).unwrap();
        });
        address
    }

    #[test]
    fn a_server_answers_once_it_is_ready() {
        assert!(answers(&answering(b"+PONG\r\n")));
        assert!(!answers(&answering(b"-LOADING Valkey is loading the dataset in memory\r\n")));
        assert!(!answers(&SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()))));
    }

    /// What can be started at once, without building or installing anything.
    fn at_hand() -> Option<Valkey> {
        let image = std::env::var("VALKIT_TEST_IMAGE").unwrap_or_else(|_| "valkey/valkey:8.0".to_owned());
        if run::which("docker").is_some() && crate::setup::is_present(&image) {
            return Some(Valkey::image(image));
        }
        run::which("valkey-server").map(Valkey::Program)
    }

    #[test]
    fn a_server_lives_as_long_as_its_holder() {
        let Some(valkey) = at_hand() else {
            // Not `eprintln!`, which the test harness would keep to itself.
            writeln!(std::io::stderr(), "SKIPPED a_server_lives_as_long_as_its_holder: no Valkey at hand")
                .unwrap();
            return;
        };
        let server = Server::start(&valkey, &["--appendonly", "yes"]).unwrap();
        let url = server.url().to_owned();
        assert!(reachable(&url), "{url}");
        drop(server);
        assert!(!reachable(&url), "{url}");
    }

    #[test]
    fn reachability_looks_at_host_and_port_only() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(reachable(&format!("valkey://app:p@ss@{address}/0")));
        drop(listener);
        assert!(!reachable(&format!("valkey://{address}")));
    }
}
