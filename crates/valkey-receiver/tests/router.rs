//! Routing against a real server: what no handler can take ends among the dead letters, byte for byte.
#![allow(clippy::unwrap_used)]

mod support;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use valkey_envelope::{DeadReason, Envelope};
use valkey_receiver::{Message, Outcome, Router};

use support::books::Books;
use support::{Bed, settings, soon};

#[derive(Deserialize, Serialize)]
struct Registration {
    email: String,
}

#[tokio::test]
async fn messages_find_their_handler() {
    let bed = Bed::new("router").await;
    bed.push(&Envelope::new(&Registration { email: "a@b".into() }).unwrap().with_kind("user.registration"))
        .await;
    bed.push(&Envelope::new(&7).unwrap().with_kind("number")).await;
    bed.push(&Envelope::new(&8).unwrap().with_kind("number").with_header("dry-run", "true")).await;
    bed.push(&Envelope::new("else").unwrap()).await;

    let (seen, mut words) = mpsc::unbounded_channel::<String>();
    let say = move |word: String| drop(seen.send(word));
    let router = Router::new()
        .header("dry-run", "true", {
            let say = say.clone();
            move |number: u32| {
                say(format!("dry {number}"));
                async {}
            }
        })
        .kind("user.registration", {
            let say = say.clone();
            move |registration: Registration, message: Message| {
                say(format!("{} {}", registration.email, message.attempt()));
                async {}
            }
        })
        .kind("number", {
            let say = say.clone();
            move |number: u32| {
                say(format!("number {number}"));
                async { Ok::<_, String>(()) }
            }
        })
        .fallback(move |message: Message| {
            say(format!("fallback {}", message.payload_as::<String>().unwrap()));
            async { Outcome::Ack }
        });
    let receiver = bed.receiver(settings()).await;
    let stop = receiver.handle();
    let service = tokio::spawn(receiver.serve(router).into_future());
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(soon("a message", words.recv()).await.unwrap());
    }
    said.sort();
    assert_eq!(said, ["a@b 1", "dry 8", "fallback else", "number 7"]);
    stop.drain();
    assert_eq!(soon("the end", service).await.unwrap().unwrap().acked, 4);
}

#[tokio::test]
async fn what_no_handler_can_take_is_kept_as_it_came() {
    let bed = Bed::new("router-dead").await;
    let wrong_type = Envelope::new(&serde_json::json!({"email": 5})).unwrap().with_kind("user.registration");
    let wrong_type = wrong_type.encode().unwrap();
    let no_route = Envelope::new(&1).unwrap().with_kind("unheard-of").encode().unwrap();
    bed.push_raw(wrong_type.clone()).await;
    bed.push_raw(no_route.clone()).await;
    let books = Books::of([wrong_type.clone(), no_route.clone()]);

    let receiver = bed.receiver(settings()).await;
    let stop = receiver.handle();
    let router = Router::new().kind("user.registration", async |_: Registration| {});
    let service = tokio::spawn(receiver.serve(router).into_future());
    let mut dead = bed.until_dead(2).await;
    dead.sort_by_key(|dead| dead.meta.reason.as_str().to_owned());
    let [undecodable, unroutable] = dead.try_into().unwrap();
    assert_eq!(undecodable.meta.reason, DeadReason::Undecodable);
    assert_eq!(undecodable.raw, wrong_type);
    let error = undecodable.meta.error.unwrap();
    assert!(error.starts_with("at `email`: ") && error.contains("expected a string"), "{error}");
    assert_eq!(unroutable.meta.reason.as_str(), "unroutable");
    assert_eq!(unroutable.raw, no_route);
    assert_eq!(unroutable.meta.error.as_deref(), Some("no route for messages of the kind `unheard-of`"));
    stop.drain();
    assert_eq!(soon("the end", service).await.unwrap().unwrap().dead, 2);
    assert_eq!(books.publish(&bed).await.lost, 0);
}
