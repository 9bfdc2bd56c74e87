//! Whose a login is.

use freeipa_client::{Deletion, NewUser};
use freeipa_double::{AccountSpec, Right, Rights};

use crate::people::{asking, marker, somebody};
use crate::scene::{GROUP, Scene, config};

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_login_is_told_or_gets_a_number() {
    let boris = AccountSpec::new("boris", "Boris.12345").alias("bob");
    let scene = Scene::with(config(Rights::registrar()).account(boris), "").await;
    scene.send(&asking(1, "boris")).await;
    scene.send(&somebody(2, "Boris")).await;
    scene.send(&somebody(3, "Bob")).await;
    scene.work_off().await;
    assert!(scene.last(1).contains("this name is taken"), "{:?}", scene.told(1));
    assert_eq!(scene.reasons().await, ["login_taken"]);
    scene.assert_has_account(2, "boris2");
    // Nobody is called so, and still it is somebody's.
    scene.assert_has_account(3, "bob2");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_end_with_the_id() {
    let taken = ["ada", "ada2", "ada3", "ada4", "ada5", "ada6", "ada7", "ada8", "ada9"];
    let config = taken.iter().fold(config(Rights::registrar()), |config, login| {
        config.account(AccountSpec::new(*login, "Ada.123456"))
    });
    let scene = Scene::with(config, "").await;
    scene.send(&somebody(42, "Ada")).await;
    scene.work_off().await;
    scene.assert_has_account(42, "tg42");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_attempt_of_our_own_is_gone_on_with() {
    let scene = Scene::new().await;
    let registration = somebody(42, "Ada");
    // Made, and nothing more: neither is it remembered here, nor has it a group or a password.
    let user = NewUser::new("ada".parse().unwrap(), "Ada", "Tester").user_class(marker(&registration));
    scene.boss().user_add(&user).await.unwrap();
    scene.send(&registration).await;
    scene.work_off().await;
    scene.assert_has_account(42, "ada");
    assert_eq!(scene.ipa.directory().created(), ["ada"]);

    // The same marker in other letters is another one's.
    let registration = asking(43, "eve");
    let other =
        NewUser::new("eve".parse().unwrap(), "Eve", "E").user_class(marker(&registration).to_uppercase());
    scene.boss().user_add(&other).await.unwrap();
    scene.send(&registration).await;
    scene.work_off().await;
    assert!(scene.last(43).contains("this name is taken"), "{:?}", scene.told(43));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_of_somebody_removed_is_taken() {
    for rights in [Rights::registrar(), Rights::registrar().with(Right::ReadPreservedUsers)] {
        let scene = Scene::with(config(rights), "").await;
        let boss = scene.boss();
        let login = "ada".parse().unwrap();
        boss.user_add(&NewUser::new("ada".parse().unwrap(), "Another", "Ada")).await.unwrap();
        boss.user_del(&login, Deletion::Preserve).await.unwrap();
        scene.send(&asking(1, "ada")).await;
        scene.send(&somebody(2, "Ada")).await;
        scene.work_off().await;
        assert!(scene.last(1).contains("this name is taken"), "{:?}", scene.told(1));
        scene.assert_has_account(2, "ada2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_removed_is_not_made_again() {
    let scene = Scene::with(config(Rights::registrar().with(Right::ReadPreservedUsers)), "").await;
    let registration = somebody(42, "Ada");
    let boss = scene.boss();
    let user = NewUser::new("ada".parse().unwrap(), "Ada", "Tester").user_class(marker(&registration));
    boss.user_add(&user).await.unwrap();
    boss.user_del(&"ada".parse().unwrap(), Deletion::Preserve).await.unwrap();
    scene.send(&registration).await;
    scene.work_off().await;
    assert_eq!(scene.ipa.directory().created(), ["ada"]);
    assert_eq!(scene.reasons().await, ["removed"]);
    assert!(scene.last(42).contains("Something went wrong on our side"), "{:?}", scene.told(42));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_a_group_is_taken() {
    let scene = Scene::new().await;
    scene.send(&asking(1, "others")).await;
    scene.send(&somebody(2, "Others")).await;
    // Those that are named in the settings are known before.
    scene.send(&asking(3, GROUP)).await;
    scene.work_off().await;
    assert!(scene.last(1).contains("this name is taken"), "{:?}", scene.told(1));
    scene.assert_has_account(2, "others2");
    assert!(scene.last(3).contains("reserved"), "{:?}", scene.told(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_takes_fewer_characters_has_its_way() {
    let scene = Scene::with(config(Rights::registrar()).longest_login(8), "").await;
    scene.send(&somebody(1, "Maximiliana")).await;
    scene.send(&asking(2, "maximiliana")).await;
    scene.work_off().await;
    scene.assert_has_account(1, "maximili");
    assert!(scene.last(2).contains("too long"), "{:?}", scene.told(2));
}
