//! Several clients of one account, which know together what came of their logins.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use freeipa_client::secrecy::ExposeSecret as _;
use freeipa_client::{
    Cause, Class, Client, Credentials, EarlierRefusal, LoginAttempt, LoginError, LoginGuard, LoginLeave,
    LoginRejected, LoginUnavailable, LoginVerdict, ServiceLogin,
};
use freeipa_double::{Fault, FaultRule, FreeIpaAction, FreeIpaDouble, Rights};

use crate::support::{PASSWORD, SERVICE, double, settings};

/// Remembers refused passwords, and what it was told.
#[derive(Debug, Default)]
struct Shared {
    refused: Mutex<Vec<String>>,
    told: Mutex<Vec<(String, LoginVerdict)>>,
    answer: Mutex<Option<LoginLeave>>,
}

#[async_trait::async_trait]
impl LoginGuard for Shared {
    async fn admit(&self, attempt: &LoginAttempt) -> LoginLeave {
        if let Some(answer) = &*self.answer.lock().unwrap() {
            return answer.clone();
        }
        if self.refused.lock().unwrap().iter().any(|password| password == attempt.password.expose_secret()) {
            return LoginLeave::Refused(earlier());
        }
        LoginLeave::Go { ticket: format!("of {}", attempt.login) }
    }

    async fn settle(&self, attempt: &LoginAttempt, ticket: &str, verdict: LoginVerdict) {
        if matches!(verdict, LoginVerdict::Rejected { .. }) {
            self.refused.lock().unwrap().push(attempt.password.expose_secret().to_owned());
        }
        self.told.lock().unwrap().push((ticket.to_owned(), verdict));
    }
}

fn earlier() -> EarlierRefusal {
    EarlierRefusal {
        why: LoginRejected::WrongPassword,
        by: "node1:4711".to_owned(),
        ago: Duration::from_mins(3),
        wait: Duration::from_mins(7),
    }
}

fn client(ipa: &FreeIpaDouble, guard: &Arc<Shared>, password: &str) -> Client {
    let guard: Arc<dyn LoginGuard> = guard.clone();
    let client = Client::new(&settings(ipa).timeout(Duration::from_secs(6)).login_guard(guard)).unwrap();
    client.replace_credentials(Credentials::password(SERVICE, password)).unwrap();
    client
}

#[tokio::test]
async fn what_one_was_refused_with_the_others_do_not_try() {
    let (ipa, guard) = (double(Rights::registrar()).await, Arc::new(Shared::default()));
    let first = client(&ipa, &guard, "wrong");
    first.server("x").ping().await.unwrap_err();
    for _ in 0..5 {
        let other = client(&ipa, &guard, "wrong");
        for _ in 0..3 {
            let error = other.server("x").ping().await.unwrap_err();
            assert_eq!(error.class(), Class::LoginRejected);
            assert!(
                matches!(error.cause(), Cause::Login(LoginError::RejectedEarlier(seen)) if *seen == earlier())
            );
        }
        let ServiceLogin::Rejected { why, since, next_attempt } = other.service_login() else {
            panic!("it stands as rejected")
        };
        assert_eq!(why, LoginRejected::WrongPassword);
        assert!(next_attempt.duration_since(since).unwrap().as_secs().abs_diff(600) <= 1);
    }
    assert_eq!(ipa.stats().logins, 1);
    client(&ipa, &guard, PASSWORD).server("x").ping().await.unwrap();
    assert_eq!(ipa.stats().logins, 2, "another password is tried at once");
}

#[tokio::test]
async fn the_guard_hears_what_came_of_each_attempt() {
    let (ipa, guard) = (double(Rights::registrar()).await, Arc::new(Shared::default()));
    let told = || std::mem::take(&mut *guard.told.lock().unwrap());
    ipa.apply(FreeIpaAction::KdcDown { down: true }).unwrap();
    client(&ipa, &guard, PASSWORD).server("x").ping().await.unwrap_err();
    ipa.apply(FreeIpaAction::KdcDown { down: false }).unwrap();
    let ticket = || format!("of {SERVICE}");
    assert_eq!(told(), [(ticket(), LoginVerdict::Nothing)]);
    client(&ipa, &guard, PASSWORD).server("x").ping().await.unwrap();
    assert_eq!(told(), [(ticket(), LoginVerdict::Accepted)]);
    for fault in [Fault::Commit500, Fault::CommitThenDrop, Fault::CommitThenHalf] {
        ipa.faults().arm(FaultRule::new("login", fault.clone()));
        client(&ipa, &guard, "wrong too").server("x").ping().await.unwrap_err();
        assert_eq!(told(), [(ticket(), LoginVerdict::Unclear)], "{fault:?}");
    }
    client(&ipa, &guard, "wrong").server("x").ping().await.unwrap_err();
    let [(_, LoginVerdict::Rejected { why, wait })] = told()[..] else { panic!("it was rejected") };
    assert_eq!(why, LoginRejected::WrongPassword);
    assert!(wait > Duration::from_mins(9) && wait <= Duration::from_mins(10), "{wait:?}");
}

#[tokio::test]
async fn who_has_to_wait_waits_no_longer_than_a_call_may_take() {
    let (ipa, guard) = (double(Rights::registrar()).await, Arc::new(Shared::default()));
    *guard.answer.lock().unwrap() = Some(LoginLeave::Busy);
    let error = client(&ipa, &guard, PASSWORD).server("x").ping().await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable, "{error}");
    let busy = matches!(
        error.cause(),
        Cause::NoTurn | Cause::Login(LoginError::Unavailable(LoginUnavailable::Busy))
    );
    assert!(busy, "{error}");

    *guard.answer.lock().unwrap() = Some(LoginLeave::Busy);
    let waiting = client(&ipa, &guard, PASSWORD);
    let call = tokio::spawn(async move { waiting.server("x").ping().await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    *guard.answer.lock().unwrap() = None;
    call.await.unwrap().unwrap();

    *guard.answer.lock().unwrap() = Some(LoginLeave::Spent { wait: Duration::from_mins(5) });
    let error = client(&ipa, &guard, PASSWORD).server("x").ping().await.unwrap_err();
    assert_eq!(error.class(), Class::LoginRejected, "{error}");
    assert!(error.to_string().contains("5 min"), "{error}");

    *guard.answer.lock().unwrap() = Some(LoginLeave::Unclear { wait: Duration::from_mins(2) });
    let error = client(&ipa, &guard, PASSWORD).server("x").ping().await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable, "{error}");
    assert!(error.to_string().contains("2 min"), "{error}");
    assert_eq!(ipa.stats().logins, 1);
}
