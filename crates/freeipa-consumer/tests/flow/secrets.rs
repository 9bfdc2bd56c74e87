//! No secret and nobody's data where they have no business to be.

use std::collections::BTreeSet;

use freeipa_double::{Change, Fault, FaultRule, FreeIpaAction, TelegramFault};
use valkey_testkit::TestServer;

use crate::log;
use crate::people::{somebody, with};
use crate::scene::{PASSWORD, Scene, get};

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_logs_valkey_or_metrics() {
    log::keep();
    let scene = Scene::new().await;
    // All sorts of things go wrong, for errors are where secrets show.
    for (command, fault) in [
        ("user_add", Fault::CommitThenHalf),
        ("user_mod", Fault::CommitThenHalf),
        ("user_mod", Fault::Commit903),
        ("group_add_member", Fault::Http500),
    ] {
        scene.ipa.faults().arm(FaultRule::new(command, fault));
    }
    for fault in [
        TelegramFault::DeliverThenDrop,
        TelegramFault::Page { status: 502 },
        TelegramFault::TooMany { retry_after: 1 },
    ] {
        scene.telegram.faults().arm(FaultRule::new("sendMessage", fault));
    }
    let running = scene.start().await;
    running.until_ready().await;
    for chat in 0..8 {
        let registration = somebody(7_700_700_700 + chat, "Canaryname");
        let registration = with(registration, "email", format!("canary{chat}@mail.example.org"));
        scene.send(&with(registration, "phone", "+49 30 77007700")).await;
    }
    scene.send(&with(somebody(7_700_700_999, "Canaryname"), "requested_login", "root")).await;
    scene.send(&with(somebody(7_700_700_998, "Canaryname"), "userpassword", "canary-from-a-message")).await;
    scene.ipa.apply(FreeIpaAction::ExpireSessions).unwrap();
    scene.settled().await;
    let (_, metrics) = get(running.http, "/metrics").await;
    let ready = running.ready().await.to_string();
    running.end().await;

    let history = scene.ipa.directory().history;
    let passwords: BTreeSet<String> = scene
        .telegram
        .messages()
        .iter()
        .flat_map(|message| message.text.lines())
        .filter_map(|line| line.strip_prefix("Temporary password: "))
        .map(str::to_owned)
        .collect();
    assert!(passwords.len() >= 8 && history.iter().any(|event| event.change == Change::PasswordSet));
    let mut secrets: Vec<String> = passwords.into_iter().collect();
    secrets.extend([PASSWORD.to_owned(), scene.telegram.token().clone(), "MagBearerToken".to_owned()]);

    let stored = dump(&scene).await;
    assert!(stored.contains("\"step\""), "the dump holds records: {stored}");
    let logged = log::all();
    assert!(logged.contains("a step") && logged.contains("outcome=\"done\""), "the log holds steps");
    for (place, text) in
        [("the log", &logged), ("Valkey", &stored), ("/metrics", &metrics), ("/readyz", &ready)]
    {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{place} has a secret: {}", around(text, secret));
        }
    }
    // Who it was is in the dead letters, which hold what came, and nowhere else.
    for (place, text) in [("the log", &logged), ("/metrics", &metrics), ("/readyz", &ready)] {
        for personal in
            ["Canaryname", "canaryname", "canary1@mail", "77007700", "7700700", "canary-from-a-message"]
        {
            assert!(!text.contains(personal), "{place} has somebody's data: {}", around(text, personal));
        }
    }
    let records = dump_of(&format!("{}*", scene.prefix)).await;
    for personal in ["Canaryname", "canary1@mail", "77007700", "7700700"] {
        assert!(!records.contains(personal), "a record has somebody's data: {}", around(&records, personal));
    }
    assert!(metrics.contains("valkit_freeipa_registrations_total{outcome=\"done\""), "{metrics}");
    for name in
        ["step_duration_seconds", "registrations_in_hand", "parked", "reports_total", "call_errors_total"]
    {
        assert!(metrics.contains(&format!("valkit_freeipa_{name}")), "{name} is missing in {metrics}");
    }
}

fn around(text: &str, part: &str) -> String {
    let at = text.find(part).unwrap_or_default();
    let from = text.floor_char_boundary(at.saturating_sub(200));
    let to = text.floor_char_boundary((at + 200).min(text.len()));
    text[from..to].to_owned()
}

/// Everything in Valkey that this scene has written, key by key.
async fn dump(scene: &Scene) -> String {
    dump_of(&format!("*{}*", scene.queue)).await
}

async fn dump_of(pattern: &str) -> String {
    let server = TestServer::shared().await;
    let cli = async |arguments: &[&str]| server.cli(arguments).await.unwrap();
    let mut all = String::new();
    for key in cli(&["--scan", "--pattern", pattern]).await.lines() {
        let content = match cli(&["TYPE", key]).await.trim() {
            "string" => cli(&["GET", key]).await,
            "hash" => cli(&["--json", "HGETALL", key]).await,
            "list" => cli(&["LRANGE", key, "0", "-1"]).await,
            "zset" => cli(&["ZRANGE", key, "0", "-1", "WITHSCORES"]).await,
            "set" => cli(&["SMEMBERS", key]).await,
            other => panic!("{key} is a {other}"),
        };
        all.extend([key, "\n", &content, "\n"]);
    }
    all
}
