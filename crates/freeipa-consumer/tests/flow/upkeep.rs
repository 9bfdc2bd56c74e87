//! Ending, resuming, and what is not kept for ever.

use std::time::Duration;

use freeipa_double::{Fault, FaultRule};
use valkey_testkit::{TestServer, eventually};

use crate::people::{somebody, with};
use crate::scene::{Scene, get};

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_to_end_finishes_the_step_and_hands_back_the_rest() {
    let scene = Scene::set("[receiver]\nmax_retries = 0\n").await;
    scene.ipa.faults().arm(FaultRule::new("user_add", Fault::Delay { ms: 800 }));
    scene.send(&somebody(42, "Ada")).await;
    let running = scene.start().await;
    eventually("a call", async || (scene.ipa.stats().calls_of("user_add") == 1).then_some(())).await;
    let report = running.books().await;
    assert!(report.is_clean() && report.acked == 0 && report.dead == 0, "{report}");
    // The step that was under way is done, and no other was begun.
    assert_eq!(scene.ipa.directory().created(), ["ada"]);
    assert_eq!(scene.ipa.directory().user("ada").unwrap().passwords_set, 0);
    assert_eq!(scene.ipa.stats().sessions, 0, "it has logged out");
    let stats = scene.stats().await;
    assert_eq!((stats.ready.total() + stats.delayed, stats.in_flight), (1, 0));
    scene.work_off().await;
    scene.assert_has_account(42, "ada");
    assert!(scene.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_with_a_password_in_hand_is_told_before_the_end() {
    let scene = Scene::new().await;
    scene.ipa.faults().arm(FaultRule::new("user_mod", Fault::Delay { ms: 800 }));
    scene.send(&somebody(42, "Ada")).await;
    let running = scene.start().await;
    eventually("a call", async || (scene.ipa.stats().calls_of("user_mod") == 1).then_some(())).await;
    let report = running.books().await;
    assert_eq!(report.acked, 1, "{report}");
    scene.assert_has_account(42, "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_not_kept_for_ever() {
    let scene = Scene::set("[consumer]\ndead_letter_retention = \"1h\"\n").await;
    for chat in 1..=3 {
        scene.send(&with(somebody(chat, "Ada"), "requested_login", "root")).await;
    }
    scene.work_off().await;
    let dead = scene.dead().await;
    assert_eq!(dead.len(), 3);
    // Two of them died long ago.
    let server = TestServer::shared().await;
    for letter in &dead[..2] {
        server.cli(&["ZADD", scene.queue.keys().dead(), "XX", "1000", &letter.id]).await.unwrap();
    }
    let running = scene.start().await;
    eventually("they are gone", async || (scene.dead().await.len() == 1).then_some(())).await;
    running.end().await;
    assert_eq!(scene.dead().await[0].id, dead[2].id);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_a_store_that_is_away() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = free.local_addr().unwrap();
    drop(free);
    let scene = Scene::set(&format!("[connection]\naddress = \"valkey://{nowhere}\"\n")).await;
    let running = scene.start().await;
    eventually("it waits", async || (running.ready().await["kind"] == "store").then_some(())).await;
    assert!(get(running.http, "/healthz").await.0.starts_with("HTTP/1.1 200"));
    let begun = std::time::Instant::now();
    running.end().await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_what_they_are() {
    let scene = Scene::new().await;
    let running = scene.start().await;
    running.until_ready().await;
    assert!(get(running.http, "/readyz").await.0.starts_with("HTTP/1.1 200"));
    assert!(get(running.http, "/nothing").await.0.starts_with("HTTP/1.1 404"));
    let (head, body) = get(running.http, "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("valkit_freeipa_server_well"), "{body}");
    running.end().await;
}
