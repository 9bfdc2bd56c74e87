//! What goes wrong on purpose.

use freeipa_double::{Fault, FaultRule, Rights};
use serde_json::json;

use crate::client::service;

const NAMES: [(&str, &str); 2] = [("givenname", "Boris"), ("sn", "Petrov")];

#[tokio::test]
async fn a_reply_may_be_lost_before_or_after_the_deed() {
    let (ipa, caller) = service(Rights::registrar()).await;
    let options = json!(std::collections::BTreeMap::from(NAMES));
    for (login, fault, done) in [
        ("b1", Fault::DropBeforeCommit, false),
        ("b2", Fault::CommitThenDrop, true),
        ("b3", Fault::CommitThenHalf, true),
    ] {
        ipa.faults().arm(FaultRule::new("user_add", fault).key(login));
        let sent = caller.request("user_add", &json!([login]), &options).send().await;
        let broken = match sent {
            Err(_) => true,
            Ok(reply) => reply.status() == 200 && reply.bytes().await.is_err(),
        };
        assert!(broken, "{login}");
        assert_eq!(ipa.directory().user(login).is_some(), done, "{login}");
        assert_eq!(caller.call("ping", json!([]), json!({})).await["error"], json!(null), "the next is fine");
    }
}

#[tokio::test]
async fn a_reply_may_say_something_else_than_what_was_done() {
    let (ipa, caller) = service(Rights::registrar()).await;
    let options = json!(std::collections::BTreeMap::from(NAMES));
    for (login, fault, status, code, done) in [
        ("b1", Fault::Commit500, 500, None, true),
        ("b2", Fault::Commit903, 200, Some(903), true),
        ("b3", Fault::Internal903, 200, Some(903), false),
        ("b4", Fault::Network907, 200, Some(907), false),
        ("b5", Fault::Http500, 500, None, false),
        ("b6", Fault::Http503, 503, None, false),
        ("b7", Fault::Deny, 200, Some(2100), false),
        (
            "b8",
            Fault::Error { code: 4203, name: "DatabaseError".into(), message: "x".into() },
            200,
            Some(4203),
            false,
        ),
    ] {
        ipa.faults().arm(FaultRule::new("user_add", fault.clone()));
        let reply = caller.request("user_add", &json!([login]), &options).send().await.unwrap();
        assert_eq!(reply.status(), status, "{fault:?}");
        let text = reply.text().await.unwrap();
        match code {
            Some(code) => {
                let envelope: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(envelope["error"]["code"], code, "{fault:?}");
            }
            None => assert!(text.starts_with("<html>"), "{text}"),
        }
        assert_eq!(ipa.directory().user(login).is_some(), done, "{fault:?}");
    }
}

#[tokio::test]
async fn a_delayed_call_is_done_though_nobody_waits_and_a_hung_one_is_not() {
    let (ipa, caller) = service(Rights::registrar()).await;
    let options = json!(std::collections::BTreeMap::from(NAMES));
    let impatient = std::time::Duration::from_millis(500);
    for (login, fault, done) in [
        ("b1", Fault::Delay { ms: 1000 }, true),
        ("b2", Fault::CommitThenHang, true),
        ("b3", Fault::Hang, false),
    ] {
        ipa.faults().arm(FaultRule::new("user_add", fault).key(login));
        let sent = caller.request("user_add", &json!([login]), &options).timeout(impatient).send().await;
        assert!(sent.unwrap_err().is_timeout(), "{login}");
        let mut looks = 0;
        while done && ipa.directory().user(login).is_none() && looks < 200 {
            looks += 1;
            tokio::time::sleep(impatient / 10).await;
        }
        assert_eq!(ipa.directory().user(login).is_some(), done, "{login}");
    }
}

#[tokio::test]
async fn calls_under_way_are_counted() {
    let (ipa, caller) = service(Rights::registrar()).await;
    ipa.faults().arm(FaultRule::new("ping", Fault::Delay { ms: 1500 }).always());
    let ping = || caller.call("ping", json!([]), json!({}));
    tokio::join!(ping(), ping(), ping());
    assert_eq!((ipa.stats().in_flight_most, ipa.stats().in_flight), (3, 0));
    assert_eq!(ipa.stats().calls_of("ping"), 3);
    assert_eq!(ipa.stats().errors.len(), 0);
}
