//! A realm, a web server, a Valkey, and the program under test.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use valkey_testkit::{TestServer, unique_name};

use crate::programs::Programs;
use crate::realm::{Realm, SERVER};
use crate::site::Site;

/// Everything that a test is about.
pub(crate) struct Scene {
    pub(crate) realm: Realm,
    pub(crate) site: Site,
    url: String,
    queue: String,
}

impl Scene {
    /// `None` where the programs are missing.
    pub(crate) async fn start() -> Option<Self> {
        let realm = Realm::start(Programs::find()?).await;
        let site = Site::start(&realm).await;
        let url = TestServer::shared().await.url();
        Some(Self { realm, site, url, queue: unique_name("keytab") })
    }

    /// The program, logging in at the usual server in this way.
    pub(crate) fn consumer(&self, login: &str) -> Command {
        self.consumer_at(SERVER, login)
    }

    pub(crate) fn consumer_at(&self, server: &str, login: &str) -> Command {
        let queue = &self.queue;
        let text = format!(
            "[consumer]\nkey_prefix = \"{queue}:state:\"\ntrouble_interval = \"1s\"\nhttp_listen = \"127.0.0.1:0\"\n\
             [freeipa]\nservers = \"{server}=127.0.0.1:{}\"\nca_file = \"{}\"\n{login}\n\
             [report]\nvia = \"none\"\npassword = \"none\"\n\
             [receiver]\ndefault_queues = \"{queue}\"\n[connection]\naddress = \"{}\"\n",
            self.site.port,
            self.realm.path("cert.pem").display(),
            self.url,
        );
        let file = self.realm.path(&format!("{}.toml", unique_name("consumer")));
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_freeipa-consumer"));
        command.arg("--config").arg(file).env("KRB5_CONFIG", self.realm.config()).env_remove("RUST_LOG");
        command.env_remove("KRB5CCNAME").env_remove("KRB5_CLIENT_KTNAME");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What `--check` says of this keytab.
    pub(crate) async fn check(&self, keytab: &Path) -> Findings {
        check(self.consumer(&with(keytab))).await
    }
}

/// The setting.
pub(crate) fn with(keytab: &Path) -> String {
    format!("keytab = \"{}\"", keytab.display())
}

/// What `--check` of this program says.
pub(crate) async fn check(mut command: Command) -> Findings {
    command.args(["--check", "-o", "json"]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = serde_json::from_str(&said).unwrap_or_else(|error| {
        panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr));
    });
    Findings(told)
}

/// What a check found.
pub(crate) struct Findings(pub(crate) Value);

impl Findings {
    /// How it says that this is, with what helps.
    pub(crate) fn of(&self, probe: &str) -> (String, String) {
        let findings = self.0["findings"].as_array().unwrap();
        let is_it = |finding: &&Value| {
            let about = finding["about"].as_str().unwrap();
            about.starts_with("freeipa ")
                && finding["text"].as_str().unwrap().starts_with(&format!("{probe}: "))
        };
        let finding = findings.iter().find(is_it).unwrap_or_else(|| panic!("nothing on {probe}: {}", self.0));
        let text =
            format!("{}; {}", finding["text"].as_str().unwrap(), finding["remedy"].as_str().unwrap_or(""));
        (finding["verdict"].as_str().unwrap().to_owned(), text)
    }

    /// The login failed, and these words are said of it.
    pub(crate) fn assert_no_login(&self, words: &[&str]) {
        let (verdict, text) = self.of("login");
        assert_eq!(verdict, "bad", "{text}");
        for word in words {
            assert!(text.contains(word), "`{word}` is missing in: {text}");
        }
    }
}
