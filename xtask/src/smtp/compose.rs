//! The nodes in containers, as docker/smtp/compose.yml has them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::fleet::{Fleet, NODES, valkey_answers};
use super::settings;
use crate::{run, setup, workspace};

/// The name of all that belongs to us.
const PROJECT: &str = "valkit-smtp";

const GUARDS: [&str; NODES] = ["guard1", "guard2", "guard3"];

/// The way to the nodes in containers.
#[derive(Debug)]
pub(crate) struct Compose {
    /// `docker compose` or `docker-compose`.
    program: Vec<&'static str>,
    image: String,
    config: PathBuf,
    nodes: Vec<Container>,
    guards: Vec<Container>,
    valkey: Container,
}

#[derive(Debug, Default)]
struct Container {
    id: String,
    address: Option<IpAddr>,
}

impl Compose {
    /// Gets the images and brings everything up.
    pub(crate) fn up(release: bool) -> Result<Self> {
        let program = program()?;
        let image = images(release)?;
        let config = workspace::target().join("smtp/guard.toml");
        settings::write(&config, &settings::base()?)?;
        let mut fleet = Self {
            program,
            image,
            config,
            nodes: Vec::new(),
            guards: Vec::new(),
            valkey: Container::default(),
        };
        // Whoever was ended hard left it up.
        fleet.compose(&["down", "--volumes", "--timeout", "1"])?;
        run::step("bringing the nodes up");
        fleet.compose(&["up", "--detach"])?;
        fleet.nodes =
            (1..=NODES).map(|node| fleet.container(&format!("node{node}"))).collect::<Result<_>>()?;
        fleet.guards = GUARDS.iter().map(|name| fleet.container(name)).collect::<Result<_>>()?;
        fleet.valkey = fleet.container("valkey")?;
        valkey_answers(&fleet)?;
        Ok(fleet)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.program[0]);
        command
            .args(&self.program[1..])
            .arg("--file")
            .arg(workspace::root().join("docker/smtp/compose.yml"))
            .args(["--project-name", PROJECT])
            .args(args)
            .env("VALKIT_IMAGE", &self.image)
            .env("GUARD_CONFIG", &self.config);
        command
    }

    fn compose(&self, args: &[&str]) -> Result<String> {
        run::output(&mut self.command(args))
    }

    fn container(&self, service: &str) -> Result<Container> {
        let id = self.compose(&["ps", "--quiet", service])?.trim().to_owned();
        if id.is_empty() {
            bail!("`{service}` is not up");
        }
        let template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = docker(&["inspect", "--format", template, &id])?;
        Ok(Container { id, address: address.trim().parse().ok() })
    }
}

impl Fleet for Compose {
    fn name(&self) -> &'static str {
        "containers"
    }

    fn gate(&self, node: usize) -> SocketAddr {
        self.inner(node, 2525)
    }

    /// Directly: behind a published port stands a proxy process that copies every byte, and would be measured too.
    fn inner(&self, node: usize, port: u16) -> SocketAddr {
        let address = self.nodes[node].address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        SocketAddr::new(address, port)
    }

    fn clients(&self) -> &'static str {
        "172.31.250.0/24"
    }

    fn restart_guards(&mut self, settings: &str) -> Result<()> {
        settings::write(&self.config, settings)?;
        // At once: each may take a moment to end.
        let restarts: Vec<_> = self
            .guards
            .iter()
            .map(|guard| {
                let id = guard.id.clone();
                std::thread::spawn(move || docker(&["restart", "--time", "5", &id]))
            })
            .collect();
        for restart in restarts {
            restart.join().map_err(|_| anyhow::anyhow!("a restart panicked"))??;
        }
        Ok(())
    }

    fn kill_guard(&mut self, node: usize) -> Result<()> {
        docker(&["kill", &self.guards[node].id]).map(drop)
    }

    fn start_guard(&mut self, node: usize) -> Result<()> {
        docker(&["start", &self.guards[node].id]).map(drop)
    }

    fn kill_valkey(&mut self) -> Result<()> {
        docker(&["kill", &self.valkey.id]).map(drop)
    }

    fn start_valkey(&mut self) -> Result<()> {
        docker(&["start", &self.valkey.id]).map(drop)
    }

    fn valkey_address(&self) -> Result<SocketAddr> {
        // Started again it may have another one.
        let address = self.container("valkey")?.address.context("Valkey has no address")?;
        Ok(SocketAddr::new(address, 6379))
    }

    fn valkey(&self, command: &[&str]) -> Result<String> {
        docker(&[&["exec", &self.valkey.id, "valkey-cli"], command].concat())
    }

    fn mailbox(&self, node: usize, header: &str) -> Result<String> {
        // An empty mailbox is no failure; grep says 1 to that.
        let script = "cat /var/mail/books/new/* 2>/dev/null | grep \"^$0\" || true";
        docker(&["exec", &self.nodes[node].id, "sh", "-c", script, header])
    }

    fn start_on(&mut self, node: usize, program: &[&str]) -> Result<()> {
        docker(&[&["exec", "--detach", &self.nodes[node].id], program].concat()).map(drop)
    }

    fn logs(&self) -> String {
        self.compose(&["logs", "--no-color", "--tail", "12"]).unwrap_or_else(|error| format!("{error:#}"))
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        run::step("taking the nodes down");
        if let Err(error) = self.compose(&["down", "--volumes", "--timeout", "3"]) {
            eprintln!("{error:#}");
        }
    }
}

fn docker(args: &[&str]) -> Result<String> {
    run::output_within(Command::new("docker").args(args), Duration::from_mins(1))
}

/// Compose in either of its forms.
fn program() -> Result<Vec<&'static str>> {
    if run::output(Command::new("docker").args(["compose", "version"])).is_ok() {
        return Ok(vec!["docker", "compose"]);
    }
    if run::which("docker-compose").is_some() {
        return Ok(vec!["docker-compose"]);
    }
    bail!("neither `docker compose` nor `docker-compose` is there")
}

/// Whether containers can be had here.
pub(crate) fn possible() -> Result<()> {
    setup::docker_answers().context("Docker")?;
    program().map(drop)
}

/// Gets the images that are missing and builds that of the guard; its name.
fn images(release: bool) -> Result<String> {
    script("build-valkey-image.sh", &["8.0"])?;
    script("build-mail-images.sh", &[])?;
    let (profile, tag) =
        if release { ("release", "smtp-guard:xtask-release") } else { ("dev", "smtp-guard:xtask") };
    script("build-image.sh", &["--host", "--only", "smtp-guard", "--profile", profile, "--tag", tag])?;
    Ok(tag.to_owned())
}

fn script(name: &str, args: &[&str]) -> Result<()> {
    let mut command = Command::new("sh");
    command.arg(workspace::root().join("docker").join(name)).args(args).current_dir(workspace::root());
    // What it prints is for people; our own stdout stays for results.
    run::run(command.stdout(std::process::Stdio::null()))
}
