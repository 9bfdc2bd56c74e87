//! A Valkey, a directory, a bot, and a consumer between them.

use std::net::SocketAddr;
use std::time::Duration;

use freeipa_client::{Client, Credentials, Pinned, Server, Trust};
use freeipa_consumer::settings::{PREFIX, Settings};
use freeipa_consumer::state::Records;
use freeipa_consumer::{Consumer, ConsumerError, Shutdown};
use freeipa_double::{
    AccountSpec, Config, FreeIpaDouble, GroupSpec, Rights, SentMessage, TelegramConfig, TelegramDouble,
};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use valkey_admin::{Admin, DeadLetter, DeadQuery, QueueStats};
use valkey_config::Sources;
use valkey_connection::{Connection, ConnectionSettings};
use valkey_envelope::{Envelope, QueueName};
use valkey_receiver::DrainReport;
use valkey_sender::Sender;
use valkey_testkit::{TestServer, eventually, soon, unique_name};

pub(crate) const SERVICE: &str = "svc-registrar";
pub(crate) const PASSWORD: &str = "canary-Service.123 <&+%>";
pub(crate) const BOSS: &str = "boss";
pub(crate) const GROUP: &str = "tg-users";

/// Everything that a test is about.
pub(crate) struct Scene {
    pub(crate) ipa: FreeIpaDouble,
    pub(crate) telegram: TelegramDouble,
    pub(crate) queue: QueueName,
    pub(crate) prefix: String,
    pub(crate) connection: Connection,
    token: String,
    url: String,
    ca: NamedTempFile,
    text: String,
}

/// A consumer that runs.
pub(crate) struct Running {
    shutdown: Shutdown,
    task: JoinHandle<Result<DrainReport, ConsumerError>>,
    pub(crate) http: SocketAddr,
}

pub(crate) fn config(rights: Rights) -> Config {
    Config::new()
        .account(AccountSpec::new(SERVICE, PASSWORD).rights(rights))
        .account(AccountSpec::new(BOSS, "Boss.12345").rights(Rights::admin()))
        .group(GroupSpec::new(GROUP).manager(SERVICE))
        .group(GroupSpec::new("others"))
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(config(Rights::registrar()), "").await
    }

    /// With these settings besides, in tables of their own.
    pub(crate) async fn set(settings: &str) -> Self {
        Self::with(config(Rights::registrar()), settings).await
    }

    pub(crate) async fn with(config: Config, settings: &str) -> Self {
        let server = TestServer::shared().await;
        let ipa = FreeIpaDouble::start(config).await.unwrap();
        let telegram = TelegramDouble::start(TelegramConfig::new()).await.unwrap();
        let name = unique_name("reg");
        let settings_of = ConnectionSettings::from_url(&server.url()).unwrap();
        let ca = NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), ipa.ca_pem()).unwrap();
        Self {
            queue: name.parse().unwrap(),
            prefix: format!("{name}:state:"),
            connection: Connection::connect(&settings_of).await.unwrap(),
            token: telegram.token(),
            url: server.url(),
            text: settings.to_owned(),
            ipa,
            telegram,
            ca,
        }
    }

    /// The same scene with other settings.
    pub(crate) fn but(mut self, settings: &str) -> Self {
        settings.clone_into(&mut self.text);
        self
    }

    /// What is in the file, without what `text` says already.
    fn toml(&self) -> String {
        let mut tables: toml::Table = self.text.parse().unwrap();
        let (ipa, telegram) = (&self.ipa, &self.telegram);
        let usual = format!(
            "[consumer]\nkey_prefix = \"{}\"\ntrouble_interval = \"1s\"\nhttp_listen = \"127.0.0.1:0\"\napplicant_lease = \"5s\"\n\
             [registration]\ndefault_groups = \"{GROUP}\"\nlogin_form = \"first\"\n\
             [freeipa]\nservers = \"{}={}\"\nca_file = \"{}\"\nlogin = \"{SERVICE}\"\npassword = \"{PASSWORD}\"\n\
             connect_timeout = \"500ms\"\nrequest_timeout = \"1500ms\"\n\
             [report]\ntelegram_url = \"{}\"\ntelegram_token = \"{}\"\ntelegram_timeout = \"1500ms\"\ntelegram_rate = 30\n\
             [receiver]\ndefault_queues = \"{}\"\nretry_delay = \"20ms\"\nmax_retry_delay = \"100ms\"\nlease = \"2s\"\n\
             [connection]\naddress = \"{}\"\n",
            self.prefix,
            ipa.fqdn(),
            ipa.address(),
            self.ca.path().display(),
            telegram.url(),
            self.token,
            self.queue,
            self.url,
        );
        for (table, values) in usual.parse::<toml::Table>().unwrap() {
            let own = tables.entry(table).or_insert_with(|| toml::Table::new().into());
            for (name, value) in values.as_table().unwrap() {
                own.as_table_mut().unwrap().entry(name).or_insert_with(|| value.clone());
            }
        }
        let table = |(name, values): (&String, &toml::Value)| {
            let lines = values
                .as_table()
                .unwrap()
                .iter()
                .map(|(name, value)| format!("{name} = {}\n", serde_json::to_string(value).unwrap()));
            format!("[{name}]\n{}", lines.collect::<String>())
        };
        tables.iter().map(table).collect()
    }

    pub(crate) fn settings(&self) -> Settings {
        let sources = Sources::new(PREFIX).toml_text("test.toml", self.toml());
        Settings::from_sources(&sources).unwrap().0
    }

    /// The same as a file.
    pub(crate) fn file(&self) -> NamedTempFile {
        let file = NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(file.path(), self.toml()).unwrap();
        file
    }

    /// Starts a consumer.
    pub(crate) async fn start(&self) -> Running {
        let consumer = Consumer::bind(self.settings()).await.unwrap();
        let http = consumer.http_address().unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(consumer.run(shutdown.clone()));
        Running { shutdown, task, http }
    }

    pub(crate) async fn send(&self, registration: &Value) {
        self.send_envelope(Envelope::new(registration).unwrap()).await;
    }

    pub(crate) async fn send_envelope(&self, envelope: Envelope) {
        let sender = Sender::new(self.connection.clone(), self.queue.clone());
        assert!(sender.send(envelope).await.unwrap().is_accepted());
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::new(self.connection.clone())
    }

    pub(crate) async fn stats(&self) -> QueueStats {
        self.admin().stats(&self.queue).await.unwrap()
    }

    /// Waits until no message is anywhere but among the dead.
    pub(crate) async fn settled(&self) {
        self.settled_within(Duration::from_mins(1)).await;
    }

    /// The same, for so many that it takes longer than anybody waits for one.
    pub(crate) async fn settled_within(&self, limit: Duration) {
        let deadline = tokio::time::Instant::now() + limit;
        let mut empty = 0;
        loop {
            let stats = self.stats().await;
            // The keys are not counted at one moment, and a message that moves may be missed; not three times.
            empty = if stats.ready.total() + stats.delayed + stats.in_flight == 0 { empty + 1 } else { 0 };
            if empty == 3 {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "not settled after {limit:?}: {stats:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts a consumer, lets it work off everything, and ends it.
    pub(crate) async fn work_off(&self) {
        let running = self.start().await;
        self.settled().await;
        running.end().await;
    }

    pub(crate) async fn dead(&self) -> Vec<DeadLetter> {
        let query =
            DeadQuery { count: 1000, oldest_first: true, preview_bytes: 4096, ..DeadQuery::default() };
        self.admin().dead_letters(&self.queue, &query).await.unwrap().letters
    }

    /// The classes of the dead letters.
    pub(crate) async fn reasons(&self) -> Vec<String> {
        self.dead()
            .await
            .iter()
            .map(|letter| letter.meta.as_ref().unwrap().reason.as_str().to_owned())
            .collect()
    }

    pub(crate) fn told(&self, chat: i64) -> Vec<String> {
        self.telegram.messages_to(chat).into_iter().map(|message: SentMessage| message.text).collect()
    }

    /// The last thing that a chat was told.
    pub(crate) fn last(&self, chat: i64) -> String {
        self.told(chat).pop().unwrap_or_default()
    }

    /// The password that a chat was told last.
    pub(crate) fn password(&self, chat: i64) -> String {
        let text = self.last(chat);
        let line = text.lines().find_map(|line| line.strip_prefix("Temporary password: "));
        line.unwrap_or_else(|| panic!("no password in {text:?}")).to_owned()
    }

    /// The applicant has this account, once, in the group, and was told a password that works.
    pub(crate) fn assert_has_account(&self, chat: i64, login: &str) {
        let directory = self.ipa.directory();
        let created = directory.created().iter().filter(|created| **created == login).count();
        assert_eq!(created, 1, "{login} is created once: {:?}", directory.created());
        assert!(directory.user(login).unwrap().groups.contains(&GROUP.to_owned()), "{login} is in no group");
        assert!(self.last(chat).contains(login), "{:?}", self.told(chat));
        assert!(self.ipa.has_password(login, &self.password(chat)), "{login}'s password is another one");
    }

    pub(crate) fn records(&self) -> Records {
        Records::new(self.connection.clone(), self.prefix.clone(), Duration::from_hours(1000))
    }

    /// The directory as somebody sees it who may do everything.
    pub(crate) fn boss(&self) -> Pinned {
        let server = Server::new(self.ipa.fqdn()).unwrap();
        let server = server.connect_to(&self.ipa.address().to_string()).unwrap();
        let settings = freeipa_client::Settings::new(Credentials::password(BOSS, "Boss.12345"))
            .server(server)
            .trust(Trust::Only(self.ipa.ca_pem().as_bytes().to_vec()));
        Client::new(&settings).unwrap().server("boss")
    }
}

impl Running {
    /// Ends it, as a signal would; everything that it began has an outcome.
    pub(crate) async fn end(self) {
        let report = self.books().await;
        assert!(report.is_clean(), "{report}");
    }

    /// The same, and what it did.
    pub(crate) async fn books(self) -> DrainReport {
        self.shutdown.drain();
        soon("the end", self.task).await.unwrap().unwrap()
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn abort(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// How it says that it stands.
    pub(crate) async fn ready(&self) -> Value {
        serde_json::from_str(&get(self.http, "/readyz").await.1).unwrap()
    }

    /// Waits until it says so.
    pub(crate) async fn until_ready(&self) {
        self.until("ready").await;
    }

    /// Waits until it stands so, and gives why.
    pub(crate) async fn until(&self, status: &str) -> Value {
        eventually(status, async || {
            let ready = self.ready().await;
            (ready["status"] == status).then_some(ready)
        })
        .await
    }
}

/// The head and the body of an answer.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}
