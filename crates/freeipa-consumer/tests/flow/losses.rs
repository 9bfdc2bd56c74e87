//! Answers that are lost, and sessions that end.

use freeipa_double::{Change, Fault, FaultRule};

use crate::people::somebody;
use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_answer_is_lost_there_is_one_account() {
    let losses = [
        Fault::CommitThenDrop,
        Fault::CommitThenHalf,
        Fault::Commit500,
        Fault::Commit903,
        Fault::CommitThenHang,
        Fault::DropBeforeCommit,
        Fault::Internal903,
        Fault::Network907,
        Fault::Http500,
        Fault::Http503,
        Fault::Hang,
    ];
    let scene = Scene::new().await;
    let mut chat = 0;
    let mut expected = Vec::new();
    for command in ["user_add", "group_add_member", "user_mod"] {
        for (number, loss) in losses.iter().enumerate() {
            chat += 1;
            let name = format!("{}{number}", command.replace('_', ""));
            let key = if command == "group_add_member" { crate::scene::GROUP } else { &name };
            scene.ipa.faults().arm(FaultRule::new(command, loss.clone()).key(key));
            scene.send(&somebody(chat, &name)).await;
            expected.push((chat, name));
        }
    }
    scene.work_off().await;
    for (chat, login) in &expected {
        scene.assert_has_account(*chat, login);
    }
    assert_eq!(scene.ipa.directory().created().len(), expected.len());
    assert!(scene.dead().await.is_empty(), "{:?}", scene.reasons().await);
    for armed in scene.ipa.faults().armed() {
        assert_eq!(armed.met, 1, "{:?}", armed.rule);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_end_at_any_call() {
    let scene = Scene::new().await;
    let commands = ["user_find", "user_add", "user_show", "group_add_member", "user_mod"];
    for (number, command) in commands.iter().enumerate() {
        scene.ipa.faults().arm(FaultRule::new(*command, Fault::ExpireSessions));
        scene.send(&somebody(i64::try_from(number).unwrap() + 1, &format!("person{number}"))).await;
    }
    scene.work_off().await;
    for number in 0..commands.len() {
        let login = format!("person{number}");
        scene.assert_has_account(i64::try_from(number).unwrap() + 1, &login);
        assert_eq!(scene.ipa.directory().times(&Change::PasswordSet, &login), 1, "nothing is done twice");
    }
    for armed in scene.ipa.faults().armed() {
        assert_eq!(armed.met, 1, "{:?}", armed.rule);
    }
    assert!(scene.dead().await.is_empty());
}

/// One call that never works is nobody else's trouble.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_one_does_not_hold_up_the_others() {
    let scene = Scene::new().await;
    scene.ipa.faults().arm(FaultRule::new("user_add", Fault::Http500).key("ada").always());
    scene.send(&somebody(1, "Ada")).await;
    scene.send(&somebody(2, "Eve")).await;
    let running = scene.start().await;
    scene.settled().await;
    assert_eq!(running.ready().await["status"], "ready");
    running.end().await;
    scene.assert_has_account(2, "eve");
    assert_eq!(scene.reasons().await, ["exhausted"]);
    assert!(scene.last(1).contains("Something went wrong on our side"), "{:?}", scene.told(1));
}

/// The server goes on after nobody waits any more: what is told must be the password that it made last.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_made_late_does_not_void_the_one_that_is_told() {
    for settings in ["", "max_retries = 0\n"] {
        let scene = Scene::set(&format!("[freeipa]\nrequest_timeout = \"2s\"\n[receiver]\n{settings}")).await;
        scene.ipa.faults().arm(FaultRule::new("user_mod", Fault::Delay { ms: 3_000 }));
        scene.send(&somebody(42, "Ada")).await;
        scene.work_off().await;
        assert_eq!(scene.ipa.directory().user("ada").unwrap().passwords_set, 2);
        // The first has come by now, if it comes after the second at all.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        scene.assert_has_account(42, "ada");
        assert!(scene.dead().await.is_empty());
    }
}

/// Who waits for another try holds up nobody: neither others nor what the same person sends next.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_another_try_holds_up_nobody() {
    let settings = "[consumer]\none_account_per_person = false\n[receiver]\nmax_concurrent_messages = 1\nprefetch = 1\nretry_delay = \"10m\"\nmax_retry_delay = \"10m\"\n";
    let scene = Scene::set(settings).await;
    scene.ipa.faults().arm(FaultRule::new("user_add", Fault::Http500).key("ada").always());
    scene.send(&somebody(1, "Ada")).await;
    let running = scene.start().await;
    valkey_testkit::eventually("its turn to wait", async || (scene.stats().await.delayed == 1).then_some(()))
        .await;
    scene.send(&somebody(1, "Augusta")).await;
    scene.send(&somebody(2, "Eve")).await;
    valkey_testkit::eventually("the others", async || {
        (!scene.told(1).is_empty() && !scene.told(2).is_empty()).then_some(())
    })
    .await;
    running.end().await;
    scene.assert_has_account(1, "augusta");
    scene.assert_has_account(2, "eve");
}
