//! What concerns everybody and what concerns one registration, where the directory, Telegram or Valkey do not say which it is.

use std::time::Duration;

use freeipa_double::{Fault, FaultRule, TelegramFault};
use tokio::time::{sleep, timeout};
use valkey_testkit::{TestServer, eventually, unique_name};

use crate::people::somebody;
use crate::scene::{Running, Scene};

const NAMES: [&str; 6] = ["Ada", "Eve", "Bob", "Kim", "Max", "Zoe"];
/// Whoever counts an attempt here makes a dead letter.
const ONE_ATTEMPT: &str = "[receiver]\nmax_retries = 0\n";

async fn send_all(scene: &Scene) {
    for (chat, name) in (1..).zip(NAMES) {
        scene.send(&somebody(chat, name)).await;
    }
}

fn assert_all_are_served(scene: &Scene) {
    for (chat, name) in (1..).zip(NAMES) {
        scene.assert_has_account(chat, &name.to_lowercase());
    }
}

/// Waits until it is parked for that.
async fn parked(running: &Running, kind: &str) -> String {
    eventually(kind, async || {
        let ready = running.ready().await;
        (ready["kind"] == kind).then(|| ready["reason"].as_str().unwrap().to_owned())
    })
    .await
}

fn error(code: i64, message: &str) -> Fault {
    Fault::Error { code, name: "DatabaseError".to_owned(), message: message.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_a_ping_does_not_meet_costs_nobody_the_account() {
    for fault in [Fault::Http503, Fault::Internal903, Fault::Page] {
        let scene = Scene::new().await;
        scene.ipa.faults().arm(FaultRule::new("user_add", fault.clone()).always());
        send_all(&scene).await;
        let running = scene.start().await;
        let reason = parked(&running, "directory").await;
        assert!(reason.contains("user_add"), "{fault:?}: {reason}");
        sleep(Duration::from_secs(4)).await;
        assert!(scene.dead().await.is_empty(), "{fault:?}: {:?}", scene.reasons().await);
        assert!((1..=6).all(|chat| scene.told(chat).is_empty()), "{fault:?}: somebody was told");
        scene.ipa.faults().clear();
        scene.settled().await;
        running.until_ready().await;
        running.end().await;
        assert_all_are_served(&scene);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_instead_of_every_answer_and_a_database_that_takes_no_writes_park_at_once() {
    let read_only = error(4203, "Server is unwilling to perform: database is read-only");
    for (on, fault) in [("*", Fault::Page), ("user_add", read_only.clone()), ("user_mod", read_only)] {
        let scene = Scene::set(ONE_ATTEMPT).await;
        let running = scene.start().await;
        running.until_ready().await;
        scene.ipa.faults().arm(FaultRule::new(on, fault.clone()).always());
        send_all(&scene).await;
        parked(&running, "directory").await;
        sleep(Duration::from_secs(3)).await;
        assert!(scene.dead().await.is_empty(), "{on} {fault:?}: {:?}", scene.reasons().await);
        scene.ipa.faults().clear();
        scene.settled().await;
        running.end().await;
        assert_all_are_served(&scene);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_while_others_pass_holds_nobody_up() {
    let scene = Scene::new().await;
    scene.ipa.faults().arm(FaultRule::new("user_mod", Fault::Deny).key("poison").always());
    scene.send(&somebody(42, "Poison")).await;
    send_all(&scene).await;
    let running = scene.start().await;
    scene.settled().await;
    running.until_ready().await;
    running.end().await;
    assert_all_are_served(&scene);
    assert_eq!(scene.reasons().await, ["exhausted"]);
    let why = scene.dead().await.remove(0).meta.unwrap().error.unwrap();
    assert!(why.contains("this registration alone") && why.contains("right"), "{why}");
    assert!(scene.last(42).contains("Something went wrong on our side"), "{:?}", scene.told(42));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_a_proxy_refuses_holds_nobody_up() {
    let scene = Scene::new().await;
    scene
        .telegram
        .faults()
        .arm(FaultRule::new("sendMessage", TelegramFault::Page { status: 413 }).key("42").always());
    scene.send(&somebody(42, "Poison")).await;
    send_all(&scene).await;
    let running = scene.start().await;
    eventually("the others", async || (1..=6).all(|chat| !scene.told(chat).is_empty()).then_some(())).await;
    running.until_ready().await;
    let troubles = "valkit_freeipa_troubles_total{kind=\"reports\"}";
    // Its attempts go on, and nobody is parked for it any more.
    sleep(Duration::from_secs(3)).await;
    let before = crate::scene::get(running.http, "/metrics").await.1;
    sleep(Duration::from_secs(3)).await;
    let after = crate::scene::get(running.http, "/metrics").await.1;
    let of = |text: &str| text.lines().find(|line| line.starts_with(troubles)).map(str::to_owned);
    assert_eq!(of(&before), of(&after));
    running.end().await;
    assert_all_are_served(&scene);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_in_valkey_parks_and_costs_nobody_an_attempt() {
    let server = TestServer::shared().await;
    let user = unique_name("user");
    let rules = ["ACL", "SETUSER", &user, "on", ">secret", "~*", "&*", "+@all"];
    server.cli(&rules).await.unwrap();
    let address = server.url().replace("://", &format!("://{user}:secret@"));
    let scene = Scene::set(&format!("{ONE_ATTEMPT}[connection]\naddress = \"{address}\"\n")).await;
    let running = scene.start().await;
    running.until_ready().await;
    server.cli(&["ACL", "SETUSER", &user, "-hgetall"]).await.unwrap();
    send_all(&scene).await;
    let reason = parked(&running, "store").await;
    assert!(reason.contains("ACL"), "{reason}");
    sleep(Duration::from_secs(3)).await;
    assert!(scene.dead().await.is_empty(), "{:?}", scene.reasons().await);
    server.cli(&["ACL", "SETUSER", &user, "+hgetall"]).await.unwrap();
    scene.settled().await;
    running.end().await;
    assert_all_are_served(&scene);
    server.cli(&["ACL", "DELUSER", &user]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_none_is_told_and_one_of_a_newer_consumer_waits_for_it() {
    let scene = Scene::new().await;
    let server = TestServer::shared().await;
    let (wrong, newer) = (somebody(41, "Wrong"), somebody(42, "Newer"));
    let key = |of: &serde_json::Value| format!("{}{}", scene.prefix, of["registration_id"].as_str().unwrap());
    server.cli(&["SET", &key(&wrong), "x"]).await.unwrap();
    server.cli(&["HSET", &key(&newer), "step", "flying"]).await.unwrap();
    for registration in [&wrong, &newer] {
        scene.send(registration).await;
    }
    send_all(&scene).await;
    let running = scene.start().await;
    eventually("its end", async || (!scene.dead().await.is_empty()).then_some(())).await;
    assert_eq!(scene.reasons().await, ["exhausted"]);
    assert!(scene.last(41).contains("Something went wrong on our side"), "{:?}", scene.told(41));
    let others = eventually("the others", async || {
        let stats = scene.stats().await;
        (stats.ready.total() + stats.in_flight == 0).then_some(stats)
    });
    assert_eq!(timeout(Duration::from_secs(20), others).await.unwrap().delayed, 1, "it waits");
    assert!(scene.told(42).is_empty());
    running.until_ready().await;
    running.end().await;
    assert_all_are_served(&scene);
}
