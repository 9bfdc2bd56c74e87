//! Logins, sessions, and what stands before them.

use freeipa_double::{Fault, FaultRule, FreeIpaAction, FreeIpaDouble, Rights};
use reqwest::header::{CONTENT_TYPE, HOST, LOCATION, SET_COOKIE};
use serde_json::json;

use crate::client::{Caller, PASSWORD, SERVICE, config, double, service};

fn do_to(ipa: &FreeIpaDouble, action: FreeIpaAction) {
    ipa.apply(action).unwrap();
}

#[tokio::test]
async fn a_login_is_200_success_with_an_odd_cookie_and_no_body() {
    let ipa = double(Rights::registrar()).await;
    let reply = Caller::of(&ipa).log_in(SERVICE, PASSWORD).await;
    let cookie = reply.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("ipa_session=MagBearerToken="), "{cookie}");
    assert!(cookie.ends_with(";path=/ipa;httponly;secure;"), "{cookie}");
    assert!(cookie.contains("%2B") && cookie.contains("%3d"), "{cookie}");
    assert_eq!(reply.text().await.unwrap(), "");
}

#[tokio::test]
async fn the_reason_phrase_is_success() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let ipa = double(Rights::registrar()).await;
    let mut roots = rustls::RootCertStore::empty();
    let root = rustls::pki_types::pem::PemObject::from_pem_slice(ipa.ca_pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(ipa.address()).await.unwrap();
    let name = ipa.fqdn().to_owned().try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(client));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let body = format!("user={SERVICE}&password={PASSWORD}");
    let request = format!(
        "POST /ipa/session/login_password HTTP/1.1\r\nHost: {0}\r\nReferer: https://{0}/ipa\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {1}\r\nConnection: close\r\n\r\n{body}",
        ipa.fqdn(),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    // Whoever closes last need not say so.
    let _ = stream.read_to_string(&mut reply).await;
    assert!(reply.starts_with("HTTP/1.1 200 Success\r\n"), "{reply}");
}

#[tokio::test]
async fn six_wrong_passwords_lock_for_ten_minutes() {
    let ipa = double(Rights::registrar()).await;
    let mut caller = Caller::of(&ipa);
    for _ in 0..6 {
        assert!(caller.rejected(SERVICE, "guess").await.2.contains("Password incorrect"));
    }
    assert!(caller.rejected(SERVICE, PASSWORD).await.2.contains("revoked"), "the right one is of no use now");
    ipa.clock().advance(std::time::Duration::from_secs(599));
    assert!(caller.rejected(SERVICE, PASSWORD).await.2.contains("revoked"));
    ipa.clock().advance(std::time::Duration::from_secs(2));
    assert_eq!(caller.log_in(SERVICE, PASSWORD).await.status(), 200);
    assert_eq!(ipa.stats().logins, 9);
    assert_eq!(ipa.stats().logins_rejected["invalid-password"], 8);
}

#[tokio::test]
async fn a_wrong_password_counts_for_a_minute_and_a_right_one_ends_the_count() {
    let ipa = double(Rights::registrar()).await;
    let mut caller = Caller::of(&ipa);
    for _ in 0..3 {
        for _ in 0..5 {
            caller.rejected(SERVICE, "guess").await;
        }
        ipa.clock().advance(std::time::Duration::from_secs(61));
    }
    for _ in 0..2 {
        for _ in 0..5 {
            caller.rejected(SERVICE, "guess").await;
        }
        assert_eq!(caller.log_in(SERVICE, PASSWORD).await.status(), 200);
    }
}

#[tokio::test]
async fn forms_are_read_as_the_server_reads_them() {
    let ipa = double(Rights::registrar()).await;
    let caller = Caller::of(&ipa);
    let path = "/ipa/session/login_password";
    let page = async |request: reqwest::RequestBuilder| {
        let reply = request.send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    };
    let form = "application/x-www-form-urlencoded";
    for (body, why) in [
        ("user=svc&password=", "no password specified"),
        ("password=x", "no user specified"),
        ("user=a&user=b&password=x", "more than one user parameter"),
        ("user=a&password=x&password=y", "more than one password parameter"),
    ] {
        let (status, text) = page(caller.post(path).header(CONTENT_TYPE, form).body(body)).await;
        assert!(status == 400 && text.contains(why), "{body}: {text}");
    }
    let (status, text) = page(caller.post(path).json(&json!({"user": "a", "password": "b"}))).await;
    assert!(status == 400 && text.contains("Content-Type must be"), "{text}");
    let (status, _) = page(caller.get(path).header("Referer", format!("https://{}/ipa", ipa.fqdn()))).await;
    assert_eq!(status, 400);
    assert_eq!(ipa.stats().logins_accepted, 0);
}

#[tokio::test]
async fn a_principal_may_name_the_realm_in_any_case_and_an_alias() {
    let config =
        config(Rights::none()).account(freeipa_double::AccountSpec::new("anna", "Anna.12345").alias("annie"));
    let ipa = FreeIpaDouble::start(config).await.unwrap();
    let mut caller = Caller::of(&ipa);
    for user in ["anna", "anna@IPA.TEST", "anna@ipa.test", "annie"] {
        assert_eq!(caller.log_in(user, "Anna.12345").await.status(), 200, "{user}");
    }
    assert_eq!(caller.rejected("anna@OTHER.TEST", "Anna.12345").await.1, "invalid-password");
}

#[tokio::test]
async fn without_a_session_it_is_401_with_an_empty_body() {
    let (ipa, caller) = service(Rights::registrar()).await;
    let nobody = Caller::of(&ipa).request("ping", &json!([]), &json!({})).send().await.unwrap();
    assert_eq!(nobody.status(), 401);
    assert!(
        !nobody.headers().contains_key("x-ipa-rejection-reason")
            && !nobody.headers().contains_key(SET_COOKIE)
    );
    assert_eq!(nobody.text().await.unwrap(), "");

    ipa.clock().advance(std::time::Duration::from_hours(24));
    let late = caller.request("ping", &json!([]), &json!({})).send().await.unwrap();
    assert_eq!(late.status(), 401);
    assert_eq!(late.headers()[SET_COOKIE], "ipa_session=MagBearerToken=;path=/ipa;httponly;secure;");
    assert_eq!(late.text().await.unwrap(), "");
    assert_eq!(ipa.stats().without_session, 2);
}

#[tokio::test]
async fn sessions_end_all_at_once_or_at_one_call() {
    let (ipa, mut caller) = service(Rights::registrar()).await;
    let status = async |caller: &Caller| {
        caller.request("ping", &json!([]), &json!({})).send().await.unwrap().status().as_u16()
    };
    do_to(&ipa, FreeIpaAction::ExpireSessions);
    assert_eq!(status(&caller).await, 401);

    caller.log_in(SERVICE, PASSWORD).await;
    ipa.faults().arm(FaultRule::new("*", Fault::ExpireSessions).nth(3));
    assert_eq!(
        [status(&caller).await, status(&caller).await, status(&caller).await, status(&caller).await],
        [200, 200, 401, 401]
    );
}

#[tokio::test]
async fn a_session_is_of_one_server_and_ends_with_a_logout() {
    let (ipa, caller) = service(Rights::registrar()).await;
    let reply = caller.request("session_logout", &json!([]), &json!({})).send().await.unwrap();
    assert_eq!(reply.headers()[SET_COOKIE], "ipa_session=MagBearerToken=;path=/ipa;httponly;secure;");
    let after = caller.request("ping", &json!([]), &json!({})).send().await.unwrap();
    assert_eq!((after.status().as_u16(), ipa.stats().sessions), (401, 0));
}

#[tokio::test]
async fn outages_of_the_directory_and_of_kerberos_are_told_apart_by_those_who_have_a_session() {
    let (ipa, caller) = service(Rights::registrar()).await;
    let status =
        async || caller.request("ping", &json!([]), &json!({})).send().await.unwrap().status().as_u16();
    do_to(&ipa, FreeIpaAction::KdcDown { down: true });
    assert_eq!(status().await, 200, "tickets go on");
    do_to(&ipa, FreeIpaAction::LdapDown { down: true });
    let reply = caller.request("ping", &json!([]), &json!({})).send().await.unwrap();
    assert_eq!(reply.status(), 500);
    assert!(reply.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
    do_to(&ipa, FreeIpaAction::LdapDown { down: false });
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn an_account_that_was_disabled_or_is_gone_is_turned_away_in_its_session() {
    let (ipa, caller) = service(Rights::registrar()).await;
    do_to(&ipa, FreeIpaAction::SetDisabled { login: SERVICE.into(), disabled: true });
    let reply = caller.request("ping", &json!([]), &json!({})).send().await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["x-ipa-rejection-reason"]),
        (401, &"account disabled".parse().unwrap())
    );

    do_to(&ipa, FreeIpaAction::SetDisabled { login: SERVICE.into(), disabled: false });
    let admin = Caller::logged_in(&ipa, "admin", "Admin.12345").await;
    admin.ok("user_del", json!([[SERVICE]]), json!({})).await;
    let reply = caller.request("ping", &json!([]), &json!({})).send().await.unwrap();
    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["x-ipa-rejection-reason"]),
        (401, &"denied".parse().unwrap())
    );
}

#[tokio::test]
async fn the_referer_is_asked_for_before_anything_else() {
    let (ipa, caller) = service(Rights::registrar()).await;
    for path in
        ["/ipa/session/json", "/ipa/session/login_password", "/ipa/session/change_password", "/ipa/json"]
    {
        for referer in [
            None,
            Some("https://127.0.0.1/ipa"),
            Some("http://ipa.ipa.test/ipa"),
            Some("https://ipa.ipa.test/"),
        ] {
            let request = caller.bare(path).body("no JSON");
            let request =
                referer.into_iter().fold(request, |request, referer| request.header("Referer", referer));
            let reply = request.send().await.unwrap();
            assert_eq!(reply.status(), 400, "{path} {referer:?}");
            assert!(reply.text().await.unwrap().contains("denied"));
        }
    }
    assert_eq!(ipa.stats().bad_referers, 16);
    let longer = caller.bare("/ipa/session/json").header("Referer", "https://ipa.ipa.test/ipa/ui/x");
    assert_eq!(longer.json(&json!({})).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn whoever_comes_by_another_name_or_to_another_path_is_told() {
    let (ipa, caller) = service(Rights::registrar()).await;
    let alias = caller.post("/ipa/session/json").header(HOST, "alias.ipa.test").send().await.unwrap();
    assert_eq!(
        (alias.status().as_u16(), &alias.headers()[LOCATION]),
        (301, &"http://ipa.ipa.test/ipa/session/json".parse().unwrap())
    );
    assert_eq!(ipa.stats().redirected, 1);
    let wrong = caller.post("/ipa/sessions/json").json(&json!({})).send().await.unwrap();
    assert_eq!(wrong.status(), 404);
    assert!(wrong.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
    let ticket = caller.post("/ipa/session/login_kerberos").send().await.unwrap();
    assert_eq!(
        (ticket.status().as_u16(), &ticket.headers()["www-authenticate"]),
        (401, &"Negotiate".parse().unwrap())
    );
    let root = caller.get("/ipa/config/ca.crt").send().await.unwrap().text().await.unwrap();
    assert_eq!(root, ipa.ca_pem());
}

#[tokio::test]
async fn its_certificate_is_of_its_own_root_and_for_its_own_name() {
    let (ipa, other) = (double(Rights::none()).await, double(Rights::none()).await);
    let get = async |root: &FreeIpaDouble, host: &str| {
        let root = reqwest::Certificate::from_pem(root.ca_pem().as_bytes()).unwrap();
        let client =
            reqwest::Client::builder().tls_certs_only([root]).resolve(host, ipa.address()).no_proxy();
        let url = format!("https://{host}:{}/ipa/config/ca.crt", ipa.address().port());
        client.build().unwrap().get(url).send().await.is_ok()
    };
    assert!(get(&ipa, "ipa.ipa.test").await);
    assert!(!get(&other, "ipa.ipa.test").await, "another root");
    assert!(!get(&ipa, "alias.ipa.test").await, "another name");
}

#[tokio::test]
async fn logins_fail_in_other_ways_too() {
    let ipa = double(Rights::registrar()).await;
    let mut caller = Caller::of(&ipa);
    ipa.faults().arm(FaultRule::new("login", Fault::Http503));
    assert_eq!(caller.log_in(SERVICE, PASSWORD).await.status(), 503);
    ipa.faults().arm(FaultRule::new("login", Fault::DropBeforeCommit));
    let form = [("user", SERVICE), ("password", PASSWORD)];
    assert!(caller.post("/ipa/session/login_password").form(&form).send().await.is_err());
    assert_eq!(caller.log_in(SERVICE, PASSWORD).await.status(), 200);
}
