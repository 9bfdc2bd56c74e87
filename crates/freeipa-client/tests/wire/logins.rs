//! Logging in, and being refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use freeipa_client::{
    Cause, Class, Client, Credentials, LoginError, LoginRejected, Negotiate, NegotiateError, NegotiateFault,
    Outcome, ServiceLogin,
};
use tokio::sync::Notify;

use crate::support::{Act, Wire, logged_in, page, refused, user, wrong_password};

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_then_not_for_ten_minutes() {
    let wire = Wire::start(|_, _| Act::AnswerAfter(Duration::from_millis(20), wrong_password())).await;
    let client = wire.client();
    assert_eq!(client.service_login(), ServiceLogin::Untried);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let ipa = client.server("x");
        calls.spawn(async move { ipa.ping().await.unwrap_err() });
    }
    for error in calls.join_all().await {
        let Cause::Login(LoginError::Rejected { why, wait }) = error.cause() else { panic!("{error}") };
        assert_eq!(*why, LoginRejected::WrongPassword);
        assert!(*wait > Duration::from_secs(590) && *wait <= Duration::from_mins(10), "{wait:?}");
        assert_eq!((error.class(), error.outcome()), (Class::LoginRejected, Outcome::NotDone));
    }
    for _ in 0..20 {
        client.server("x").ping().await.unwrap_err();
    }
    assert_eq!(wire.logins(), 1);
    let ServiceLogin::Rejected { since, why, next_attempt } = client.service_login() else {
        panic!("rejected")
    };
    assert_eq!(why, LoginRejected::WrongPassword);
    assert!(since <= SystemTime::now() && next_attempt > SystemTime::now() + Duration::from_secs(590));
}

#[tokio::test]
async fn several_servers_do_not_make_more_of_it() {
    let servers = [
        Wire::named("ipa1.example.test", |_, _| wrong_password().into()).await,
        Wire::named("ipa2.example.test", |_, _| wrong_password().into()).await,
        Wire::named("ipa3.example.test", |_, _| wrong_password().into()).await,
    ];
    let settings =
        servers[1..].iter().fold(servers[0].settings(), |settings, wire| settings.server(wire.server()));
    let client = Client::new(&settings).unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for server in (0..10).flat_map(|_| client.servers().collect::<Vec<_>>()) {
        calls.spawn(async move { server.ping().await.unwrap_err() });
    }
    assert!(calls.join_all().await.iter().all(|error| error.class() == Class::LoginRejected));
    let attempts: usize = servers.iter().map(Wire::logins).sum();
    assert_eq!(attempts, 1, "what one server rejects is not tried at the next");
}

#[tokio::test]
async fn who_gives_up_does_not_make_the_next_one_try_again() {
    let word = Arc::new(Notify::new());
    let said = Arc::clone(&word);
    let wire = Wire::start(move |_, _| Act::AnswerOn(Arc::clone(&said), wrong_password())).await;
    let client = wire.client();
    for _ in 0..10 {
        let ipa = client.server("x");
        assert!(tokio::time::timeout(Duration::from_millis(40), ipa.ping()).await.is_err());
    }
    while wire.logins() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    word.notify_one();
    assert_eq!(client.server("x").ping().await.unwrap_err().class(), Class::LoginRejected);
    assert!(matches!(client.service_login(), ServiceLogin::Rejected { .. }), "{:?}", client.service_login());
    assert_eq!(wire.logins(), 1);
}

#[tokio::test]
async fn other_credentials_are_tried_and_the_same_are_not() {
    let wire = Wire::start(|seen, _| {
        match seen.is_login() {
            true if seen.body.ends_with("password=right") => logged_in("x"),
            true => wrong_password(),
            false => user("anna"),
        }
        .into()
    })
    .await;
    let client = wire.client();
    client.server("x").ping().await.unwrap_err();
    let same = Credentials::password("svc", crate::support::PASSWORD);
    assert_eq!(client.replace_credentials(same), Ok(false));
    client.server("x").ping().await.unwrap_err();
    assert!(client.replace_credentials(Credentials::password("svc", "")).is_err());
    assert_eq!(wire.logins(), 1);
    assert_eq!(client.replace_credentials(Credentials::password("svc", "right")), Ok(true));
    client.server("x").ping().await.unwrap();
    assert_eq!((wire.logins(), client.service_login()), (2, ServiceLogin::Accepted));
}

#[tokio::test]
async fn what_became_of_the_former_credentials_is_no_answer() {
    let wire = Wire::start(|seen, _| match seen.is_login() {
        true if seen.body.ends_with("password=right") => logged_in("x").into(),
        true => Act::AnswerAfter(Duration::from_millis(300), wrong_password()),
        false => user("anna").into(),
    })
    .await;
    let client = wire.client();
    let begun = tokio::spawn({
        let ipa = client.server("x");
        async move { ipa.ping().await }
    });
    while wire.logins() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.replace_credentials(Credentials::password("svc", "right")).unwrap();
    client.server("x").ping().await.unwrap();
    begun.await.unwrap().unwrap();
    assert_eq!((wire.logins(), client.service_login()), (2, ServiceLogin::Accepted));
}

#[tokio::test]
async fn sessions_of_former_credentials_are_not_used() {
    let wire = Wire::start(|seen, nth| {
        if seen.is_login() { logged_in(&format!("t{nth}")) } else { user("a") }.into()
    })
    .await;
    let client = wire.client();
    client.server("x").ping().await.unwrap();
    client.replace_credentials(Credentials::password("other", "x")).unwrap();
    client.server("x").ping().await.unwrap();
    let last = wire.seen().pop().unwrap();
    assert_eq!((wire.logins(), last.header("cookie")), (2, Some("ipa_session=MagBearerToken=t1")));
}

#[tokio::test]
async fn an_outage_of_the_kdc_is_no_rejection_and_passes() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    let wire = Wire::start(move |seen, _| {
        match (seen.is_login(), down.load(Ordering::SeqCst)) {
            (true, true) => refused(
                "invalid-password",
                "kinit: Cannot contact any KDC for realm 'EXAMPLE.TEST' while getting initial credentials",
            ),
            (true, false) => logged_in("x"),
            (false, _) => user("anna"),
        }
        .into()
    })
    .await;
    let client = wire.client();
    let start = Instant::now();
    let mut failed = 0;
    while start.elapsed() < Duration::from_secs(1) {
        let error = client.server("x").ping().await.unwrap_err();
        assert_eq!((error.class(), error.outcome()), (Class::Unavailable, Outcome::NotDone), "{error}");
        failed += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(wire.logins() <= 3 && failed > 3, "{} attempts in {failed} calls", wire.logins());
    assert_eq!(client.service_login(), ServiceLogin::Untried);
    is_down.store(false, Ordering::SeqCst);
    while client.server("x").ping().await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "it is back, and nobody noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_server_that_fails_or_has_another_name_is_no_rejection() {
    let no_cookie = b"HTTP/1.1 200 Success\r\nContent-Length: 0\r\n\r\n".to_vec();
    let rows: [(Act, Class); 5] = [
        (page("500 Internal Server Error").into(), Class::Unavailable),
        (page("400 Bad Request").into(), Class::Configuration),
        (page("404 Not Found").into(), Class::Configuration),
        (no_cookie.into(), Class::Unavailable),
        (Act::Break(wrong_password()[..150].to_vec()), Class::Unavailable),
    ];
    for (act, class) in rows {
        let act = std::sync::Mutex::new(Some(act));
        let wire = Wire::start(move |_, _| act.lock().unwrap().take().unwrap_or(Act::Hang)).await;
        let client = wire.client();
        let error = client.server("x").ping().await.unwrap_err();
        assert_eq!((error.class(), error.outcome()), (class, Outcome::NotDone), "{error}");
        assert_eq!(client.service_login(), ServiceLogin::Untried);
    }
}

#[derive(Debug)]
struct Tickets(Result<Vec<u8>, NegotiateError>);

impl Negotiate for Tickets {
    fn token(&self, host: &str) -> Result<Vec<u8>, NegotiateError> {
        self.0.clone().map(|mut token| {
            token.extend_from_slice(host.as_bytes());
            token
        })
    }
}

#[tokio::test]
async fn with_a_ticket_one_logs_in_elsewhere() {
    let wire = Wire::start(|seen, _| match seen.path.as_str() {
        "/ipa/session/login_kerberos" => logged_in("x").into(),
        "/ipa/session/json" => user("anna").into(),
        _ => Act::Hang,
    })
    .await;
    let client = wire.client();
    client
        .replace_credentials(Credentials::Negotiate(Arc::new(Tickets(Ok(b"ticket for ".to_vec())))))
        .unwrap();
    client.server("x").ping().await.unwrap();
    // "ticket for ipa.example.test"
    assert_eq!(
        wire.seen()[0].header("authorization"),
        Some("Negotiate dGlja2V0IGZvciBpcGEuZXhhbXBsZS50ZXN0")
    );
}

#[tokio::test]
async fn without_a_ticket_or_with_a_bad_one_there_is_no_session() {
    let challenge =
        b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n".to_vec();
    let wire = Wire::start(move |_, _| challenge.clone().into()).await;
    let client = wire.client();
    let none = Tickets(Err(NegotiateError::new("the keytab cannot be read")));
    client.replace_credentials(Credentials::Negotiate(Arc::new(none))).unwrap();
    let error = client.server("x").ping().await.unwrap_err();
    assert!(error.to_string().contains("the keytab cannot be read"), "{error}");
    assert_eq!((error.class(), wire.logins()), (Class::LoginRejected, 0));
    client.replace_credentials(Credentials::Negotiate(Arc::new(Tickets(Ok(Vec::new()))))).unwrap();
    for _ in 0..3 {
        let error = client.server("x").ping().await.unwrap_err();
        assert_eq!(error.class(), Class::LoginRejected, "{error}");
        assert!(error.to_string().contains("the server does not take the ticket"), "{error}");
    }
    assert_eq!(wire.logins(), 1);
}

#[tokio::test]
async fn what_a_missing_ticket_means_goes_by_whose_fault_it_is() {
    let wire = Wire::start(|_, _| Act::Hang).await;
    let rows = [
        (NegotiateFault::Credentials, Class::LoginRejected),
        (NegotiateFault::Unavailable, Class::Unavailable),
        (NegotiateFault::Configuration, Class::Configuration),
        (NegotiateFault::Rejected(LoginRejected::WrongKey), Class::LoginRejected),
    ];
    for (fault, class) in rows {
        let client = wire.client();
        let none = Tickets(Err(NegotiateError::with_fault(fault, "a reason")));
        client.replace_credentials(Credentials::Negotiate(Arc::new(none))).unwrap();
        let error = client.server("x").ping().await.unwrap_err();
        assert_eq!((error.class(), error.outcome()), (class, Outcome::NotDone), "{error}");
        // Only what the KDC has refused is a rejection, after which nobody tries for a while.
        let is_rejected = matches!(client.service_login(), ServiceLogin::Rejected { .. });
        assert_eq!(is_rejected, matches!(fault, NegotiateFault::Rejected(_)), "{fault:?}");
        assert!(client.status().iter().all(|server| server.is_well), "no server was asked");
    }
    assert_eq!(wire.logins(), 0);
}
