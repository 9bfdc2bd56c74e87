//! The consumers: processes of the program under test, which are killed and started again.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::double::Double;
use super::site::{EVERYBODY, MISSING_GROUP, OPEN_GROUPS, PLACEHOLDER, QUEUE, SEALED_GROUP, SERVICE};
use super::text::SIGN_IN_URL;
use super::valkey::{Valkey, free_port};
use crate::http;
use crate::process::Process;

/// How long a consumer may take to answer at all.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Where the words of `--check` are kept.
const CHECK_LOG: &str = "check.log";

/// All consumers of a run; dropped, they are gone.
#[derive(Debug)]
pub(crate) struct Consumers {
    program: PathBuf,
    dir: PathBuf,
    config: PathBuf,
    members: Vec<Member>,
    /// How many were killed.
    pub(crate) killed: u64,
    /// Every page of metrics and health that was ever read.
    pages: File,
}

#[derive(Debug)]
struct Member {
    name: String,
    http: SocketAddr,
    process: Option<Process>,
}

impl Consumers {
    /// Starts so many.
    pub(crate) fn start(
        program: &Path,
        dir: &Path,
        count: usize,
        valkey: &Valkey,
        double: &Double,
    ) -> Result<Self> {
        let config = dir.join("consumer.toml");
        std::fs::write(&config, settings(valkey, double))
            .with_context(|| format!("cannot write {}", config.display()))?;
        let member = |number: usize| {
            let http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
            Ok(Member { name: format!("consumer{}", number + 1), http, process: None })
        };
        // Not every run looks into it; what was written is looked through in all.
        File::create(dir.join(CHECK_LOG))?;
        let mut consumers = Self {
            program: program.to_owned(),
            dir: dir.to_owned(),
            config,
            members: (0..count).map(member).collect::<Result<_>>()?,
            killed: 0,
            pages: File::create(dir.join("pages.txt"))?,
        };
        consumers.start_all()?;
        Ok(consumers)
    }

    /// Whether everything that it depends on is as it should be, by its own word.
    pub(crate) fn check(&self) -> Result<std::process::Output> {
        let mut log = File::create(self.dir.join(CHECK_LOG))?;
        let output = Command::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            .arg("--check")
            .stdin(std::process::Stdio::null())
            .output()
            .context("cannot start freeipa-consumer")?;
        log.write_all(&output.stdout)?;
        log.write_all(&output.stderr)?;
        Ok(output)
    }

    /// Starts those that do not run, and waits until they answer.
    pub(crate) fn start_all(&mut self) -> Result<()> {
        for number in 0..self.members.len() {
            if self.members[number].process.is_none() {
                self.again(number)?;
            }
        }
        self.members.iter().try_for_each(Member::wait)
    }

    /// Starts one that was killed.
    pub(crate) fn again(&mut self, number: usize) -> Result<()> {
        let member = &mut self.members[number];
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config);
        command.env("FREEIPA_CONSUMER_HTTP_LISTEN", member.http.to_string());
        member.process = Some(Process::start(&self.dir, &member.name, &mut command)?);
        Ok(())
    }

    /// Ends one as a crash would.
    pub(crate) fn kill(&mut self, number: usize) -> Result<()> {
        self.killed += 1;
        self.members[number].process.take().context("the consumer runs")?.kill()
    }

    /// Ends all of them as one wishes, and gives how many ended well.
    pub(crate) fn stop(&mut self) -> Result<usize> {
        let mut well = 0;
        let mut running: Vec<Process> =
            self.members.iter_mut().filter_map(|member| member.process.take()).collect();
        // All are told before anybody is waited for.
        running.iter_mut().for_each(Process::tell_to_end);
        for process in running {
            well += usize::from(process.stop()?.success());
        }
        Ok(well)
    }

    pub(crate) fn count(&self) -> usize {
        self.members.len()
    }

    /// Those that run.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.count()).filter(|number| self.members[*number].process.is_some()).collect()
    }

    /// Fails if one ended by itself.
    pub(crate) fn look_after(&self) -> Result<()> {
        for member in &self.members {
            if member.process.as_ref().is_some_and(|process| !process.is_running()) {
                bail!("{} ended by itself: see its log", member.name);
            }
        }
        Ok(())
    }

    /// Reads what those that run say of themselves, and keeps it. Who does not answer is about to be heard of otherwise.
    pub(crate) fn scrape(&mut self) -> Result<()> {
        for member in self.members.iter().filter(|member| member.process.is_some()) {
            for path in ["/metrics", "/readyz", "/healthz"] {
                if let Ok(page) = http::ask_whatever(member.http, path) {
                    writeln!(self.pages, "{page}")?;
                }
            }
        }
        Ok(())
    }

    /// Whether one of them says that it takes registrations.
    pub(crate) fn readiness(&self) -> Vec<bool> {
        self.members.iter().map(|member| http::get(member.http, "/readyz").is_ok()).collect()
    }

    /// Everything that consumers wrote: their logs, and the pages that were read.
    pub(crate) fn words(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut names: Vec<String> =
            self.members.iter().map(|member| format!("{}.log", member.name)).collect();
        names.push(CHECK_LOG.to_owned());
        names.push("pages.txt".to_owned());
        let read = |name: String| {
            let bytes = std::fs::read(self.dir.join(&name)).with_context(|| format!("cannot read {name}"))?;
            Ok((name, bytes))
        };
        names.into_iter().map(read).collect()
    }
}

impl Member {
    /// Waits until it answers: it lives, whatever it depends on does.
    fn wait(&self) -> Result<()> {
        let started = Instant::now();
        while let Err(error) = http::get(self.http, "/healthz") {
            if started.elapsed() > START_LIMIT
                || self.process.as_ref().is_some_and(|process| !process.is_running())
            {
                return Err(error).with_context(|| format!("{} does not answer", self.name));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// Settings as one has them, with shorter times: nobody wants to watch a lease of a quarter of a minute end.
fn settings(valkey: &Valkey, double: &Double) -> String {
    let mut allowed = OPEN_GROUPS.to_vec();
    allowed.extend([SEALED_GROUP, MISSING_GROUP]);
    format!(
        r#"[consumer]
applicant_lease = "6s"
trouble_interval = "2s"
log_format = "json"
log = "info,freeipa_consumer=debug"

[registration]
groups_allowed = {allowed:?}
default_groups = [{EVERYBODY:?}]
last_name_placeholder = {PLACEHOLDER:?}

[freeipa]
servers = [{server:?}]
ca_file = "{ca}"
login = {SERVICE:?}
password_file = "{password}"
connect_timeout = "2s"
request_timeout = "4s"

[report]
sign_in_url = {SIGN_IN_URL:?}
telegram_token_file = "{token}"
telegram_url = {telegram:?}
telegram_rate = 30
telegram_timeout = "4s"

[receiver]
default_queues = [{QUEUE:?}]
lease = "5s"
max_crashes = 50
max_retries = 6
retry_delay = "500ms"
max_retry_delay = "3s"
drain_timeout = "8s"

[connection]
address = {valkey:?}
"#,
        server = double.server(),
        ca = double.ca.display(),
        password = double.password_file.display(),
        token = double.token_file.display(),
        telegram = double.telegram_url(),
        valkey = valkey.url(),
    )
}
