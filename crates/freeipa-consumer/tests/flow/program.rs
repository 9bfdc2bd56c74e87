//! The program as an operator sees it: exit codes, signals, what is left of a killed one, and what `--check` says.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use freeipa_double::{ChatState, Fault, FaultRule, FreeIpaAction, Right, Rights, TelegramAction};
use serde_json::Value;
use valkey_testkit::{TestServer, eventually};

use crate::people::{somebody, with};
use crate::scene::{PASSWORD, Scene, config};

pub(crate) fn program(file: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freeipa-consumer"));
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.arg("--config").arg(file);
    command
}

/// The exit code, and everything it said. The doubles live on this runtime, so it must not be blocked.
pub(crate) async fn run(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

pub(crate) async fn check(scene: &Scene) -> (Option<i32>, String) {
    let file = scene.file();
    let mut command = program(file.path());
    command.arg("--check");
    run(command).await
}

/// One that runs, and is killed when the test ends.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    /// Where it says how it stands.
    pub(crate) http: SocketAddr,
}

impl Process {
    pub(crate) async fn start(scene: &Scene) -> Self {
        let file = scene.file();
        let mut child = program(file.path()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (written, (say, said)) = (Arc::clone(&log), tokio::sync::oneshot::channel());
        std::thread::spawn(move || {
            let (mut say, _file) = (Some(say), file);
            for line in lines.map_while(Result::ok) {
                written.lock().unwrap().extend([&line, "\n"]);
                if line.contains("started")
                    && let Some(say) = say.take()
                {
                    say.send(line).unwrap();
                }
            }
        });
        let started = said.await.expect("it started");
        let http = started.split_once("http=\"").and_then(|(_, http)| http.split_once('"')).unwrap().0;
        Self { child, log, http: http.parse().unwrap() }
    }

    /// The lines of its log so far that hold this.
    pub(crate) fn logged(&self, part: &str) -> Vec<String> {
        self.log.lock().unwrap().lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub(crate) async fn end(&mut self) -> Option<i32> {
        eventually("its end", async || self.child.try_wait().unwrap()).await.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_is_right_is_found_so() {
    let scene = Scene::new().await;
    let (code, told) = check(&scene).await;
    assert_eq!(code, Some(0), "{told}");
    for part in
        ["valkey", "records", "freeipa ipa.example.test", "telegram", "@double_bot", "no fault found; "]
    {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    assert!(
        !told.contains("BAD") && !told.contains(PASSWORD) && !told.contains(&scene.telegram.token()),
        "{told}"
    );
    assert!(scene.telegram.messages().is_empty() && scene.ipa.directory().created().is_empty());
    let left =
        TestServer::shared().await.cli(&["--scan", "--pattern", &format!("{}*", scene.queue)]).await.unwrap();
    assert!(
        left.lines().all(|key| key.contains("probe") || key.contains(":login:")),
        "it leaves nothing, but for ten minutes that the login went well: {left}"
    );

    let file = scene.file();
    let mut command = program(file.path());
    command.args(["--check", "-o", "json"]);
    let (code, told) = run(command).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["store"]), (Some(0), &Value::from("reached")));
    assert!(told["findings"].as_array().unwrap().iter().all(|finding| finding["verdict"] != "bad"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_warns_of_misspelled_variables_and_not_of_refusals() {
    let scene = Scene::new().await;
    scene.send(&serde_json::json!({"telegram": {"user_id": 7}, "uidnumber": 0})).await;
    scene.work_off().await;
    assert_eq!(scene.reasons().await, ["forbidden_field"]);
    let file = scene.file();
    let mut command = program(file.path());
    command.arg("--check").env("FREEIPA_CONSUMER_IPA_LOGNI", "x");
    let (code, told) = run(command).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("did you mean FREEIPA_CONSUMER_IPA_LOGIN?"), "{told}");
    assert!(!told.contains("replay") && !told.contains("all is well"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_wrong_set_up_is_named() {
    // All at once: nobody wants to hear of one after the other.
    let settings = "[registration]\ndefault_groups = \"tg-users,nosuch,others\"\n[consumer]\nflow = \"stage_then_activate\"\n";
    let scene = Scene::with(config(Rights::registrar().without(Right::ChangePasswords)), settings).await;
    let other = "220201543:BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0".to_owned();
    scene.telegram.apply(TelegramAction::SetToken { token: other }).unwrap();
    let (code, told) = check(&scene).await;
    assert_eq!(code, Some(1), "{told}");
    for part in [
        "there is no group nosuch",
        "ipa group-add-member-manager nosuch --users=svc-registrar",
        "ipa group-add nosuch",
        "may not put users into others",
        "ipa group-add-member-manager others",
        "telegram_token",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }

    for (settings, part) in [
        ("[freeipa]\npassword = \"wrong\"\n", "wrong password"),
        ("[freeipa]\nlogin = \"nobody-of-that-name\"\n", "no such account"),
    ] {
        let scene = Scene::set(settings).await;
        let (code, told) = check(&scene).await;
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(part) && told.contains("BAD"), "{told}");
        assert_eq!(scene.ipa.stats().logins, 1, "it is tried once");
    }

    let scene = Scene::new().await;
    scene.ipa.apply(FreeIpaAction::LdapDown { down: true }).unwrap();
    let (code, told) = check(&scene).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("ipactl status"), "{told}");
    let alias = format!("[freeipa]\nservers = \"alias.example.test={}\"\n", scene.ipa.address());
    let (code, told) = check(&scene.but(&alias)).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("certificate"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_what_is_wrong_with_valkey_and_with_the_settings() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = free.local_addr().unwrap();
    drop(free);
    let (code, told) =
        check(&Scene::set(&format!("[connection]\naddress = \"valkey://{nowhere}\"\n")).await).await;
    assert_eq!(code, Some(5), "{told}");
    assert!(
        told.contains(&format!("connection.address is right: valkey://{nowhere}"))
            && told.contains("freeipa ipa.example.test"),
        "the rest is looked at: {told}"
    );

    let strict = TestServer::builder().acl_user("app", "canary", "~nothing:* +@all").start().await.unwrap();
    let wrong = format!("[connection]\naddress = \"valkey://app:wr0ng@{}\"\n", strict.address());
    let (code, told) = check(&Scene::set(&wrong).await).await;
    assert_eq!(code, Some(6), "{told}");
    assert!(!told.contains("wr0ng"), "{told}");
    let few = format!("[connection]\naddress = \"{}\"\n", strict.url());
    let (code, told) = check(&Scene::set(&few).await).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("records") && told.contains("NOPERM") || told.contains("may not touch the keys"),
        "{told}"
    );
    assert!(told.contains("ACL SETUSER"), "{told}");

    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), "[freeipa]\nservers = \"10.0.0.1\"\n").unwrap();
    let (code, told) = run(program(file.path())).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("servers") && told.contains("full name"), "{told}");
    let mut json = program(file.path());
    json.args(["--check", "-o", "json"]).env("FREEIPA_CONSUMER_IPA_PASWORD", "x");
    let Output { status, stdout, .. } =
        tokio::task::spawn_blocking(move || json.output().unwrap()).await.unwrap();
    let told: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!((status.code(), &told["store"]), (Some(2), &Value::from("unreached")));
    let of = |verdict: &str| {
        let findings = told["findings"].as_array().unwrap().iter();
        findings.filter(|finding| finding["verdict"] == verdict && finding["about"] == "settings").count()
    };
    assert!(of("bad") > 1 && of("warning") == 1, "{told}");
    let mut nonsense = program(file.path());
    nonsense.arg("--nonsense");
    assert_eq!(run(nonsense).await.0, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_term_ends_it_between_two_steps() {
    let scene = Scene::new().await;
    let mut process = Process::start(&scene).await;
    scene.send(&somebody(1, "Ada")).await;
    scene.settled().await;
    scene.assert_has_account(1, "ada");
    scene.ipa.faults().arm(FaultRule::new("user_add", Fault::Delay { ms: 500 }));
    scene.send(&somebody(2, "Eve")).await;
    eventually("a call", async || (scene.ipa.stats().calls_of("user_add") == 2).then_some(())).await;
    process.signal("TERM");
    assert_eq!(process.end().await, Some(0));
    assert_eq!(scene.ipa.stats().sessions, 0, "it has logged out");
    assert_eq!(scene.ipa.directory().user("eve").unwrap().passwords_set, 0);
    scene.work_off().await;
    scene.assert_has_account(2, "eve");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_by_force_its_work_goes_on_elsewhere() {
    let scene = Scene::set("[freeipa]\nrequest_timeout = \"60s\"\n").await;
    for (number, command) in ["user_add", "group_add_member", "user_mod"].into_iter().enumerate() {
        let chat = i64::try_from(number).unwrap() + 1;
        let login = format!("person{chat}");
        let mut dies = Process::start(&scene).await;
        scene.ipa.faults().clear();
        scene.ipa.faults().arm(FaultRule::new(command, Fault::CommitThenHang));
        scene.send(&somebody(chat, &login)).await;
        eventually(command, async || {
            scene.ipa.faults().armed().iter().any(|armed| armed.met == 1).then_some(())
        })
        .await;
        dies.child.kill().unwrap();
        dies.end().await;
        scene.work_off().await;
        scene.assert_has_account(chat, &login);
    }
    assert!(scene.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let scene = Scene::set("[freeipa]\nrequest_timeout = \"60s\"\n").await;
    let mut process = Process::start(&scene).await;
    scene.ipa.faults().arm(FaultRule::new("user_add", Fault::Hang));
    scene.send(&somebody(1, "Ada")).await;
    eventually("a call", async || scene.ipa.faults().armed()[0].met.eq(&1).then_some(())).await;
    process.signal("TERM");
    tokio::time::sleep(Duration::from_millis(200)).await;
    process.signal("TERM");
    let code = process.end().await;
    assert!(code == Some(0) || code == Some(3), "{code:?}");
    scene.work_off().await;
    scene.assert_has_account(1, "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_what_became_of_it_is_listed() {
    let scene = Scene::set("[receiver]\nmax_retries = 0\n").await;
    let list = async |arguments: &[&str]| {
        let file = scene.file();
        let mut command = program(file.path());
        command.arg("unreported").args(arguments);
        run(command).await
    };
    assert_eq!(list(&[]).await, (Some(0), "nobody\n".to_owned()));
    let blocked = ChatState::Blocked;
    scene.telegram.apply(TelegramAction::SetChat { chat: 1, state: blocked }).unwrap();
    scene.telegram.apply(TelegramAction::SetChat { chat: 2, state: ChatState::NotStarted }).unwrap();
    let people = [somebody(1, "Ada"), with(somebody(2, "Eve"), "phone", "x"), somebody(3, "Bob")];
    for person in &people {
        scene.send(person).await;
    }
    scene.work_off().await;
    let id = |at: usize| people[at]["registration_id"].clone();

    let (code, told) = list(&["-o", "json"]).await;
    let found: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &found["is_complete"]), (Some(0), &Value::from(true)), "{told}");
    let of = |at: usize| {
        let listed = found["applicants"].as_array().unwrap();
        listed.iter().find(|one| one["registration"] == id(at)).cloned()
    };
    let (ada, eve) = (of(0).unwrap(), of(1).unwrap());
    assert_eq!([&ada["why"], &ada["came_to"], &ada["login"]], ["blocked", "account", "ada"]);
    assert_eq!([&eve["why"], &eve["came_to"]], ["never_met", "none"]);
    assert!(ada["reference"].as_str().unwrap().starts_with('#') && eve["login"].is_null());
    assert_eq!(of(2), None, "who was told is not listed");
    assert!(!told.contains("Tester") && !told.contains("Ada"), "{told}");

    let (_, table) = list(&["--limit", "1"]).await;
    assert!(table.starts_with("reference") && table.contains("and more"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
}
