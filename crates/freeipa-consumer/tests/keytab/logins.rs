//! Logins that go well.

use crate::realm::{REALM, SERVICE};
use crate::scene::{Scene, check, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_keytab_logs_in_and_its_session_serves_calls() {
    let Some(scene) = Scene::start().await else { return };
    let keytab = scene.realm.path("service.keytab");
    let findings = scene.check(&keytab).await;
    let service = format!("{SERVICE}@{REALM}");
    assert_eq!(findings.of("login"), ("good".to_owned(), format!("login: logged in as {service}; ")));
    assert_eq!(findings.of("right").0, "good", "a service's rights are looked up as such: {}", findings.0);
    // One login with Kerberos; every call after it with the cookie, as the same.
    assert_eq!(scene.site.logins(), 1);
    let calls = scene.site.calls();
    assert!(calls.iter().any(|(method, _)| method == "service_show"), "{calls:?}");
    assert!(calls.iter().all(|(_, principal)| *principal == service), "{calls:?}");
    assert_eq!(calls.last().unwrap().0, "session_logout");
    // One ticket for the server: SPNEGO takes the one that Kerberos has got.
    assert_eq!(scene.realm.log().matches("TGS_REQ").count(), 1, "{}", scene.realm.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_says_whose_key_is_used() {
    let Some(scene) = Scene::start().await else { return };
    let keytab = scene.realm.path("service.keytab");
    // Behind the other one in the same file.
    scene.realm.export("svc-registrar", "service.keytab");
    for (principal, seen) in
        [("svc-registrar", "svc-registrar"), ("registrar/app.example.test@EXAMPLE.TEST", SERVICE)]
    {
        let login = format!("{}\nprincipal = \"{principal}\"", with(&keytab));
        let findings = check(scene.consumer(&login)).await;
        assert_eq!(findings.of("login").1, format!("login: logged in as {seen}@{REALM}; "));
    }
    let methods: Vec<String> = scene.site.calls().into_iter().map(|(method, _)| method).collect();
    assert!(methods.contains(&"user_show".to_owned()) && methods.contains(&"service_show".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_give_the_tokens() {
    let Some(scene) = Scene::start().await else { return };
    let script = scene.realm.path("token");
    // The helper of our own keytab login does what such a program does.
    let text = format!(
        "FREEIPA_CLIENT_TOKEN_FOR=$1 KRB5_CLIENT_KTNAME={} KRB5CCNAME=MEMORY: {} | cut -d' ' -f2\n",
        scene.realm.path("service.keytab").display(),
        env!("CARGO_BIN_EXE_freeipa-consumer"),
    );
    std::fs::write(&script, text).unwrap();
    let login = format!("token_command = [\"sh\", \"{}\"]", script.display());
    let findings = check(scene.consumer(&login)).await;
    assert_eq!(findings.of("login").1, format!("login: logged in as {SERVICE}@{REALM}; "));

    std::fs::write(&script, "exit 75\n").unwrap();
    check(scene.consumer(&login)).await.assert_no_login(&["exit status: 75", "ipactl status"]);
}
