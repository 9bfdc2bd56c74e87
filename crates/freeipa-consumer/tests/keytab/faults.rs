//! What may be wrong with a keytab, an account and a set-up: each is named, with what helps.

use std::path::Path;

use crate::realm::{SERVICE, STRANGER};
use crate::scene::{Scene, check, with};

#[tokio::test(flavor = "multi_thread")]
async fn what_the_kdc_refuses_is_a_rejected_login() {
    let Some(scene) = Scene::start().await else { return };
    let (realm, keytab) = (&scene.realm, scene.realm.path("service.keytab"));
    realm.administer(&format!("modprinc -allow_tix {SERVICE}"));
    scene.check(&keytab).await.assert_no_login(&["the account is disabled, or locked", "ipa user-enable"]);
    realm.administer(&format!("modprinc +allow_tix -expire yesterday {SERVICE}"));
    scene.check(&keytab).await.assert_no_login(&["the account has expired", "--principal-expiration"]);
    realm.administer(&format!("modprinc -expire never {SERVICE}"));

    // Fetched anew elsewhere, which makes this one void.
    realm.export(SERVICE, "elsewhere.keytab");
    let before = realm.log().matches("PREAUTH_FAILED").count();
    let findings = scene.check(&keytab).await;
    findings.assert_no_login(&["the keytab has an old key", "the next attempt is in", "ipa-getkeytab -p"]);
    assert_eq!(realm.log().matches("PREAUTH_FAILED").count() - before, 1, "once: six lock an account");

    realm.administer(&format!("delprinc -force {SERVICE}"));
    scene.check(&keytab).await.assert_no_login(&["no such account", "ipa service-add"]);
    assert_eq!(scene.site.logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keytab_that_is_of_no_use_is_named() {
    let Some(scene) = Scene::start().await else { return };
    let missing = scene.realm.path("missing.keytab");
    let name = missing.display().to_string();
    scene.check(&missing).await.assert_no_login(&[&name, "there is no such file", "ipa-getkeytab"]);
    scene.check(&scene.realm.config()).await.assert_no_login(&["krb5.conf: it is no keytab"]);
    let login = format!("{}\nprincipal = \"svc-registrar\"", with(&scene.realm.path("service.keytab")));
    check(scene.consumer(&login)).await.assert_no_login(&["no key of this account", "klist -k"]);
    assert!(!scene.realm.log().contains("svc-registrar"), "nobody is asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_set_up_is_named() {
    let Some(scene) = Scene::start().await else { return };
    let keytab = scene.realm.path("service.keytab");
    let findings = check(scene.consumer_at(STRANGER, &with(&keytab))).await;
    findings.assert_no_login(&["HTTP/stranger.example.test@EXAMPLE.TEST not found", "kvno HTTP/SERVER"]);

    let mut consumer = scene.consumer(&with(&keytab));
    consumer.env("KRB5_CONFIG", scene.realm.path("nowhere.conf"));
    check(consumer).await.assert_no_login(&["/etc/krb5.conf has to name the realm", "kvno HTTP/SERVER"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_the_server_does_not_take_is_named() {
    let Some(scene) = Scene::start().await else { return };
    // A new key, of which the server does not hear.
    scene.realm.export("HTTP/ipa.example.test", "elsewhere.keytab");
    let findings = scene.check(&scene.realm.path("service.keytab")).await;
    findings.assert_no_login(&["the server does not take the ticket", "clocks", "httpd error log"]);
    assert_eq!(scene.site.logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_do_not_agree_are_named() {
    let Some(faketime) = valkey_testkit::libfaketime() else {
        valkey_testkit::skipped("libfaketime is not installed");
        return;
    };
    let Some(scene) = Scene::start().await else { return };
    let late = |config: &Path| {
        let mut consumer = scene.consumer(&with(&scene.realm.path("service.keytab")));
        consumer.env("LD_PRELOAD", &faketime).env("FAKETIME", "-1h").env("KRB5_CONFIG", config);
        consumer
    };
    // Kerberos goes by the KDC's clock, unless it is told not to.
    assert_eq!(check(late(&scene.realm.config())).await.of("login").0, "good");
    let text = std::fs::read_to_string(scene.realm.config()).unwrap();
    let strict = scene.realm.path("strict.conf");
    std::fs::write(&strict, text.replace("[libdefaults]", "[libdefaults]\n kdc_timesync = 0")).unwrap();
    check(late(&strict)).await.assert_no_login(&["more than 5 minutes apart", "kvno HTTP/SERVER"]);
}
