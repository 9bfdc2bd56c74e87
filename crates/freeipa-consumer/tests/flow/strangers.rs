//! Logins that somebody else gets meanwhile, records that are lost, and owners who have chosen a password.

use freeipa_client::{Command, NewUser, Pinned};
use freeipa_double::{Change, Container, Fault, FaultRule, FreeIpaAction, Rights};
use serde_json::Value;
use valkey_testkit::{TestServer, eventually};

use crate::people::{marker, somebody, with};
use crate::scene::{GROUP, Scene, config};

const ANY_NUMBER: &str = "[consumer]\none_account_per_person = false\n";

fn stranger(login: &str) -> NewUser {
    NewUser::new(login.parse().unwrap(), "Another", "Person")
}

async fn rename(boss: &Pinned, from: &str, to: &str) {
    boss.call(&Command::write("user_mod").argument(from).option("rename", to)).await.unwrap();
}

async fn forget(scene: &Scene, registration: &Value) {
    let key = scene.records().key(registration["registration_id"].as_str().unwrap().parse().unwrap());
    let removed = TestServer::shared().await.cli(&["DEL", &key]).await.unwrap();
    assert!(removed.contains('1'), "{removed}");
}

/// The logins of the accounts that carry the marker.
fn marked(scene: &Scene, registration: &Value) -> Vec<String> {
    let directory = scene.ipa.directory();
    let is_marked = |classes: &[String]| classes.contains(&marker(registration));
    let users = directory.users.iter().filter(|user| is_marked(user.values("userclass")));
    users.map(|user| user.login.clone()).collect()
}

async fn until_called(scene: &Scene) {
    eventually("the call", async || {
        scene.ipa.faults().armed().iter().any(|armed| armed.met == 1).then_some(())
    })
    .await;
}

/// An administrator renames the account in the midst of it, and gives the login to somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn who_gets_a_login_meanwhile_is_left_alone_and_the_applicant_hears_of_his_own() {
    for command in ["user_show", "group_add_member", "user_mod"] {
        let scene = Scene::new().await;
        let boss = scene.boss();
        let key = if command == "group_add_member" { GROUP } else { "ada" };
        scene.ipa.faults().arm(FaultRule::new(command, Fault::Delay { ms: 1000 }).key(key));
        let registration = somebody(42, "Ada");
        scene.send(&registration).await;
        let running = scene.start().await;
        until_called(&scene).await;
        rename(&boss, "ada", "ada.old").await;
        boss.user_add(&stranger("ada")).await.unwrap();
        scene.settled().await;
        running.end().await;

        assert_eq!(marked(&scene, &registration), ["ada.old"], "{command}");
        assert!(scene.last(42).contains("ada.old"), "{command}: {:?}", scene.told(42));
        assert!(scene.ipa.has_password("ada.old", &scene.password(42)), "{command}");
        assert!(!scene.ipa.has_password("ada", &scene.password(42)), "{command}: told a stranger's password");
        let directory = scene.ipa.directory();
        assert!(directory.user("ada.old").unwrap().groups.contains(&GROUP.to_owned()), "{command}");
        let other = directory.user("ada").unwrap();
        // What is under way in that moment cannot be called back.
        assert_eq!(other.passwords_set, u64::from(command == "user_mod"), "{command}");
        assert_eq!(other.groups.contains(&GROUP.to_owned()), command == "group_add_member", "{command}");
        assert!(scene.dead().await.is_empty(), "{command}: {:?}", scene.reasons().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_user_of_somebody_else_is_not_activated() {
    let rights = Rights::registrar().and(&Rights::stage_administrator());
    let scene = Scene::with(config(rights), "[consumer]\nflow = \"stage_then_activate\"\n").await;
    let boss = scene.boss();
    scene.ipa.faults().arm(FaultRule::new("stageuser_show", Fault::Delay { ms: 1000 }).key("ada"));
    scene.send(&somebody(42, "Ada")).await;
    let running = scene.start().await;
    until_called(&scene).await;
    boss.stageuser_del(&"ada".parse().unwrap()).await.unwrap();
    boss.stageuser_add(&stranger("ada")).await.unwrap();
    scene.settled().await;
    running.end().await;
    let directory = scene.ipa.directory();
    assert_eq!(directory.times(&Change::Activated, "ada"), 0);
    assert_eq!(directory.user_in(Container::Staged, "ada").unwrap().values("givenname"), ["Another"]);
    assert!(scene.last(42).contains("ada2"), "{:?}", scene.told(42));
    assert!(scene.ipa.has_password("ada2", &scene.password(42)));
}

/// What is remembered is lost, and the account has another login than the first choice, or has been given one.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_record_is_no_second_account_whatever_logins_are_free() {
    for settings in ["", ANY_NUMBER] {
        let scene = Scene::set(settings).await;
        let boss = scene.boss();
        let renamed = somebody(42, "Ada");
        boss.user_add(&stranger("eve")).await.unwrap();
        let second_choice = somebody(43, "Eve");
        scene.send(&renamed).await;
        scene.send(&second_choice).await;
        scene.work_off().await;
        rename(&boss, "ada", "countess").await;
        boss.user_del(&"eve".parse().unwrap(), freeipa_client::Deletion::ForGood).await.unwrap();
        for registration in [&renamed, &second_choice] {
            forget(&scene, registration).await;
            scene.send(registration).await;
        }
        scene.work_off().await;
        assert_eq!(marked(&scene, &renamed), ["countess"]);
        assert_eq!(marked(&scene, &second_choice), ["eve2"]);
        assert!(scene.ipa.has_password("countess", &scene.password(42)));
        assert!(scene.ipa.has_password("eve2", &scene.password(43)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_its_owner_has_chosen_stays() {
    const OWN: &str = "My-Own-Secret.77";
    for expires in [None, Some("20400101000000Z")] {
        let scene = Scene::new().await;
        let registration = somebody(42, "Ada");
        scene.send(&registration).await;
        scene.work_off().await;
        let password = OWN.to_owned();
        scene.ipa.apply(FreeIpaAction::SetPassword { login: "ada".to_owned(), password }).unwrap();
        if let Some(expires) = expires {
            let change = Command::write("user_mod").argument("ada").option("krbpasswordexpiration", expires);
            scene.boss().call(&change).await.unwrap();
        }
        forget(&scene, &registration).await;
        scene.send(&registration).await;
        scene.work_off().await;
        assert!(scene.ipa.has_password("ada", OWN), "{expires:?}");
        let told = scene.told(42);
        assert!(told.len() == 2 && told[1].contains("ada"), "{told:?}");
        assert!(!told[1].contains("Temporary password"), "{told:?}");
    }
    // One that an administrator has set, for the first login, is nobody's choice.
    let scene = Scene::new().await;
    let registration = with(somebody(42, "Ada"), "phone", "+49 30 1234567");
    scene.send(&registration).await;
    scene.work_off().await;
    scene.boss().user_reset_password(&"ada".parse().unwrap()).await.unwrap();
    forget(&scene, &registration).await;
    scene.send(&registration).await;
    scene.work_off().await;
    scene.assert_has_account(42, "ada");
}
