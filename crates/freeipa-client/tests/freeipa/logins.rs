//! The service account, and what can be the matter with it.

use std::time::{Duration, Instant};

use freeipa_client::{Cause, Class, Client, Credentials, LoginError, LoginRejected, ServiceLogin};
use freeipa_double::{Fault, FaultRule, FreeIpaAction, FreeIpaDouble, Rights, Version};

use crate::support::{PASSWORD, SERVICE, client, config, double, settings};

/// Why the account is rejected, however often one asks.
async fn rejected(ipa: &FreeIpaDouble, client: &Client) -> LoginRejected {
    let logins = ipa.stats().logins;
    let mut reason = None;
    for _ in 0..10 {
        let error = client.server("x").ping().await.unwrap_err();
        assert_eq!(error.class(), Class::LoginRejected, "{error}");
        let Cause::Login(LoginError::Rejected { why, .. }) = error.cause() else { panic!("{error}") };
        reason = Some(*why);
    }
    assert_eq!(ipa.stats().logins, logins + 1, "one attempt, and no more");
    assert!(matches!(client.service_login(), ServiceLogin::Rejected { .. }));
    reason.unwrap()
}

#[tokio::test]
async fn what_is_the_matter_with_the_account_is_told() {
    let login = || SERVICE.to_owned();
    let rows = [
        (FreeIpaAction::SetDisabled { login: login(), disabled: true }, LoginRejected::Revoked),
        (FreeIpaAction::SetLocked { login: login(), locked: true }, LoginRejected::Revoked),
        (FreeIpaAction::ExpirePassword { login: login(), expired: true }, LoginRejected::PasswordExpired),
        (FreeIpaAction::ExpirePrincipal { login: login(), expired: true }, LoginRejected::AccountExpired),
        (
            FreeIpaAction::SetPassword { login: login(), password: "other".to_owned() },
            LoginRejected::WrongPassword,
        ),
    ];
    for version in [Version::V4_12_4, Version::V4_13_1] {
        for (action, why) in rows.clone() {
            let ipa = FreeIpaDouble::start(config(Rights::registrar()).version(version)).await.unwrap();
            ipa.apply(action.clone()).unwrap();
            assert_eq!(rejected(&ipa, &client(&ipa)).await, why, "{version:?} {action:?}");
        }
    }
    let ipa = double(Rights::registrar()).await;
    let nobody = client(&ipa);
    nobody.replace_credentials(Credentials::password("nobody", "x")).unwrap();
    assert_eq!(rejected(&ipa, &nobody).await, LoginRejected::UnknownAccount);
}

#[tokio::test]
async fn a_password_that_is_corrected_is_good_at_once() {
    let ipa = double(Rights::registrar()).await;
    let client = client(&ipa);
    client.replace_credentials(Credentials::password(SERVICE, "wrong")).unwrap();
    assert_eq!(rejected(&ipa, &client).await, LoginRejected::WrongPassword);
    assert_eq!(client.replace_credentials(Credentials::password(SERVICE, PASSWORD)), Ok(true));
    client.server("x").ping().await.unwrap();
    assert!(!ipa.directory().user(SERVICE).unwrap().locked);
}

#[tokio::test]
async fn outages_are_no_rejections_and_pass() {
    for (down, up) in [
        (FreeIpaAction::KdcDown { down: true }, FreeIpaAction::KdcDown { down: false }),
        (FreeIpaAction::LdapDown { down: true }, FreeIpaAction::LdapDown { down: false }),
    ] {
        let ipa = double(Rights::registrar()).await;
        let client = client(&ipa);
        ipa.apply(down).unwrap();
        for _ in 0..20 {
            let error = client.server("x").ping().await.unwrap_err();
            assert_eq!(error.class(), Class::Unavailable, "{error}");
        }
        assert_eq!(client.service_login(), ServiceLogin::Untried);
        assert!(ipa.stats().logins <= 3, "{} attempts", ipa.stats().logins);
        ipa.apply(up).unwrap();
        let start = Instant::now();
        while client.server("x").ping().await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "it is back, and nobody noticed");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn a_wrong_password_whose_answers_are_lost_locks_nothing() {
    for fault in [Fault::Commit500, Fault::CommitThenDrop, Fault::CommitThenHalf, Fault::CommitThenHang] {
        let ipa = double(Rights::registrar()).await;
        ipa.apply(FreeIpaAction::SetPassword { login: SERVICE.to_owned(), password: "other".to_owned() })
            .unwrap();
        ipa.faults().arm(FaultRule::new("login", fault.clone()).always());
        let client = Client::new(
            &settings(&ipa).connect_timeout(Duration::from_millis(400)).timeout(Duration::from_millis(600)),
        )
        .unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(4) {
            let error = client.server("x").ping().await.unwrap_err();
            assert_eq!(error.class(), Class::Unavailable, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(ipa.stats().logins <= 2, "{fault:?}: {} logins", ipa.stats().logins);
        let error = client.server("x").ping().await.unwrap_err();
        assert!(matches!(error.cause(), Cause::Login(LoginError::Unclear { .. })), "{error}");
        assert!(!ipa.directory().user(SERVICE).unwrap().locked);
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_once_holds_nobody_up() {
    let ipa = double(Rights::registrar()).await;
    ipa.faults().arm(FaultRule::new("login", Fault::CommitThenDrop));
    let client = client(&ipa);
    client.server("x").ping().await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.server("x").ping().await.unwrap();
    assert_eq!(client.service_login(), ServiceLogin::Accepted);
}

#[tokio::test]
async fn an_account_that_is_disabled_later_is_not_let_in_again() {
    let ipa = double(Rights::registrar()).await;
    let client = client(&ipa);
    client.server("x").ping().await.unwrap();
    ipa.apply(FreeIpaAction::SetDisabled { login: SERVICE.to_owned(), disabled: true }).unwrap();
    for _ in 0..5 {
        assert_eq!(client.server("x").ping().await.unwrap_err().class(), Class::LoginRejected);
    }
    assert!(ipa.stats().logins <= 2, "{}", ipa.stats().logins);
}

#[tokio::test]
async fn two_servers_have_two_sessions_and_one_account() {
    let second = config(Rights::registrar()).fqdn("ipa2.example.test");
    let (one, other) = (double(Rights::registrar()).await, FreeIpaDouble::start(second).await.unwrap());
    let both = [one.ca_pem(), other.ca_pem()].concat();
    let server =
        freeipa_client::Server::new(other.fqdn()).unwrap().connect_to(&other.address().to_string()).unwrap();
    let settings = settings(&one).server(server).trust(freeipa_client::Trust::Only(both.into_bytes()));
    let client = Client::new(&settings).unwrap();
    for number in 0..20 {
        client.server(&format!("registration {number}")).ping().await.unwrap();
    }
    assert_eq!((one.stats().logins, other.stats().logins), (1, 1));
    assert_eq!(one.stats().calls_of("ping") + other.stats().calls_of("ping"), 20);
    client.replace_credentials(Credentials::password(SERVICE, "wrong")).unwrap();
    for server in client.servers() {
        server.ping().await.unwrap_err();
    }
    assert_eq!(
        one.stats().logins + other.stats().logins,
        3,
        "what one server rejects is not tried at the next"
    );
}
