//! What must be seen nowhere.

use std::io;
use std::sync::{Arc, Mutex};

use freeipa_client::secrecy::ExposeSecret;
use freeipa_client::{Credentials, Needs, NewUser};
use freeipa_double::{Fault, FaultRule, FreeIpaAction};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{GROUP, PASSWORD, client, login, registrar};

/// All that anybody logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn neither_logs_nor_errors_nor_debug_show_a_secret_or_a_person() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone());
    // For this thread, on which the runtime of this test runs.
    let guard = tracing::subscriber::set_default(subscriber.finish());
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
    drop(guard);

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("the service account was rejected"), "the log is heard: {logged}");
    for (place, text) in [("the log", logged), ("what is shown", shown)] {
        for hidden in [PASSWORD, "Secret.123", password.expose_secret(), "MagBearerToken", "Hidden", "hidden"]
        {
            // The fields' own names tell nothing.
            assert!(!text.contains(hidden), "{place} shows {hidden}: {text}");
        }
    }
}
