//! Whoever corrects what was wrong, or says something else than before, hears what comes of it.

use freeipa_client::{Deletion, NewUser};
use freeipa_double::{Fault, FaultRule};
use serde_json::Value;
use valkey_testkit::eventually;

use crate::people::{somebody, with};
use crate::scene::Scene;

fn without_id(mut registration: Value) -> Value {
    registration.as_object_mut().unwrap().remove("registration_id");
    registration
}

async fn send_and_settle(scene: &Scene, registration: &Value) {
    scene.send(registration).await;
    scene.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_refusal_is_told_as_the_first_was() {
    let scene = Scene::new().await;
    let boss = scene.boss();
    for (login, mail) in [("x1", "a@example.org"), ("x2", "b@example.org")] {
        boss.user_add(&NewUser::new(login.parse().unwrap(), "X", "Y").mail(mail)).await.unwrap();
    }
    let running = scene.start().await;
    // Two addresses that are taken: without an id of its own, and with one.
    for (chat, first) in [(1, without_id(somebody(1, "Eva"))), (2, somebody(2, "Eva"))] {
        for (mail, times) in [("a@example.org", 1), ("b@example.org", 2)] {
            send_and_settle(&scene, &with(first.clone(), "email", mail)).await;
            assert_eq!(scene.told(chat).len(), times, "{mail}: {:?}", scene.told(chat));
            assert!(scene.last(chat).contains("e-mail address"), "{:?}", scene.told(chat));
        }
        // What says the same is the same.
        let again = with(with(first.clone(), "email", "b@example.org"), "attempt", 7);
        send_and_settle(&scene, &again).await;
        assert_eq!(scene.told(chat).len(), 2, "{:?}", scene.told(chat));
        send_and_settle(&scene, &with(first, "email", format!("free{chat}@example.org"))).await;
        assert!(scene.last(chat).contains("Temporary password"), "{:?}", scene.told(chat));
    }
    // One rule after the other, under one id.
    let first = with(somebody(3, "Kim"), "requested_login", "root");
    let second = with(with(first.clone(), "requested_login", "kim"), "phone", "abc");
    for (registration, word) in [(&first, "reserved"), (&second, "phone number")] {
        send_and_settle(&scene, registration).await;
        assert!(scene.last(3).contains(word), "{:?}", scene.told(3));
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_something_else_than_what_was_done_is_answered() {
    let scene = Scene::new().await;
    let boss = scene.boss();
    let running = scene.start().await;
    for (chat, first) in [(1, without_id(somebody(1, "Zoe"))), (2, somebody(2, "Eve"))] {
        let login = first["first_name"].as_str().unwrap().to_lowercase();
        send_and_settle(&scene, &first).await;
        scene.assert_has_account(chat, &login);
        // There is one.
        let other = with(first.clone(), "last_name", "Miller");
        send_and_settle(&scene, &other).await;
        assert!(scene.last(chat).contains("You have an account here already"), "{:?}", scene.told(chat));
        // A message that is refused hears why, and touches nothing.
        send_and_settle(&scene, &with(other.clone(), "phone", "abc")).await;
        assert!(scene.last(chat).contains("phone number"), "{:?}", scene.told(chat));
        // The first once more is a redelivery.
        send_and_settle(&scene, &first).await;
        assert_eq!(scene.told(chat).len(), 3, "{:?}", scene.told(chat));
        assert_eq!(scene.ipa.directory().user(&login).unwrap().passwords_set, 1);
        // And when it was deleted, whoever says something else gets one.
        boss.user_del(&login.parse().unwrap(), Deletion::ForGood).await.unwrap();
        send_and_settle(&scene, &with(first, "last_name", "Quinn")).await;
        assert!(scene.last(chat).contains("Temporary password"), "{:?}", scene.told(chat));
        assert!(scene.ipa.has_password(&login, &scene.password(chat)));
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_messages_of_one_id_at_once_are_both_answered() {
    let scene = Scene::new().await;
    let first = with(somebody(42, "Ada"), "requested_login", "first");
    scene.ipa.faults().arm(FaultRule::new("user_add", Fault::Delay { ms: 800 }).key("first"));
    scene.send(&first).await;
    let running = scene.start().await;
    eventually("a call", async || (scene.ipa.stats().calls_of("user_add") == 1).then_some(())).await;
    scene.send(&with(first, "requested_login", "second")).await;
    scene.settled().await;
    running.end().await;
    assert_eq!(scene.ipa.directory().created(), ["first"]);
    let told = scene.told(42);
    assert!(told.len() == 2 && told[0].contains("first"), "{told:?}");
    assert!(told[1].contains("You have an account here already"), "{told:?}");
}
