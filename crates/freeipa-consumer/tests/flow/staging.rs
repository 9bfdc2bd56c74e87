//! Stage users: somebody approves, or we do.

use freeipa_client::NewUser;
use freeipa_double::{AccountSpec, Change, Container, Fault, FaultRule, Rights};
use valkey_testkit::eventually;

use crate::people::{asking, marker, somebody};
use crate::scene::{Scene, config};

const APPROVED: &str = "[consumer]\nflow = \"stage\"\n";
const ACTIVATED: &str = "[consumer]\nflow = \"stage_then_activate\"\n";

fn rights() -> Rights {
    Rights::registrar().and(&Rights::stage_administrator())
}

async fn scene(settings: &str) -> Scene {
    Scene::with(config(rights()), settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_approval_is_told_so_and_holds_nothing_up() {
    let scene = scene(APPROVED).await;
    let registration = somebody(42, "Ada");
    scene.send(&registration).await;
    scene.work_off().await;
    let directory = scene.ipa.directory();
    let staged = directory.user_in(Container::Staged, "ada").unwrap();
    assert!(staged.values("userclass").contains(&marker(&registration)));
    assert!(directory.created().is_empty() && !staged.has_password);
    assert!(scene.last(42).contains("have to approve it"), "{:?}", scene.told(42));
    // Once more: nothing is staged twice, and nobody is told again.
    scene.send(&registration).await;
    scene.work_off().await;
    assert_eq!((scene.ipa.directory().times(&Change::Staged, "ada"), scene.told(42).len()), (1, 1));
    assert!(scene.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_user_is_activated_and_has_everything() {
    let scene = scene(ACTIVATED).await;
    scene.send(&somebody(42, "Ada")).await;
    scene.work_off().await;
    scene.assert_has_account(42, "ada");
    let directory = scene.ipa.directory();
    assert_eq!((directory.times(&Change::Staged, "ada"), directory.times(&Change::Activated, "ada")), (1, 1));
    assert!(directory.user_in(Container::Staged, "ada").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_answer_is_lost_there_is_one_account_and_no_stage_user() {
    let losses = [
        Fault::CommitThenDrop,
        Fault::Commit500,
        Fault::Commit903,
        Fault::CommitThenHang,
        Fault::DropBeforeCommit,
        Fault::Http503,
        Fault::ExpireSessions,
    ];
    let scene = scene(ACTIVATED).await;
    let (mut chat, mut expected) = (0, Vec::new());
    for command in ["stageuser_add", "stageuser_activate", "user_show"] {
        for (number, loss) in losses.iter().enumerate() {
            chat += 1;
            let name = format!("{}{number}", command.replace('_', ""));
            scene.ipa.faults().arm(FaultRule::new(command, loss.clone()).key(&name));
            scene.send(&somebody(chat, &name)).await;
            expected.push((chat, name));
        }
    }
    scene.work_off().await;
    for (chat, login) in &expected {
        scene.assert_has_account(*chat, login);
    }
    let directory = scene.ipa.directory();
    assert!(directory.users.iter().all(|user| user.container != Container::Staged));
    assert!(scene.dead().await.is_empty(), "{:?}", scene.reasons().await);
    for armed in scene.ipa.faults().armed() {
        assert_eq!(armed.met, 1, "{:?}", armed.rule);
    }
}

/// As long as a stage user has the login of an active one, that one is refused every call.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_staged_in_the_way_of_an_active_user() {
    for settings in [APPROVED, ACTIVATED] {
        let config = config(rights()).account(AccountSpec::new("ada", "Ada.123456"));
        let scene = Scene::with(config, settings).await;
        scene.send(&asking(1, "ada")).await;
        scene.send(&somebody(2, "Ada")).await;
        scene.work_off().await;
        assert!(scene.last(1).contains("this name is taken"), "{:?}", scene.told(1));
        let directory = scene.ipa.directory();
        assert_eq!(directory.times(&Change::Staged, "ada"), 0, "not for a moment");
        let (staged, active) = (directory.user_in(Container::Staged, "ada2"), directory.user("ada2"));
        assert!(if settings == APPROVED { staged.is_some() } else { active.is_some() });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_came_in_between_gets_the_way_back_free() {
    let scene = scene(ACTIVATED).await;
    // It is looked, then somebody makes that user, then it is staged.
    scene.ipa.faults().arm(FaultRule::new("stageuser_add", Fault::Delay { ms: 1000 }).key("ada"));
    scene.send(&somebody(42, "Ada")).await;
    let running = scene.start().await;
    eventually("it is about to be staged", async || {
        scene.ipa.faults().armed().iter().any(|armed| armed.met == 1).then_some(())
    })
    .await;
    scene.boss().user_add(&NewUser::new("ada".parse().unwrap(), "Another", "Ada")).await.unwrap();
    scene.settled().await;
    running.end().await;
    let directory = scene.ipa.directory();
    assert_eq!(directory.times(&Change::Staged, "ada"), 1, "it did happen");
    assert!(directory.user_in(Container::Staged, "ada").is_none(), "and was taken back");
    assert_eq!(directory.user("ada").unwrap().values("givenname"), ["Another"]);
    scene.assert_has_account(42, "ada2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_user_that_somebody_hidden_keeps_from_activation_is_taken_back() {
    // Nobody has the login, and the login is somebody's.
    let config = config(rights()).account(AccountSpec::new("boris", "Boris.12345").alias("bob"));
    let scene = Scene::with(config, ACTIVATED).await;
    scene.send(&somebody(42, "Bob")).await;
    scene.work_off().await;
    scene.assert_has_account(42, "bob2");
    assert!(scene.ipa.directory().user_in(Container::Staged, "bob").is_none());
}
