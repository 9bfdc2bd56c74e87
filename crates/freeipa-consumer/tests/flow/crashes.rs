//! Killed anywhere: between any two steps, and in the middle of any call, before it was done and after.

use freeipa_double::{Container, Fault, FaultRule, Rights, TelegramFault};
use futures::future::join_all;
use valkey_testkit::eventually;

use crate::people::{marker, somebody};
use crate::scene::{GROUP, Scene, config};

/// Calls that are not answered until the caller is dead.
const PATIENT: &str = "[freeipa]\nrequest_timeout = \"60s\"\n[report]\ntelegram_timeout = \"60s\"\n";

/// Where it is killed.
#[derive(Clone, Copy, Debug)]
struct Point {
    command: &'static str,
    key: Option<&'static str>,
    nth: u64,
    /// Whether what was called is done all the same.
    done: bool,
}

fn points(calls: &[(&'static str, Option<&'static str>, u64)]) -> Vec<Point> {
    let both = |(command, key, nth): &(&'static str, Option<&'static str>, u64)| {
        [false, true].map(|done| Point { command, key: *key, nth: *nth, done })
    };
    calls.iter().flat_map(both).collect()
}

async fn killed_at(point: Point, settings: &str, rights: Rights) {
    let scene = Scene::with(config(rights), settings).await;
    let registration = somebody(42, "Ada");
    let key = point.key.map(str::to_owned);
    if point.command == "sendMessage" {
        let fault = if point.done { TelegramFault::DeliverThenHang } else { TelegramFault::Hang };
        scene.telegram.faults().arm(FaultRule::new(point.command, fault));
    } else {
        let fault = if point.done { Fault::CommitThenHang } else { Fault::Hang };
        let mut rule = FaultRule::new(point.command, fault).nth(point.nth);
        rule.key = key;
        scene.ipa.faults().arm(rule);
    }
    scene.send(&registration).await;
    let dies = scene.start().await;
    eventually(&format!("{point:?}"), async || {
        let ipa = scene.ipa.faults().armed().iter().any(|armed| armed.met == 1);
        let telegram = scene.telegram.faults().armed().iter().any(|armed| armed.met == 1);
        (ipa || telegram).then_some(())
    })
    .await;
    dies.abort().await;

    scene.work_off().await;
    println!("{point:?}: {:?}", scene.ipa.directory().created());
    scene.assert_has_account(42, "ada");
    let directory = scene.ipa.directory();
    assert_eq!(directory.created(), ["ada"], "{point:?}");
    assert!(directory.users.iter().all(|user| user.container != Container::Staged), "{point:?}");
    assert!(directory.user("ada").unwrap().values("userclass").contains(&marker(&registration)));
    assert!(scene.dead().await.is_empty(), "{point:?}: {:?}", scene.reasons().await);
    // It is over: once more changes nothing.
    let (told, passwords) = (scene.told(42).len(), directory.user("ada").unwrap().passwords_set);
    scene.send(&registration).await;
    scene.work_off().await;
    assert_eq!(
        (scene.told(42).len(), scene.ipa.directory().user("ada").unwrap().passwords_set),
        (told, passwords)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_or_after_any_call_there_is_one_account_and_a_password_that_works() {
    let calls = [
        ("config_show", None, 1),
        ("user_find", None, 1),
        ("user_add", Some("ada"), 1),
        ("user_show", Some("ada"), 1),
        ("group_add_member", Some(GROUP), 1),
        ("user_show", Some("ada"), 2),
        ("user_mod", Some("ada"), 1),
        ("sendMessage", None, 1),
    ];
    join_all(points(&calls).into_iter().map(|point| killed_at(point, PATIENT, Rights::registrar()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_stage_flow_there_is_one_account_and_nothing_left_over() {
    let calls = [
        ("user_show", Some("ada"), 1),
        ("stageuser_add", Some("ada"), 1),
        ("user_show", Some("ada"), 2),
        ("stageuser_activate", Some("ada"), 1),
        ("group_add_member", Some(GROUP), 1),
        ("user_mod", Some("ada"), 1),
    ];
    let settings = format!("[consumer]\nflow = \"stage_then_activate\"\n{PATIENT}");
    let rights = Rights::registrar().and(&Rights::stage_administrator());
    join_all(points(&calls).into_iter().map(|point| killed_at(point, &settings, rights.clone()))).await;
}
