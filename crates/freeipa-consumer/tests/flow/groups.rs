//! Groups that cannot be joined.

use freeipa_double::{FreeIpaAction, Right, Rights};
use serde_json::json;

use crate::people::{somebody, with};
use crate::scene::{GROUP, SERVICE, Scene, config};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_cannot_be_joined_costs_tries_and_not_the_account() {
    // One is missing, one is not ours to fill.
    for (settings, group) in [
        ("[registration]\ndefault_groups = \"tg-users,nosuch\"\n", "nosuch (missing)"),
        ("[registration]\ndefault_groups = \"tg-users,others\"\n", "others (denied)"),
    ] {
        let scene = Scene::set(settings).await;
        scene.send(&somebody(42, "Ada")).await;
        scene.work_off().await;
        let directory = scene.ipa.directory();
        let ada = directory.user("ada").unwrap();
        assert!(ada.groups.contains(&GROUP.to_owned()), "the others are joined: {:?}", ada.groups);
        assert!(!ada.disabled && ada.passwords_set == 0);
        let dead = scene.dead().await;
        let meta = dead[0].meta.as_ref().unwrap();
        assert_eq!((dead.len(), meta.reason.as_str()), (1, "partial_group"));
        let error = format!("{meta:?}");
        assert!(error.contains(group) && error.contains("replay"), "{error}");
        assert!(
            scene.ipa.stats().calls_of("group_add_member") >= 4,
            "it was tried as often as the policy says"
        );
        assert_eq!(scene.told(42).len(), 1, "told once");
        assert!(scene.last(42).contains("Something went wrong on our side"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_its_groups_can_be_disabled() {
    let settings =
        "[consumer]\non_partial_groups = \"disable\"\n[registration]\ndefault_groups = \"others\"\n";
    let scene = Scene::with(config(Rights::user_administrator()), settings).await;
    scene.send(&somebody(42, "Ada")).await;
    scene.work_off().await;
    assert!(scene.ipa.directory().user("ada").unwrap().disabled);
    assert_eq!(scene.reasons().await, ["partial_group"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_comes_in_time_is_joined() {
    let scene =
        Scene::set("[receiver]\nretry_delay = \"3s\"\nmax_retry_delay = \"3s\"\nmax_retries = 50\n").await;
    scene.ipa.apply(FreeIpaAction::RemoveGroup { name: GROUP.to_owned() }).unwrap();
    scene.send(&somebody(42, "Ada")).await;
    let running = scene.start().await;
    valkey_testkit::eventually("a try", async || {
        (scene.ipa.stats().calls_of("group_add_member") > 0).then_some(())
    })
    .await;
    let managers = vec![SERVICE.to_owned()];
    scene.ipa.apply(FreeIpaAction::AddGroup { name: GROUP.to_owned(), managers }).unwrap();
    scene.settled().await;
    running.end().await;
    scene.assert_has_account(42, "ada");
    assert!(scene.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_gets_the_groups_that_it_may_ask_for() {
    let settings = "[registration]\ngroups_allowed = \"others\"\n";
    let scene = Scene::with(config(Rights::registrar()), settings).await;
    let managers = vec![SERVICE.to_owned()];
    scene.ipa.apply(FreeIpaAction::SetManagers { name: "others".to_owned(), managers }).unwrap();
    scene.send(&with(somebody(42, "Ada"), "groups", json!(["others"]))).await;
    scene.work_off().await;
    scene.assert_has_account(42, "ada");
    assert!(scene.ipa.directory().user("ada").unwrap().groups.contains(&"others".to_owned()));
}

/// The right is found missing after the account is there; the account is not to stay without the group that all are in.
#[tokio::test(flavor = "multi_thread")]
async fn the_group_of_everybody_is_made_up_for() {
    let scene = Scene::with(config(Rights::registrar().without(Right::AddToDefaultGroup)), "").await;
    scene.send(&somebody(42, "Ada")).await;
    let running = scene.start().await;
    let parked = running.until("parked").await;
    assert!(["rights", "starting"].contains(&parked["kind"].as_str().unwrap()), "{parked}");
    valkey_testkit::eventually("an account without its group", async || {
        scene.ipa.directory().user("ada").map(|ada| assert!(!ada.groups.contains(&"ipausers".to_owned())))
    })
    .await;
    scene
        .ipa
        .apply(FreeIpaAction::SetRights {
            login: SERVICE.to_owned(),
            rights: Rights::registrar().with(Right::ModifyGroupMembership),
        })
        .unwrap();
    scene.settled().await;
    running.end().await;
    scene.assert_has_account(42, "ada");
    assert!(scene.ipa.directory().user("ada").unwrap().groups.contains(&"ipausers".to_owned()));
    assert!(scene.dead().await.is_empty());
}
