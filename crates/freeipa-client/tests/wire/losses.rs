//! Answers that do not arrive, or are none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freeipa_client::{Cause, Class, Client, NewUser, Outcome, Pinned, TransportError};

use tokio::sync::Notify;

use crate::support::{Act, Wire, json, logged_in, no_session, page, user};

/// A server that does this with the first call, and is well afterwards.
async fn first(act: impl Fn() -> Act + Send + Sync + 'static) -> Wire {
    Wire::start(move |seen, nth| match (seen.is_login(), nth) {
        (true, _) => logged_in("x").into(),
        (false, 0) => act(),
        (false, _) => user("anna").into(),
    })
    .await
}

async fn add(ipa: &Pinned) -> freeipa_client::CallError {
    ipa.user_add(&NewUser::new("anna".parse().unwrap(), "Anna", "Petrova")).await.unwrap_err()
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_sent_once() {
    let cut = || {
        let mut answer = user("anna");
        answer.truncate(answer.len() - 20);
        answer
    };
    for lost in [Vec::new(), b"HTTP/1.1 200 Succ".to_vec(), cut()] {
        let wire = first(move || Act::Break(lost.clone())).await;
        let error = add(&wire.client().server("x")).await;
        assert!(matches!(error.cause(), Cause::Transport(TransportError::Lost { .. })), "{error}");
        assert_eq!((error.class(), error.outcome()), (Class::Unavailable, Outcome::Unknown));
        assert_eq!(wire.calls("user_add"), 1);
    }
}

#[tokio::test]
async fn a_read_whose_answer_is_lost_is_sent_twice() {
    let wire = first(|| Act::Break(Vec::new())).await;
    wire.client().server("x").user_show(&"anna".parse().unwrap()).await.unwrap();
    assert_eq!(wire.calls("user_show"), 2);
}

#[tokio::test]
async fn a_read_is_not_sent_for_ever() {
    let wire =
        Wire::start(|seen, _| if seen.is_login() { logged_in("x").into() } else { Act::Break(Vec::new()) })
            .await;
    let error = wire.client().server("x").ping().await.unwrap_err();
    assert_eq!((error.class(), error.outcome()), (Class::Unavailable, Outcome::NotDone));
    assert_eq!(wire.calls("ping"), 2);
}

#[tokio::test]
async fn what_is_no_answer_of_the_api_is_told_by_its_status() {
    let rows = [
        ("302 Found", Class::Configuration, Outcome::NotDone),
        ("400 Bad Request", Class::Configuration, Outcome::NotDone),
        ("404 Not Found", Class::Configuration, Outcome::NotDone),
        ("500 Internal Server Error", Class::Unavailable, Outcome::Unknown),
        ("503 Service Unavailable", Class::Unavailable, Outcome::Unknown),
        // A page with a good status: somebody answers for the server.
        ("200 OK", Class::Failed, Outcome::Unknown),
    ];
    for (status, class, outcome) in rows {
        let wire = first(move || page(status).into()).await;
        let error = add(&wire.client().server("x")).await;
        assert_eq!((error.class(), error.outcome()), (class, outcome), "{error}");
        assert_eq!(wire.calls("user_add"), 1);
    }
}

#[tokio::test]
async fn nobody_is_sent_elsewhere() {
    let elsewhere = Wire::named("elsewhere.example.test", |_, _| user("mallory").into()).await;
    let location = format!("https://elsewhere.example.test:{}/ipa/session/json", elsewhere.port());
    let wire = first(move || {
        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
            .into_bytes()
            .into()
    })
    .await;
    let error = wire.client().server("x").ping().await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Status { status: 307 }), "{error}");
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn an_answer_too_long_is_not_read() {
    let long = format!(r#"{{"result":"{}","error":null}}"#, "x".repeat(100 << 10));
    let chunked = format!(
        "HTTP/1.1 200 Success\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    for answer in [json(&long), chunked.into_bytes()] {
        let wire = first(move || answer.clone().into()).await;
        let client = Client::new(&wire.settings().max_reply_bytes(64 << 10)).unwrap();
        let error = add(&client.server("x")).await;
        assert!(
            matches!(error.cause(), Cause::Transport(TransportError::TooLong { limit: 65536 })),
            "{error}"
        );
        assert_eq!((error.class(), error.outcome()), (Class::Failed, Outcome::Unknown));
    }
}

#[tokio::test]
async fn nobody_waits_longer_than_the_timeout() {
    let wire = first(|| Act::Hang).await;
    let settings =
        wire.settings().connect_timeout(Duration::from_millis(500)).timeout(Duration::from_secs(1));
    let client = Client::new(&settings).unwrap();
    let start = Instant::now();
    let error = add(&client.server("x")).await;
    assert!(matches!(error.cause(), Cause::Transport(TransportError::TimedOut { .. })), "{error}");
    assert_eq!((error.class(), error.outcome()), (Class::Unavailable, Outcome::Unknown));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn who_gets_no_turn_has_done_nothing() {
    let word = Arc::new(Notify::new());
    let said = Arc::clone(&word);
    let wire = Wire::start(move |seen, nth| match (seen.is_login(), nth) {
        (true, _) => logged_in("x").into(),
        (false, 0) => Act::AnswerOn(Arc::clone(&said), no_session()),
        (false, _) => Act::Hang,
    })
    .await;
    let settings = wire.settings().connect_timeout(Duration::from_secs(1)).timeout(Duration::from_secs(2));
    let client = Client::new(&settings.max_in_flight(1)).unwrap();
    let start = |client: &Client| {
        let ipa = client.server("x");
        tokio::spawn(async move { add(&ipa).await })
    };
    // The first has to log in again, for which it needs a turn; the second, whose time ends later, has it by then.
    let first = start(&client);
    while wire.calls("user_add") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = start(&client);
    tokio::time::sleep(Duration::from_millis(100)).await;
    word.notify_one();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert!(matches!(first.cause(), Cause::NoTurn), "{first}");
    assert_eq!((first.class(), first.outcome()), (Class::Unavailable, Outcome::NotDone));
    assert_eq!(second.outcome(), Outcome::Unknown, "{second}");
    assert_eq!(wire.calls("user_add"), 2);
}
