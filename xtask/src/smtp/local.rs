//! The nodes as processes of this machine, from the same files as the containers: three of Postfix, each with its own
//! configuration, queue and mailbox, three guards, the balancer and Valkey, all on the loopback addresses.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::fleet::{Fleet, NODES, valkey_answers};
use super::settings;
use crate::process::Process;
use crate::{run, setup, workspace};

/// Where Valkey listens: not where one may be running anyway.
const VALKEY: u16 = 16379;

/// From which loopback address the balancer connects to the gates, so that they can tell it from clients.
const BALANCER: &str = "127.0.0.10";

/// Between the ports of one node and those of the next.
const STRIDE: u16 = 100;

/// Who owns the mailboxes; main.cf says so too.
const MAILBOX_OWNER: u32 = 5000;

/// Its master leaves whoever started it behind, and ends by its own command only. The argument is its configuration.
const POSTFIX: &str = r#"trap 'postfix -c "$0" abort' TERM; postfix -c "$0" start-fg & wait; wait"#;

/// The way to the nodes on this machine.
#[derive(Debug)]
pub(crate) struct Local {
    dir: PathBuf,
    guard: PathBuf,
    settings: String,
    // In the order in which they may end: nobody is asked for after they are gone.
    balancer: Option<Process>,
    guards: Vec<Option<Process>>,
    others: Vec<Process>,
    valkey: Option<Process>,
}

impl Local {
    /// Gets the programs and brings everything up.
    pub(crate) fn up(release: bool, yes: bool) -> Result<Self> {
        if run::output(Command::new("id").arg("-u"))?.trim() != "0" {
            bail!("Postfix starts as root only: run this as root, or where Docker is");
        }
        programs(yes)?;
        let guard = build(release)?;
        // Not in the target directory: Postfix's own user has to get there, and a socket's path is short.
        let dir = std::env::temp_dir().join(format!("valkit-smtp-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut fleet = Self {
            dir,
            guard,
            settings: settings::base()?,
            balancer: None,
            guards: Vec::new(),
            others: Vec::new(),
            valkey: None,
        };
        run::step("starting Valkey, three Postfixes with their guards, and HAProxy");
        fleet.start_valkey()?;
        valkey_answers(&fleet)?;
        for node in 0..NODES {
            let postfix = fleet.postfix(node)?;
            fleet.others.push(postfix);
            let guard = fleet.start(node)?;
            fleet.guards.push(Some(guard));
        }
        fleet.balancer = Some(fleet.haproxy()?);
        Ok(fleet)
    }

    fn postfix(&self, node: usize) -> Result<Process> {
        let home = self.dir.join(format!("postfix{}", node + 1));
        let [config, queue, data, mail] = ["config", "queue", "data", "mail"].map(|part| home.join(part));
        for dir in [&config, &queue, &data, &mail] {
            fs::create_dir_all(dir)?;
        }
        let owner: u32 = run::output(Command::new("id").args(["-u", "postfix"]))?.trim().parse()?;
        chown(&data, Some(owner), None)?;
        chown(&mail, Some(MAILBOX_OWNER), Some(MAILBOX_OWNER))?;
        let shipped = workspace::root().join("docker/smtp/postfix");
        let main_cf = fs::read_to_string(shipped.join("main.cf"))?.replace(
            "virtual_mailbox_base = /var/mail",
            &format!("virtual_mailbox_base = {}", mail.display()),
        );
        let main_cf = self.placed(node, &main_cf);
        let own = format!(
            "\nmyhostname = node{}.books.test\nqueue_directory = {}\ndata_directory = {}\n",
            node + 1,
            queue.display(),
            data.display()
        );
        fs::write(config.join("main.cf"), main_cf + &own)?;
        let services = fs::read_to_string(shipped.join("master.cf"))?;
        fs::write(config.join("master.cf"), self.placed(node, &services))?;
        let mut postfix = Command::new("sh");
        postfix.args(["-c", POSTFIX]).arg(&config);
        Process::start(&self.dir, &format!("postfix{}", node + 1), &mut postfix)
    }

    fn haproxy(&self) -> Result<Process> {
        let shipped = fs::read_to_string(workspace::root().join("docker/smtp/haproxy.cfg"))?;
        let mut text = shipped.replace("bind :", "bind 127.0.0.1:").replace("check port 8080 ", "check ");
        for node in 0..NODES {
            let (gate, metrics) = (self.node(node), self.metrics(node).port());
            text = text.replace(
                &format!("node{}:2525", node + 1),
                &format!("{gate} port {metrics} source {BALANCER}"),
            );
        }
        let config = self.dir.join("haproxy.cfg");
        fs::write(&config, text)?;
        Process::start(&self.dir, "haproxy", Command::new("haproxy").arg("-db").arg("-f").arg(&config))
    }

    fn start(&self, node: usize) -> Result<Process> {
        let config = self.dir.join(format!("guard{}.toml", node + 1));
        settings::write(&config, &self.placed(node, &self.settings))?;
        let mut guard = Command::new(&self.guard);
        guard.arg("--config").arg(&config).env("NODE_ID", format!("node{}", node + 1));
        Process::start(&self.dir, &format!("guard{}", node + 1), &mut guard)
    }

    /// A file of the containers, with the addresses that this node has here.
    fn placed(&self, node: usize, text: &str) -> String {
        let mut text = text
            .replace("0.0.0.0:2525", &self.node(node).to_string())
            .replace("0.0.0.0:8080", &self.metrics(node).to_string())
            .replace("valkey://valkey:6379", &format!("valkey://127.0.0.1:{VALKEY}"))
            .replace("172.31.250.10/32", &format!("{BALANCER}/32"));
        for port in [10025, 10026, 10040] {
            text = text.replace(&format!("0.0.0.0:{port}"), &format!("127.0.0.1:{port}"));
            text = text.replace(&format!("127.0.0.1:{port}"), &self.inner(node, port).to_string());
        }
        text
    }
}

impl Fleet for Local {
    fn name(&self) -> &'static str {
        "processes of this machine"
    }

    fn gate(&self, node: usize) -> SocketAddr {
        self.node(node)
    }

    fn inner(&self, node: usize, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port + STRIDE * node as u16))
    }

    fn clients(&self) -> &'static str {
        "127.0.0.0/8"
    }

    fn restart_guards(&mut self, settings: &str) -> Result<()> {
        settings.clone_into(&mut self.settings);
        self.guards.clear();
        for node in 0..NODES {
            let guard = self.start(node)?;
            self.guards.push(Some(guard));
        }
        Ok(())
    }

    fn kill_guard(&mut self, node: usize) -> Result<()> {
        self.guards[node].take().context("the guard runs")?.kill()
    }

    fn start_guard(&mut self, node: usize) -> Result<()> {
        self.guards[node] = Some(self.start(node)?);
        Ok(())
    }

    fn kill_valkey(&mut self) -> Result<()> {
        self.valkey.take().context("Valkey runs")?.kill()
    }

    fn start_valkey(&mut self) -> Result<()> {
        let mut valkey = Command::new("valkey-server");
        valkey.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &VALKEY.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        valkey.current_dir(&self.dir);
        self.valkey = Some(Process::start(&self.dir, "valkey", &mut valkey)?);
        Ok(())
    }

    fn valkey_address(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, VALKEY)))
    }

    fn valkey(&self, command: &[&str]) -> Result<String> {
        let port = VALKEY.to_string();
        let mut cli = Command::new("valkey-cli");
        run::output_within(cli.args(["-h", "127.0.0.1", "-p", &port]).args(command), Duration::from_secs(10))
    }

    fn mailbox(&self, node: usize, header: &str) -> Result<String> {
        let dir = self.dir.join(format!("postfix{}/mail/books/new", node + 1));
        let Ok(messages) = fs::read_dir(dir) else { return Ok(String::new()) };
        let mut found = String::new();
        for message in messages {
            let text = fs::read_to_string(message?.path())?;
            found.extend(text.lines().filter(|line| line.starts_with(header)).flat_map(|line| [line, "\n"]));
        }
        Ok(found)
    }

    fn start_on(&mut self, node: usize, program: &[&str]) -> Result<()> {
        let placed: Vec<String> = program.iter().map(|word| self.placed(node, word)).collect();
        let name = format!("{}{}", placed[0], node + 1);
        let process = Process::start(&self.dir, &name, Command::new(&placed[0]).args(&placed[1..]))?;
        self.others.push(process);
        Ok(())
    }

    fn logs(&self) -> String {
        let Ok(files) = fs::read_dir(&self.dir) else { return String::new() };
        let mut logs: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        logs.iter().map(|path| tail(path)).collect()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        run::step("ending all of it");
        drop(self.balancer.take());
        self.guards.clear();
        self.others.clear();
        drop(self.valkey.take());
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(12)..].join("\n");
    format!("-- {}\n{last}\n", path.file_name().unwrap_or_default().to_string_lossy())
}

/// What has to be on this machine; installed, if need be.
fn programs(yes: bool) -> Result<()> {
    setup::program(yes)?;
    if run::which("postfix").is_none() || run::which("haproxy").is_none() {
        let mut script = Command::new("sh");
        script.arg(workspace::root().join("docker/install-mail.sh"));
        if yes {
            script.arg("--yes");
        }
        run::run(&mut script)?;
    }
    Ok(())
}

/// Builds the guard; where it is.
fn build(release: bool) -> Result<PathBuf> {
    run::step("building smtp-guard");
    let mut build = run::cargo();
    build.args(["build", "--locked", "--package", "smtp-guard"]);
    if release {
        build.arg("--release");
    }
    run::run(&mut build)?;
    Ok(workspace::target().join(if release { "release" } else { "debug" }).join("smtp-guard"))
}
