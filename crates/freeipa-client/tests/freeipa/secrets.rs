//! What must be seen nowhere.

use std::io;
use std::sync::Mutex;

use freeipa_client::secrecy::ExposeSecret;
use freeipa_client::{Credentials, Needs, NewUser};
use freeipa_double::{Fault, FaultRule, FreeIpaAction};

use crate::support::{GROUP, PASSWORD, client, login, registrar};

static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// What all tests of this program log: a subscriber of one thread alone would now and then miss what another thread was the first to
/// come by.
#[derive(Clone, Copy)]
struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_logs_nor_errors_nor_debug_show_a_secret_or_a_person() {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(|| Log);
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    let (ipa, _) = registrar().await;
    let client = client(&ipa);
    let ipa_client = client.server("x");
    let user = NewUser::new(login("hiddenlogin"), "Hiddenfirst", "Hiddenlast").mail("hidden@mail.example");
    let mut shown = format!("{client:?} {user:?}");
    let mut note = |text: String| shown.push_str(&text);

    note(format!("{:?}", ipa_client.user_add(&user).await));
    let again = ipa_client.user_add(&user).await.unwrap_err();
    note(format!("{again} {again:?} {:?}", again.fault()));
    let password = ipa_client.user_reset_password(&login("hiddenlogin")).await.unwrap();
    note(format!("{password:?} {:?}", ipa_client.user_show(&login("hiddenlogin")).await));
    note(format!("{:?}", ipa_client.group_add_member("others", &login("hiddenlogin")).await));
    ipa.faults().arm(FaultRule::new("user_show", Fault::Deny));
    note(format!("{:?}", ipa_client.user_show(&login("hiddenlogin")).await));
    note(format!("{:?}", client.check(&Needs::new().group(GROUP)).await));
    client.replace_credentials(Credentials::password("svc-registrar", "Hiddenwrong")).unwrap();
    note(format!("{:?}", client.server("x").ping().await));
    ipa.apply(FreeIpaAction::ExpireSessions).unwrap();
    client.close().await;

    let logged = String::from_utf8_lossy(&LOGGED.lock().unwrap()).into_owned();
    assert!(logged.contains("the service account was rejected"), "the log is heard: {logged}");
    for (place, text) in [("the log", logged), ("what is shown", shown)] {
        for hidden in [PASSWORD, "Secret.123", password.expose_secret(), "MagBearerToken", "Hidden", "hidden"]
        {
            // The fields' own names tell nothing.
            assert!(!text.contains(hidden), "{place} shows {hidden}: {text}");
        }
    }
}
