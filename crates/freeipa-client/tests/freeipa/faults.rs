//! What goes wrong on the way, and what is known afterwards.

use std::time::Duration;

use freeipa_client::{Class, Client, Outcome};
use freeipa_double::{Change, Fault, FaultRule, FreeIpaAction};

use crate::support::{anna, client, login, registrar, settings};

#[tokio::test]
async fn after_a_write_that_went_wrong_a_look_tells_what_happened() {
    let rows = [
        (Fault::CommitThenDrop, Class::Unavailable, true),
        (Fault::CommitThenHalf, Class::Unavailable, true),
        (Fault::Commit500, Class::Unavailable, true),
        (Fault::Commit903, Class::Failed, true),
        (Fault::DropBeforeCommit, Class::Unavailable, false),
        (Fault::Internal903, Class::Failed, false),
        (Fault::Network907, Class::Unavailable, false),
        (Fault::Http500, Class::Unavailable, false),
        (Fault::Http503, Class::Unavailable, false),
    ];
    for (fault, class, happened) in rows {
        let (ipa, client) = registrar().await;
        ipa.faults().arm(FaultRule::new("user_add", fault.clone()));
        let error = client.user_add(&anna()).await.unwrap_err();
        assert_eq!((error.class(), error.outcome()), (class, Outcome::Unknown), "{fault:?}: {error}");
        assert_eq!(ipa.stats().calls_of("user_add"), 1, "{fault:?}: never sent twice");
        let found = client.user_show(&login("anna")).await;
        assert_eq!(found.as_ref().is_ok_and(|user| user.has_class("reg:1")), happened, "{fault:?}");
        if !happened {
            client.user_add(&anna()).await.unwrap();
        }
        assert_eq!(ipa.directory().times(&Change::Created, "anna"), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_read_that_was_lost_is_asked_again() {
    for fault in [Fault::DropBeforeCommit, Fault::CommitThenDrop, Fault::CommitThenHalf] {
        let (ipa, client) = registrar().await;
        ipa.faults().arm(FaultRule::new("ping", fault));
        client.ping().await.unwrap();
        assert_eq!(ipa.stats().calls_of("ping"), 2);
    }
}

#[tokio::test]
async fn a_write_without_an_answer_ends_in_time() {
    let (ipa, _) = registrar().await;
    let settings = settings(&ipa).connect_timeout(Duration::from_millis(500)).timeout(Duration::from_secs(1));
    let client = Client::new(&settings).unwrap().server("x");
    client.ping().await.unwrap();
    ipa.faults().arm(FaultRule::new("user_add", Fault::CommitThenHang));
    let error = client.user_add(&anna()).await.unwrap_err();
    assert_eq!((error.class(), error.outcome()), (Class::Unavailable, Outcome::Unknown), "{error}");
    assert!(client.user_show(&login("anna")).await.unwrap().has_class("reg:1"));
}

#[tokio::test]
async fn a_session_that_ends_in_the_middle_costs_nothing() {
    let (ipa, client) = registrar().await;
    client.ping().await.unwrap();
    ipa.faults().arm(FaultRule::new("user_add", Fault::ExpireSessions));
    client.user_add(&anna()).await.unwrap();
    ipa.apply(FreeIpaAction::Advance { seconds: 2 * 86_400 }).unwrap();
    client.user_reset_password(&login("anna")).await.unwrap();
    assert_eq!(ipa.stats().logins, 3);
    let directory = ipa.directory();
    assert_eq!(
        (directory.times(&Change::Created, "anna"), directory.times(&Change::PasswordSet, "anna")),
        (1, 1)
    );
}

#[tokio::test]
async fn an_outage_of_the_directory_pauses_and_passes() {
    let (ipa, client) = registrar().await;
    client.ping().await.unwrap();
    ipa.apply(FreeIpaAction::LdapDown { down: true }).unwrap();
    for _ in 0..3 {
        let error = client.user_add(&anna()).await.unwrap_err();
        assert_eq!((error.class(), error.outcome()), (Class::Unavailable, Outcome::Unknown), "{error}");
        assert!(error.class().concerns_every_call());
    }
    ipa.apply(FreeIpaAction::LdapDown { down: false }).unwrap();
    client.user_add(&anna()).await.unwrap();
    assert_eq!(ipa.directory().times(&Change::Created, "anna"), 1);
}

#[tokio::test]
async fn a_client_that_is_closed_leaves_no_session() {
    let (ipa, _) = registrar().await;
    let client = client(&ipa);
    client.server("x").ping().await.unwrap();
    assert_eq!(ipa.stats().sessions, 1);
    client.close().await;
    assert_eq!(ipa.stats().sessions, 0);
}
