//! What is sent, and how a session lives.

use std::time::Duration;

use freeipa_client::{Cause, Class, Command, NewUser, Outcome};

use crate::support::{Act, NAME, PASSWORD, Wire, fault, logged_in, no_session, refused, result, user};

const TOKEN: &str = "AAB%2bc%2F+/9%3d%3d=";

#[tokio::test]
async fn what_is_sent_is_what_the_server_wants_to_see() {
    let wire =
        Wire::start(|seen, _| if seen.is_login() { logged_in(TOKEN) } else { user("anna") }.into()).await;
    let ipa = wire.client().server("x");
    let login = "Anna".parse().unwrap();
    for _ in 0..2 {
        assert_eq!(ipa.user_show(&login).await.unwrap().login().unwrap().as_str(), "anna");
    }
    let seen = wire.seen();
    let paths: Vec<&str> = seen.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, ["/ipa/session/login_password", "/ipa/session/json", "/ipa/session/json"]);
    for seen in &seen {
        assert_eq!(seen.header("host"), Some(NAME), "without a port, or the server sends elsewhere");
        assert_eq!(seen.header("referer"), Some(format!("https://{NAME}/ipa").as_str()));
        assert_eq!(seen.header("accept-language"), None, "it would change the texts");
    }
    assert_eq!(seen[0].header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(seen[0].body, "user=svc&password=S3cret+%26+%2B+%25+password");
    assert_eq!(seen[1].header("cookie"), Some(format!("ipa_session=MagBearerToken={TOKEN}").as_str()));
    assert_eq!(seen[1].header("content-type"), Some("application/json"));
    assert_eq!(
        seen[1].body,
        r#"{"id":0,"method":"user_show","params":[["anna"],{"all":true,"version":"2.251"}]}"#
    );
}

#[tokio::test]
async fn a_session_that_is_forgotten_is_made_again_also_for_a_write() {
    let wire = Wire::start(|seen, nth| match (seen.is_login(), nth) {
        (true, nth) => logged_in(&format!("token{nth}")).into(),
        (false, 1) => no_session().into(),
        (false, _) => user("anna").into(),
    })
    .await;
    let ipa = wire.client().server("x");
    let login = "anna".parse().unwrap();
    ipa.user_show(&login).await.unwrap();
    ipa.user_add(&NewUser::new(login, "Anna", "Petrova")).await.unwrap();
    assert_eq!((wire.logins(), wire.calls("user_add")), (2, 2));
    let last = wire.seen().pop().unwrap();
    assert_eq!(last.header("cookie"), Some("ipa_session=MagBearerToken=token1"));
}

#[tokio::test]
async fn many_who_find_it_forgotten_make_one() {
    let wire = Wire::start(|seen, nth| match (seen.is_login(), seen.header("cookie").unwrap_or_default()) {
        (true, _) => Act::AnswerAfter(Duration::from_millis(50), logged_in(&format!("token{nth}"))),
        (false, cookie) if cookie.ends_with("token0") && nth > 0 => no_session().into(),
        (false, _) => user("anna").into(),
    })
    .await;
    let ipa = wire.client().server("x");
    ipa.ping().await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let ipa = ipa.clone();
        calls.spawn(async move { ipa.user_show(&"anna".parse().unwrap()).await.map(|_| ()) });
    }
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    assert_eq!(wire.logins(), 2);
    assert!(wire.most_at_once() <= 4, "{}", wire.most_at_once());
}

#[tokio::test]
async fn a_session_that_is_refused_at_once_is_not_made_for_ever() {
    let wire =
        Wire::start(|seen, _| if seen.is_login() { logged_in("x") } else { no_session() }.into()).await;
    let error = wire.client().server("x").user_disable(&"anna".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::SessionRefused), "{error}");
    assert_eq!((error.class(), error.outcome()), (Class::Unavailable, Outcome::NotDone));
    assert_eq!((wire.logins(), wire.calls("user_disable")), (2, 2));
}

#[tokio::test]
async fn an_account_that_is_refused_does_not_log_in_again() {
    let wire =
        Wire::start(|seen, _| if seen.is_login() { logged_in("x") } else { refused("denied", "no") }.into())
            .await;
    let ipa = wire.client().server("x");
    for _ in 0..3 {
        let error = ipa.ping().await.unwrap_err();
        assert!(matches!(error.cause(), Cause::SessionDenied { reason } if reason == "denied"), "{error}");
        assert_eq!(error.class(), Class::LoginRejected);
    }
    assert_eq!(wire.logins(), 1);
}

#[tokio::test]
async fn a_ticket_that_ran_out_costs_a_read_a_login_and_a_write_an_error() {
    let wire = Wire::start(|seen, nth| match (seen.is_login(), nth) {
        (true, _) => logged_in("x").into(),
        (false, 0 | 2) => fault(1104, "TicketExpired", "Ticket expired").into(),
        (false, _) => user("anna").into(),
    })
    .await;
    let ipa = wire.client().server("x");
    let login = "anna".parse().unwrap();
    ipa.user_show(&login).await.unwrap();
    assert_eq!(wire.logins(), 2);
    let error = ipa.user_reset_password(&login).await.unwrap_err();
    assert_eq!((error.class(), error.outcome()), (Class::Session, Outcome::Unknown));
    ipa.user_show(&login).await.unwrap();
    assert_eq!((wire.logins(), wire.calls("user_mod")), (3, 1));
}

#[tokio::test]
async fn a_server_may_renew_the_session_and_end_it() {
    let with_cookie = |value: &str| {
        let answer = String::from_utf8(user("anna")).unwrap();
        let header =
            format!("\r\nSet-Cookie: ipa_session=MagBearerToken={value};path=/ipa;httponly;secure;\r\n");
        answer.replacen("\r\n", &header, 1).into_bytes()
    };
    let wire = Wire::start(move |seen, nth| match (seen.is_login(), nth) {
        (true, _) => logged_in("first").into(),
        (false, 0) => with_cookie("second").into(),
        (false, 1) => with_cookie("").into(),
        (false, _) => user("anna").into(),
    })
    .await;
    let ipa = wire.client().server("x");
    for _ in 0..3 {
        ipa.ping().await.unwrap();
    }
    let cookies: Vec<_> =
        wire.seen().iter().filter_map(|seen| seen.header("cookie").map(str::to_owned)).collect();
    let of = |token: &str| format!("ipa_session=MagBearerToken={token}");
    assert_eq!(cookies, [of("first"), of("second"), of("first")]);
}

#[tokio::test]
async fn closing_ends_the_session_and_the_client() {
    let wire = Wire::start(|seen, _| match seen.method().as_deref() {
        None => logged_in(TOKEN).into(),
        Some("session_logout") => result(r#"{"result":null}"#).into(),
        Some(_) => Act::AnswerAfter(Duration::from_millis(100), user("anna")),
    })
    .await;
    let client = wire.client();
    let ipa = client.server("x");
    let begun = tokio::spawn({
        let ipa = ipa.clone();
        async move { ipa.ping().await }
    });
    while wire.calls("ping") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.close().await;
    assert!(begun.await.unwrap().is_ok(), "who has begun is waited for");
    let last = wire.seen().pop().unwrap();
    assert_eq!(last.method().as_deref(), Some("session_logout"));
    assert_eq!(last.header("cookie"), Some(format!("ipa_session=MagBearerToken={TOKEN}").as_str()));
    let error = ipa.call(&Command::read("ping")).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Closed), "{error}");
    client.close().await;
    assert_eq!(wire.calls("session_logout"), 1);
    assert!(!format!("{client:?}").contains(PASSWORD) && !format!("{client:?}").contains(TOKEN));
}
