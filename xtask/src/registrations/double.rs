//! The doubles of FreeIPA and Telegram: a program of its own, steered over HTTP.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::site::{EVERYBODY, FQDN, OPEN_GROUPS, SERVICE};
use crate::http;
use crate::process::Process;

/// How long it may take until it says where it is.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The running doubles; dropped, they are gone.
#[derive(Debug)]
pub(crate) struct Double {
    places: Places,
    control: SocketAddr,
    /// The root of the server's certificate.
    pub(crate) ca: PathBuf,
    /// Where the password of the service account is, for consumers.
    pub(crate) password_file: PathBuf,
    /// Where the bot's token is, for consumers.
    pub(crate) token_file: PathBuf,
    /// All that must be nowhere.
    pub(crate) secrets: Vec<String>,
    _process: Process,
}

/// What it says when it has started.
#[derive(Debug, Deserialize)]
struct Places {
    freeipa: FreeIpaPlace,
    telegram: Place,
    control: Place,
}

#[derive(Debug, Deserialize)]
struct FreeIpaPlace {
    address: SocketAddr,
}

#[derive(Debug, Deserialize)]
struct Place {
    url: String,
}

/// What is in the directory, and how it came there.
#[derive(Debug, Deserialize)]
pub(crate) struct Directory {
    pub(crate) users: Vec<User>,
    pub(crate) history: Vec<Event>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct User {
    pub(crate) login: String,
    pub(crate) container: String,
    pub(crate) attributes: BTreeMap<String, Vec<String>>,
    pub(crate) groups: Vec<String>,
    pub(crate) has_password: bool,
    pub(crate) locked: bool,
}

/// One change. `change` is a word, or an object of a word and a group.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) change: Json,
    pub(crate) subject: String,
}

/// What was asked of FreeIPA.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Stats {
    pub(crate) logins_by_user: BTreeMap<String, u64>,
    pub(crate) logins_rejected: BTreeMap<String, u64>,
    pub(crate) calls: BTreeMap<String, u64>,
    pub(crate) in_flight_most: u64,
}

/// A message that was delivered.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Message {
    pub(crate) chat: i64,
    pub(crate) text: String,
    pub(crate) entities: Vec<Entity>,
    pub(crate) protected: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Entity {
    #[serde(rename = "type")]
    kind: String,
    offset: usize,
    length: usize,
}

impl Double {
    /// Starts the program, with secrets of its own, in the directory.
    pub(crate) fn start(program: &Path, dir: &Path, secrets: &[&str; 2]) -> Result<Self> {
        let [password, token] = secrets.map(str::to_owned);
        let (password_file, token_file) = (dir.join("service-password"), dir.join("bot-token"));
        write_secret(&password_file, &password)?;
        write_secret(&token_file, &token)?;
        let (ca, log) = (dir.join("ca.pem"), dir.join("double.log"));
        let mut command = Command::new(program);
        command.args(["--telegram", "127.0.0.1:0", "--control", "127.0.0.1:0", "--fqdn", FQDN]);
        command.arg("--ca-out").arg(&ca).args(["--service-login", SERVICE]);
        command.arg("--service-password-file").arg(&password_file);
        command.arg("--telegram-token-file").arg(&token_file);
        for group in OPEN_GROUPS.iter().chain([&EVERYBODY]) {
            command.args(["--group", group]);
        }
        let process = Process::start(dir, "double", &mut command)?;
        let places = announced(&log, &process)?;
        let control =
            places.control.url.trim_start_matches("http://").parse().context("where it is steered")?;
        let secrets = vec![password, token];
        Ok(Self { places, control, ca, password_file, token_file, secrets, _process: process })
    }

    /// The server as a setting names it: by its name, dialled where it is.
    pub(crate) fn server(&self) -> String {
        format!("{FQDN}={}", self.places.freeipa.address)
    }

    pub(crate) fn telegram_url(&self) -> &str {
        &self.places.telegram.url
    }

    /// Something happens to FreeIPA.
    pub(crate) fn freeipa(&self, action: &Json) -> Result<()> {
        http::post(self.control, "/freeipa/do", &action.to_string()).map(drop)
    }

    /// A fault lies in wait for calls of FreeIPA.
    pub(crate) fn arm_freeipa(&self, fault: &Json) -> Result<()> {
        http::post(self.control, "/freeipa/faults", &fault.to_string()).map(drop)
    }

    /// Something happens to Telegram.
    pub(crate) fn telegram(&self, action: &Json) -> Result<()> {
        http::post(self.control, "/telegram/do", &action.to_string()).map(drop)
    }

    /// A fault lies in wait for messages.
    pub(crate) fn arm_telegram(&self, fault: &Json) -> Result<()> {
        http::post(self.control, "/telegram/faults", &fault.to_string()).map(drop)
    }

    /// The service account has another password from now on, and its sessions end; consumers are told by
    /// [`tell_password`](Self::tell_password) only.
    pub(crate) fn change_password(&mut self, password: &str) -> Result<()> {
        self.secrets.push(password.to_owned());
        self.freeipa(&json!({"do": "set_password", "login": SERVICE, "password": password}))?;
        self.freeipa(&json!({"do": "expire_sessions"}))
    }

    /// Writes the last password where consumers find it.
    pub(crate) fn tell_password(&self, password: &str) -> Result<()> {
        write_secret(&self.password_file, password)
    }

    /// Where a page of it is, for people.
    pub(crate) fn page(&self, path: &str) -> String {
        format!("http://{}{path}", self.control)
    }

    pub(crate) fn directory(&self) -> Result<Directory> {
        self.get("/freeipa/directory")
    }

    pub(crate) fn stats(&self) -> Result<Stats> {
        self.get("/freeipa/stats")
    }

    pub(crate) fn messages(&self) -> Result<Vec<Message>> {
        self.get("/telegram/messages")
    }

    /// Whether that is the password of that account.
    pub(crate) fn has_password(&self, login: &str, password: &str) -> Result<bool> {
        let question = json!({"login": login, "password": password});
        let answer: Json =
            serde_json::from_str(&http::post(self.control, "/freeipa/password", &question.to_string())?)?;
        answer["matches"].as_bool().context("an answer says yes or no")
    }

    fn get<T: for<'a> Deserialize<'a>>(&self, path: &str) -> Result<T> {
        let text = http::get(self.control, path)?;
        serde_json::from_str(&text).with_context(|| format!("{path} of the double"))
    }
}

impl Message {
    /// The part that is set in type for copying: the password.
    pub(crate) fn code(&self) -> Option<String> {
        let entity = self.entities.iter().find(|entity| entity.kind == "code")?;
        let units: Vec<u16> = self.text.encode_utf16().skip(entity.offset).take(entity.length).collect();
        String::from_utf16(&units).ok()
    }
}

impl Event {
    /// Whether it is this one.
    pub(crate) fn is(&self, change: &str) -> bool {
        self.change.as_str() == Some(change)
    }
}

/// The first line of its log.
fn announced(log: &Path, process: &Process) -> Result<Places> {
    let started = Instant::now();
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.starts_with('{') && line.ends_with('}')) {
            return serde_json::from_str(line).context("what the double says of itself");
        }
        if started.elapsed() > START_LIMIT || !process.is_running() {
            bail!("the double does not start: {}", text.trim());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Readable for us alone.
fn write_secret(path: &Path, secret: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{secret}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_password_is_found_by_units_of_utf16() {
        let text = "Пароль \u{1f511}: a<&>b !";
        let offset = "Пароль \u{1f511}: ".encode_utf16().count();
        let entities = json!([{"type": "bold", "offset": 0, "length": 6}, {"type": "code", "offset": offset, "length": 5}]);
        let message: Message =
            serde_json::from_value(json!({"chat": 1, "text": text, "entities": entities, "protected": true}))
                .unwrap();
        assert_eq!(message.code().as_deref(), Some("a<&>b"));
    }

    #[test]
    fn changes_are_words_or_words_with_a_group() {
        let events: Vec<Event> = serde_json::from_str(
            r#"[{"change":"created","subject":"a"},{"change":{"joined":"g"},"subject":"a"}]"#,
        )
        .unwrap();
        assert!(events[0].is("created") && !events[1].is("joined"));
    }
}
