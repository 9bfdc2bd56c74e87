//! The Valkey of a run: it keeps everything on disk, and comes back where it was.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::resp::{Reply, Resp};
use crate::process::Process;
use crate::setup;
use crate::{run, setup::Valkey as Found};

/// How long it may take until it answers, with everything read from disk.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Everything that was ever written stays in the file: no rewrite, and nothing is lost with the process.
const OPTIONS: &[&str] =
    &["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0", "--save", ""];

/// In an image of Redis the program has Redis's name.
const IN_IMAGE: &str = r#"exec "$(command -v valkey-server || command -v redis-server)" "$@""#;

/// A Valkey, running or killed.
#[derive(Debug)]
pub(crate) struct Valkey {
    found: Found,
    /// Where it keeps its files, and its log.
    dir: PathBuf,
    port: u16,
    /// How often it was started: each container has its own name.
    starts: u32,
    process: Option<Process>,
}

impl Valkey {
    /// Starts an empty one below the directory.
    pub(crate) fn start(below: &Path, yes: bool) -> Result<Self> {
        // Never that of VALKIT_TEST_URL: this one is killed, and everything in it is looked at.
        let found = setup::own_valkey(yes)?;
        run::step(format_args!("starting Valkey: {found}"));
        let dir = below.join("valkey");
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let port = free_port()?;
        let mut valkey = Self { found, dir, port, starts: 0, process: None };
        valkey.again()?;
        Ok(valkey)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub(crate) fn url(&self) -> String {
        format!("valkey://{}", self.address())
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let process = self.process.take().context("Valkey runs")?;
        if let Found::Image { .. } = self.found {
            run::output(Command::new("docker").args(["kill", &self.container()]))?;
            // The client of Docker ends when the container is gone, and its port is free again.
            process.stop().map(drop)
        } else {
            process.kill()
        }
    }

    /// Starts it where it was, with what it had.
    pub(crate) fn again(&mut self) -> Result<()> {
        self.starts += 1;
        let port = self.port.to_string();
        let mut command = if let Found::Image { name, .. } = &self.found {
            self.in_container(name)?
        } else {
            let mut server = Command::new("valkey-server");
            server.args(["--bind", "127.0.0.1", "--port", &port]).arg("--dir").arg(&self.dir);
            server
        };
        self.process = Some(Process::start(&self.dir, "valkey", command.args(OPTIONS))?);
        let started = Instant::now();
        loop {
            let answer = Resp::connect(self.address()).and_then(|mut resp| resp.ask(&[b"PING"]));
            match answer {
                Ok(Reply::Bytes(pong)) if pong == b"PONG" => return Ok(()),
                Ok(other) => bail!("Valkey answers PING with {other:?}"),
                Err(error) if started.elapsed() > START_LIMIT => {
                    return Err(error).context("Valkey does not answer");
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn in_container(&self, image: &str) -> Result<Command> {
        // The files are to be ours, so that they can be read and removed.
        let [user, group] = ["-u", "-g"].map(|of| run::output(Command::new("id").arg(of)));
        let user = format!("{}:{}", user?.trim(), group?.trim());
        let mut docker = Command::new("docker");
        docker.args(["run", "--rm", "--label", "valkit=xtask", "--name", &self.container(), "--user", &user]);
        docker.args(["--publish", &format!("127.0.0.1:{}:6379", self.port)]);
        docker.args(["--volume", &format!("{}:/data", self.dir.display()), "--entrypoint", "sh", image]);
        docker.args(["-c", IN_IMAGE, "valkey", "--protected-mode", "no", "--dir", "/data"]);
        Ok(docker)
    }

    fn container(&self) -> String {
        format!("valkit-registrations-{}-{}", std::process::id(), self.starts)
    }

    /// Every byte that was ever written into it: the append-only files.
    pub(crate) fn written(&self) -> Result<Vec<u8>> {
        let dir = self.dir.join("appendonlydir");
        let mut written = Vec::new();
        for file in std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            written.extend(std::fs::read(file?.path())?);
        }
        Ok(written)
    }
}

/// A port nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
