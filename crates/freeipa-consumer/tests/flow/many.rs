//! Many people, several consumers.

use std::collections::BTreeMap;

use freeipa_double::{Fault, FaultRule, TelegramFault};
use valkey_testkit::is_long;

use crate::people::somebody;
use crate::scene::{GROUP, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn two_consumers_make_each_account_once() {
    let people: i64 = if is_long() { 1000 } else { 100 };
    let scene = Scene::new().await;
    for chat in 1..=people {
        // Some are called the same: each of them asks for many names.
        let name = if chat % 20 == 0 { "Анна".to_owned() } else { format!("Person{chat}") };
        let registration = somebody(chat, &name);
        scene.send(&registration).await;
        if chat % 10 == 0 {
            scene.send(&registration).await;
        }
    }
    for nth in 1..10 {
        scene.ipa.faults().arm(FaultRule::new("user_add", Fault::CommitThenDrop).nth(nth * 7));
        scene.ipa.faults().arm(FaultRule::new("user_mod", Fault::Commit500).nth(nth * 5));
        scene
            .telegram
            .faults()
            .arm(FaultRule::new("sendMessage", TelegramFault::DeliverThenDrop).nth(nth * 9));
    }
    let (one, other) = (scene.start().await, scene.start().await);
    scene.settled_within(std::time::Duration::from_secs(people.unsigned_abs())).await;
    one.end().await;
    other.end().await;

    assert!(scene.dead().await.is_empty(), "{:?}", scene.reasons().await);
    let directory = scene.ipa.directory();
    assert_eq!(directory.created().len(), usize::try_from(people).unwrap());
    let mut markers: BTreeMap<&str, usize> = BTreeMap::new();
    for class in directory.users.iter().flat_map(|user| user.values("userclass")) {
        *markers.entry(class.as_str()).or_default() += 1;
    }
    assert!(markers.values().all(|count| *count == 1), "each registration and each person has one account");
    assert_eq!(markers.len(), usize::try_from(people * 2).unwrap());
    // The last thing that each was told.
    let told: BTreeMap<i64, String> =
        scene.telegram.messages().into_iter().map(|message| (message.chat, message.text)).collect();
    for chat in 1..=people {
        let text = &told[&chat];
        let login = text.strip_prefix("Your account ").and_then(|text| text.split(' ').next()).unwrap();
        assert!(directory.user(login).unwrap().groups.contains(&GROUP.to_owned()), "{login}");
        let password = text.lines().find_map(|line| line.strip_prefix("Temporary password: ")).unwrap();
        assert!(scene.ipa.has_password(login, password), "{login}'s password is another one");
    }
    let most = scene.ipa.stats().in_flight_most;
    assert!(most <= 8, "{most} calls of two consumers at a time");
}
