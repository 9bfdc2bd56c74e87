//! What a registrar does with it, from the login to the password.

use freeipa_double::{Change, Rights};
use serde_json::json;

use crate::client::{Caller, service};

#[tokio::test]
async fn a_registrar_creates_a_user_puts_it_into_its_group_and_gives_it_a_password() {
    let (ipa, registrar) = service(Rights::registrar()).await;
    let names =
        json!({"givenname": "Борис", "sn": "Петров", "userclass": ["tgreg:1"], "mail": "b@example.org"});
    let added = registrar.ok("user_add", json!(["tg.boris"]), names).await;
    assert_eq!(added["value"], "tg.boris");
    assert_eq!(added["summary"], "Added user \"tg.boris\"");
    assert_eq!(added["result"]["memberof_group"], json!(["ipausers"]));
    assert_eq!(added["result"]["has_password"], false);
    assert!(added["result"].get("randompassword").is_none(), "nobody asked for one");

    let shown = registrar.ok("user_show", json!(["tg.boris"]), json!({})).await;
    assert_eq!(shown["result"]["userclass"], json!(["tgreg:1"]));
    assert_eq!(shown["result"]["nsaccountlock"], false);

    let joined = registrar.ok("group_add_member", json!(["tg-users"]), json!({"user": ["tg.boris"]})).await;
    assert_eq!(joined["completed"], 1);

    let modified = registrar.ok("user_mod", json!(["tg.boris"]), json!({"random": true})).await;
    let first = modified["result"]["randompassword"].as_str().unwrap().to_owned();
    let modified = registrar.ok("user_mod", json!(["tg.boris"]), json!({"random": true})).await;
    let second = modified["result"]["randompassword"].as_str().unwrap().to_owned();
    assert_eq!((first.len(), second.len()), (22, 22));
    assert!(
        !ipa.has_password("tg.boris", &first) && ipa.has_password("tg.boris", &second),
        "each replaces the former"
    );

    let (status, reason, text) = Caller::of(&ipa).rejected("tg.boris", &second).await;
    assert_eq!(
        (status, reason.as_str()),
        (401, "password-expired"),
        "a temporary password has to be changed first"
    );
    assert!(text.contains("Cannot read password"), "{text}");

    let directory = ipa.directory();
    assert_eq!(directory.created(), ["tg.boris"]);
    assert_eq!(directory.times(&Change::PasswordSet, "tg.boris"), 2);
    assert_eq!(directory.group("tg-users").unwrap().users, ["tg.boris"]);
    assert_eq!(directory.user("tg.boris").unwrap().groups, ["ipausers", "tg-users"]);
}

#[tokio::test]
async fn the_owner_changes_the_temporary_password_and_logs_in() {
    let (ipa, registrar) = service(Rights::registrar()).await;
    registrar.add("boris").await;
    let modified = registrar.ok("user_mod", json!(["boris"]), json!({"random": true})).await;
    let temporary = modified["result"]["randompassword"].as_str().unwrap();

    let change = |old: String, new: &'static str| {
        let form = [("user", "boris".to_owned()), ("old_password", old), ("new_password", new.to_owned())];
        registrar.post("/ipa/session/change_password").form(&form).send()
    };
    let result =
        |reply: &reqwest::Response| reply.headers()["x-ipa-pwchange-result"].to_str().unwrap().to_owned();
    let wrong = change("guess".to_owned(), "My.own.password.1").await.unwrap();
    assert_eq!((wrong.status().as_u16(), result(&wrong).as_str()), (200, "invalid-password"));
    let short = change(temporary.to_owned(), "short").await.unwrap();
    assert_eq!(result(&short), "policy-error");
    assert!(short.headers().contains_key("x-ipa-pwchange-policy-error"));
    let fine = change(temporary.to_owned(), "My.own.password.1").await.unwrap();
    assert_eq!(result(&fine), "ok");

    let boris = Caller::logged_in(&ipa, "boris", "My.own.password.1").await;
    let whoami = boris.ok("whoami", json!([]), json!({})).await;
    assert_eq!(whoami["arguments"], json!(["boris"]));
}
