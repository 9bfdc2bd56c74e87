//! The user that docs/freeipa.md gives the consumer in Valkey: it is enough, and the check finds nothing to say against it.

use valkey_connection::{Command, Connection, ConnectionSettings};
use valkey_testkit::TestServer;

use crate::people::somebody;
use crate::program::check;
use crate::scene::Scene;

/// The rules in the document, with the names of this scene.
fn rules(scene: &Scene) -> Vec<String> {
    let document = include_str!("../../../../docs/freeipa.md");
    let (_, after) = document.split_once("ACL SETUSER freeipa-consumer ").unwrap();
    let (rules, _) = after.split_once("\n```").unwrap();
    rules
        .replace("\\\n", " ")
        .replace('\'', "")
        .replace(">SECRET", ">pw")
        .replace("user-registrations", scene.queue.as_str())
        .replace("freeipa:reg:", &scene.prefix)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_document_may_do_what_a_consumer_does_and_no_more() {
    let scene = Scene::new().await;
    let server = TestServer::shared().await;
    let user = format!("acl-{}", scene.queue);
    let set = Command::new("ACL").arg("SETUSER").arg(user.as_str()).args(rules(&scene));
    scene.connection.execute(set).await.unwrap();
    let url = server.url_as(&user, "pw");
    let registration = "[receiver]\nmax_retries = 1\n";
    let scene = scene.but(&format!("{registration}[connection]\naddress = \"{url}\"\n"));

    let (code, told) = check(&scene).await;
    assert_eq!(code, Some(0), "{told}");
    // What the server keeps on disk is the operator's to know.
    let refused = told.lines().filter(|line| line.contains("NOPERM") && !line.contains("config|get"));
    assert_eq!((refused.count(), told.contains("may not receive")), (0, false), "{told}");

    scene.send(&somebody(42, "Ada")).await;
    scene.send(&serde_json::json!({"telegram": {"user_id": 7}, "uidnumber": 0})).await;
    // One that fails, and is tried again.
    scene
        .ipa
        .faults()
        .arm(freeipa_double::FaultRule::new("group_add_member", freeipa_double::Fault::DropBeforeCommit));
    scene.work_off().await;
    scene.assert_has_account(42, "ada");
    assert_eq!(scene.reasons().await, ["forbidden_field"]);

    let narrow = Connection::connect(&ConnectionSettings::from_url(&url).unwrap()).await.unwrap();
    for command in [
        Command::new("GET").key("somebody:elses"),
        Command::new("KEYS").arg("*"),
        Command::new("FLUSHALL"),
        Command::new("CONFIG").arg("GET").arg("*"),
    ] {
        let name = format!("{command:?}");
        assert!(narrow.execute(command).await.is_err(), "{name}");
    }
}
