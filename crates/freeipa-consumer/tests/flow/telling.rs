//! Telling applicants, and how that goes wrong.

use std::time::Duration;

use freeipa_consumer::registration::RegistrationId;
use freeipa_consumer::state::Step;
use freeipa_consumer::status::Unreachable;
use freeipa_double::{ChatState, FaultRule, TelegramAction, TelegramFault};
use tokio::time::Instant;
use valkey_testkit::eventually;

use crate::people::{somebody, with};
use crate::scene::Scene;

const ONE_ATTEMPT: &str = "[receiver]\nmax_retries = 0\n";

#[tokio::test(flavor = "multi_thread")]
async fn who_talks_too_much_waits_and_it_costs_no_attempt() {
    // Whether it is waited for with the password in memory, or the registration is put back.
    for patience in ["10s", "100ms"] {
        let scene = Scene::set(&format!("{ONE_ATTEMPT}[report]\ntelegram_patience = \"{patience}\"\n")).await;
        scene.telegram.faults().arm(FaultRule::new("sendMessage", TelegramFault::TooMany { retry_after: 2 }));
        for (chat, name) in [(1, "Ada"), (2, "Eve"), (3, "Bob")] {
            scene.send(&somebody(chat, name)).await;
        }
        let begun = Instant::now();
        scene.work_off().await;
        assert!(begun.elapsed() >= Duration::from_secs(2));
        for (chat, login) in [(1, "ada"), (2, "eve"), (3, "bob")] {
            scene.assert_has_account(chat, login);
            assert_eq!(scene.told(chat).len(), 1);
        }
        assert_eq!(scene.telegram.stats().impatient, 0, "nobody talks while the bot has to be silent");
        assert!(scene.dead().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_made_that_nobody_could_be_told() {
    let scene = Scene::set(&format!("{ONE_ATTEMPT}[report]\ntelegram_patience = \"100ms\"\n")).await;
    scene.telegram.faults().arm(FaultRule::new("sendMessage", TelegramFault::TooMany { retry_after: 6 }));
    scene.send(&somebody(1, "Ada")).await;
    let running = scene.start().await;
    eventually("the bot has to be silent", async || {
        scene.telegram.faults().armed().iter().any(|armed| armed.met == 1).then_some(())
    })
    .await;
    scene.send(&somebody(2, "Eve")).await;
    scene.settled().await;
    running.end().await;
    scene.assert_has_account(1, "ada");
    scene.assert_has_account(2, "eve");
    assert_eq!(scene.ipa.directory().user("eve").unwrap().passwords_set, 1);
    assert!(scene.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_blocked_the_bot_has_an_account_all_the_same() {
    let scene = Scene::new().await;
    let rows = [
        (1, "Ada", ChatState::Blocked, Unreachable::Blocked),
        (2, "Eve", ChatState::NotStarted, Unreachable::NeverMet),
        (3, "Bob", ChatState::Deactivated, Unreachable::Deactivated),
        (4, "Kim", ChatState::NotFound, Unreachable::NoChat),
    ];
    let mut ids: Vec<(RegistrationId, Unreachable)> = Vec::new();
    for (chat, name, state, why) in rows {
        scene.telegram.apply(TelegramAction::SetChat { chat, state }).unwrap();
        let registration = somebody(chat, name);
        ids.push((registration["registration_id"].as_str().unwrap().parse().unwrap(), why));
        scene.send(&registration).await;
    }
    scene.work_off().await;
    assert!(scene.dead().await.is_empty(), "the registration itself went well");
    assert_eq!(scene.ipa.directory().created().len(), 4);
    for (id, why) in ids {
        let record = scene.records().load(id).await.unwrap().unwrap();
        assert_eq!((record.step, record.unreported, record.told), (Step::Done, Some(why), None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_break_nothing() {
    let scene = Scene::new().await;
    for (chat, name) in
        [(1, "<b>&_*["), (2, "</code><a href=\"x\">"), (3, "{login} {password}"), (4, "`~|!&amp;")]
    {
        scene.send(&with(somebody(chat, name), "requested_login", format!("hostile{chat}"))).await;
    }
    let parse = "Bad Request: can't parse entities: Unsupported start tag";
    let fault = TelegramFault::Error { code: 400, description: parse.to_owned() };
    scene.telegram.faults().arm(FaultRule::new("sendMessage", fault).key("5"));
    scene.send(&somebody(5, "Plain")).await;
    scene.work_off().await;
    for chat in 1..=4 {
        scene.assert_has_account(chat, &format!("hostile{chat}"));
    }
    scene.assert_has_account(5, "plain");
    let message = &scene.telegram.messages_to(5)[0];
    assert!(message.parse_mode.is_none(), "sent once more as plain text");
    assert!(scene.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_told_is_told_again() {
    let scene = Scene::new().await;
    let rows = [
        (1, "Ada", TelegramFault::DeliverThenHang, 2),
        (2, "Eve", TelegramFault::DeliverThenDrop, 2),
        (3, "Bob", TelegramFault::Deliver500, 2),
        (4, "Kim", TelegramFault::Hang, 1),
        (5, "Max", TelegramFault::Drop, 1),
        (6, "Zoe", TelegramFault::Page { status: 502 }, 1),
    ];
    for (chat, name, fault, _) in &rows {
        scene.telegram.faults().arm(FaultRule::new("sendMessage", fault.clone()).key(chat.to_string()));
        scene.send(&somebody(*chat, name)).await;
    }
    scene.work_off().await;
    for (chat, name, _, times) in &rows {
        // The last password is the one that counts.
        scene.assert_has_account(*chat, &name.to_lowercase());
        assert_eq!(scene.told(*chat).len(), *times, "{name}");
    }
    assert!(scene.dead().await.is_empty());
}

/// The message that nobody knew of arrives after the one that was sent for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_late_has_the_password_that_holds() {
    let scene = Scene::new().await;
    scene.telegram.faults().arm(FaultRule::new("sendMessage", TelegramFault::Delay { ms: 4000 }).key("42"));
    scene.send(&somebody(42, "Ada")).await;
    scene.work_off().await;
    eventually("the late one", async || (scene.told(42).len() == 2).then_some(())).await;
    scene.assert_has_account(42, "ada");
    assert_eq!(scene.ipa.directory().user("ada").unwrap().passwords_set, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_telegram_that_is_away_parks_and_costs_no_attempt() {
    let scene = Scene::set(ONE_ATTEMPT).await;
    let running = scene.start().await;
    running.until_ready().await;
    scene.telegram.faults().arm(FaultRule::new("*", TelegramFault::Page { status: 502 }).always());
    scene.send(&somebody(1, "Ada")).await;
    scene.send(&somebody(2, "Eve")).await;
    assert_eq!(running.until("parked").await["kind"], "reports");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(scene.dead().await.is_empty());
    scene.telegram.faults().clear();
    scene.settled().await;
    running.end().await;
    scene.assert_has_account(1, "ada");
    scene.assert_has_account(2, "eve");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_queue_hears_everything_but_the_password() {
    let scene = Scene::new().await;
    let statuses: valkey_envelope::QueueName = format!("{}-status", scene.queue).parse().unwrap();
    let scene = scene.but(&format!("[report]\nvia = \"queue\"\nstatus_queue = \"{statuses}\"\n"));
    scene.send(&somebody(42, "Ada")).await;
    scene.send(&with(somebody(43, "Eve"), "phone", "x")).await;
    scene.work_off().await;
    let ada = scene.ipa.directory().user("ada").cloned().unwrap();
    assert_eq!(ada.passwords_set, 0, "one that nobody would hear is not made");
    let server = valkey_testkit::TestServer::shared().await;
    let all = server.cli(&["LRANGE", statuses.keys().public(), "0", "-1"]).await.unwrap();
    for part in ["registration-status", "created", "failed", "phone"] {
        assert!(all.contains(part), "{part} is missing in {all}");
    }
    assert_eq!(all.lines().filter(|line| line.contains("registration-status")).count(), 2, "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_in_a_language_of_theirs() {
    let scene = Scene::new().await;
    for (chat, name, language) in [(1, "Ada", "de-AT"), (2, "Eve", "ru"), (3, "Bob", "xx")] {
        let mut registration = somebody(chat, name);
        registration["telegram"]["language_code"] = language.into();
        scene.send(&registration).await;
    }
    scene.work_off().await;
    for (chat, word) in [(1, "Konto"), (2, "запис"), (3, "account")] {
        assert!(scene.last(chat).contains(word), "{:?}", scene.told(chat));
    }
}
