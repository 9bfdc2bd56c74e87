//! The service account is never locked by us, however many start how often with a wrong password.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use freeipa_consumer::Consumer;
use freeipa_double::{Fault, FaultRule, FreeIpaAction};
use tokio::time::timeout;

use crate::people::somebody;
use crate::program::{check, program, run};
use crate::scene::{PASSWORD, SERVICE, Scene};

/// What `src/lockout.rs` promises for any ten minutes.
const BOUND: u64 = 5;

/// With time for many processes on a small machine.
fn with_password(password: &str) -> String {
    format!("[freeipa]\nconnect_timeout = \"10s\"\nrequest_timeout = \"30s\"\npassword = \"{password}\"\n")
}

/// What a consumer says that may not log in.
const REFUSED: &str = "the service account was rejected";

/// A consumer that runs, and is killed when nobody needs it any more.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a consumer as a supervisor does, and gives it back when it has said that it may not log in.
fn start(file: &std::path::Path) -> Started {
    let mut child = Started(program(file).stdout(Stdio::null()).spawn().unwrap());
    let log = BufReader::new(child.0.stderr.take().unwrap());
    let (said, refused) = std::sync::mpsc::channel();
    // To the end: nobody must wait for somebody to read the rest.
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok).filter(|line| line.contains(REFUSED)) {
            let _ = said.send(line);
        }
    });
    refused.recv_timeout(Duration::from_mins(1)).expect("it says that it may not log in");
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_and_instances_and_checks_do_not_add_up_to_a_lock() {
    let scene = Scene::set(&with_password("wrong")).await;
    let file = scene.file();
    let path = || file.path().to_owned();
    scene.send(&somebody(42, "Ada")).await;
    for _ in 0..10 {
        let path = path();
        let child = tokio::task::spawn_blocking(move || start(&path)).await.unwrap();
        drop(child);
    }
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (path, other) = (path(), path());
        all.spawn_blocking(move || Some(start(&path)));
        all.spawn(async move {
            let mut command = program(&other);
            command.arg("--check");
            let (code, told) = run(command).await;
            assert_eq!(code, Some(1), "{told}");
            assert!(told.contains(REFUSED) && told.contains("wrong password"), "{told}");
            assert!(told.contains(" ago at ") && told.contains("is not tried again for"), "{told}");
            None
        });
    }
    let running: Vec<Started> = all.join_all().await.into_iter().flatten().collect();
    assert_eq!(running.len(), 5);
    drop(running);

    let logins = scene.ipa.stats().logins;
    assert_eq!(logins, 1, "the first has told all others");
    assert!(!scene.ipa.directory().user(SERVICE).unwrap().locked);
    let scene = scene.but(&with_password(PASSWORD));
    timeout(Duration::from_secs(30), scene.work_off()).await.expect("the right password is tried at once");
    scene.assert_has_account(42, "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_at_once_and_nobody_knows_anything_yet() {
    let scene = Scene::set(&with_password("wrong")).await;
    let file = scene.file();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (path, other) = (file.path().to_owned(), file.path().to_owned());
        all.spawn_blocking(move || Some(start(&path)));
        all.spawn(async move {
            let mut command = program(&other);
            command.arg("--check");
            assert_eq!(run(command).await.0, Some(1));
            None
        });
    }
    drop(all.join_all().await);
    let logins = scene.ipa.stats().logins;
    assert_eq!(logins, 1, "one tries, the others wait for what comes of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_wrong_passwords_do_not_lock_it_either() {
    let mut scene = Scene::new().await;
    for number in 0..8 {
        scene = scene.but(&with_password(&format!("wrong{number}")));
        let (code, told) = check(&scene).await;
        assert_eq!(code, Some(1), "{told}");
        if number >= BOUND {
            assert!(told.contains("one more may lock it"), "{told}");
        }
    }
    assert_eq!(scene.ipa.stats().logins, BOUND);
    assert!(!scene.ipa.directory().user(SERVICE).unwrap().locked);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost_do_not_lock_it_however_many_ask() {
    for fault in [Fault::Commit500, Fault::CommitThenDrop, Fault::CommitThenHalf] {
        let scene = Scene::set(&with_password("wrong")).await;
        scene.ipa.faults().arm(FaultRule::new("login", fault.clone()).always());
        for _ in 0..8 {
            let (code, told) = check(&scene).await;
            assert_eq!(code, Some(1), "{told}");
        }
        for _ in 0..8 {
            Consumer::check_login_anew(&scene.settings()).await.unwrap();
        }
        let logins = scene.ipa.stats().logins;
        assert!(logins <= BOUND, "{fault:?}: {logins} logins");
        assert!(!scene.ipa.directory().user(SERVICE).unwrap().locked, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_corrects_it_in_the_directory_says_so_once() {
    let scene = Scene::set(&with_password("wrong")).await;
    assert_eq!(check(&scene).await.0, Some(1));
    let password = "wrong".to_owned();
    scene.ipa.apply(FreeIpaAction::SetPassword { login: SERVICE.to_owned(), password }).unwrap();
    let (code, told) = check(&scene).await;
    assert_eq!(code, Some(1), "nobody has told it: {told}");
    assert_eq!(scene.ipa.stats().logins, 1);
    let file = scene.file();
    let mut command = program(file.path());
    command.args(["--check", "--retry-login"]);
    let (code, told) = run(command).await;
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = check(&scene).await;
    assert_eq!(code, Some(0), "and now all know: {told}");
    // Who insists for nothing does not lock it either.
    let scene = scene.but(&with_password("still wrong"));
    for _ in 0..10 {
        Consumer::check_login_anew(&scene.settings()).await.unwrap();
    }
    assert!(!scene.ipa.directory().user(SERVICE).unwrap().locked);
}

/// Without Valkey each process goes by its own rule, and with it they remember again.
#[tokio::test(flavor = "multi_thread")]
async fn while_valkey_is_away_each_tries_once() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = free.local_addr().unwrap();
    drop(free);
    let away = format!("{}[connection]\naddress = \"valkey://{nowhere}\"\n", with_password("wrong"));
    let scene = Scene::set(&away).await;
    for number in 1..=2 {
        let (code, told) = check(&scene).await;
        assert_eq!(code, Some(5), "{told}");
        assert!(told.contains("wrong password"), "{told}");
        assert_eq!(scene.ipa.stats().logins, number, "once each");
    }
}
