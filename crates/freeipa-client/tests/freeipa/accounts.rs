//! An account, from nothing to its end.

use freeipa_client::{Batch, Class, Command, Deletion, Membership, UserChanges, secrecy::ExposeSecret};
use freeipa_double::{Change, Rights};

use crate::support::{GROUP, anna, client, double, login, registrar};

#[tokio::test]
async fn a_registration_becomes_an_account() {
    let (ipa, client) = registrar().await;
    let user = client.user_add(&anna().mail("anna@example.org").phone("+7 999 000 11 22")).await.unwrap();
    assert_eq!(user.login().unwrap(), login("anna"));
    assert_eq!((user.first_name(), user.last_name()), (Some("Анна"), Some("Петрова")));
    assert!(user.uid_number().unwrap() > 0 && user.has_password() == Some(false));
    for expected in [Membership::Added, Membership::AlreadyMember] {
        assert_eq!(client.group_add_member(GROUP, &login("anna")).await.unwrap(), expected);
    }
    let first = client.user_reset_password(&login("anna")).await.unwrap();
    let second = client.user_reset_password(&login("anna")).await.unwrap();
    assert!(!ipa.has_password("anna", first.expose_secret()), "each one invalidates the one before");
    assert!(ipa.has_password("anna", second.expose_secret()));
    let user = client.user_show(&login("anna")).await.unwrap();
    assert!(user.has_class("reg:1") && user.is_member_of(GROUP) && user.is_member_of("ipausers"));
    assert_eq!((user.has_password(), user.is_disabled(), user.is_preserved()), (Some(true), false, false));
    assert_eq!(user.mail(), ["anna@example.org"]);
    let group = client.group_show(GROUP).await.unwrap();
    assert!(group.has_user(&login("anna")) && group.name() == Some(GROUP));
    assert_eq!(ipa.directory().times(&Change::Created, "anna"), 1);
}

#[tokio::test]
async fn who_has_an_attribute_is_found_to_the_letter() {
    let (_ipa, client) = registrar().await;
    client.user_add(&anna().mail("anna@example.org")).await.unwrap();
    client
        .user_add(&freeipa_client::NewUser::new(login("annabel"), "A", "B").user_class("reg:11"))
        .await
        .unwrap();
    let logins = |found: freeipa_client::Found| -> Vec<String> {
        found.users.iter().map(|user| user.login().unwrap().to_string()).collect()
    };
    assert_eq!(logins(client.user_find("userclass", "reg:1", 10).await.unwrap()), ["anna"]);
    assert_eq!(logins(client.user_find("mail", "ANNA@example.org", 10).await.unwrap()), ["anna"]);
    for none in ["reg:*", "reg", "reg:2"] {
        assert!(client.user_find("userclass", none, 10).await.unwrap().users.is_empty(), "{none}");
    }
    let some = client.user_find("sn", "B", 1).await.unwrap();
    assert_eq!((some.users.len(), some.is_truncated), (1, false));
}

#[tokio::test]
async fn what_is_so_already_is_told_and_no_error() {
    let ipa = double(Rights::admin()).await;
    let client = client(&ipa).server("x");
    client.user_add(&anna()).await.unwrap();
    let anna = login("anna");
    assert!(client.user_disable(&anna).await.unwrap());
    assert!(!client.user_disable(&anna).await.unwrap());
    assert!(client.user_show(&anna).await.unwrap().is_disabled());
    let changes = UserChanges::new().set("title", "Dr.");
    assert_eq!(client.user_mod(&anna, &changes).await.unwrap().unwrap().text("title"), Some("Dr."));
    assert_eq!(client.user_mod(&anna, &changes).await.unwrap(), None);
    client.user_mod(&anna, &UserChanges::new().clear("title")).await.unwrap();
    assert_eq!(client.user_show(&anna).await.unwrap().text("title"), None);
}

#[tokio::test]
async fn a_preserved_user_is_still_there_and_a_deleted_one_is_not() {
    let ipa = double(Rights::admin()).await;
    let client = client(&ipa).server("x");
    client.user_add(&anna()).await.unwrap();
    client.user_del(&login("anna"), Deletion::Preserve).await.unwrap();
    assert!(client.user_show(&login("anna")).await.unwrap().is_preserved());
    assert_eq!(client.user_add(&anna()).await.unwrap_err().class(), Class::Exists);
    client.user_del(&login("anna"), Deletion::ForGood).await.unwrap();
    assert_eq!(client.user_show(&login("anna")).await.unwrap_err().class(), Class::NotFound);
    assert_eq!(
        client.user_del(&login("anna"), Deletion::ForGood).await.unwrap_err().class(),
        Class::NotFound
    );
}

#[tokio::test]
async fn the_server_tells_what_it_is() {
    let (_ipa, client) = registrar().await;
    let info = client.ping().await.unwrap();
    assert_eq!((info.version.as_deref(), info.api_version.as_deref()), (Some("4.12.4"), Some("2.254")));
    assert_eq!(info.principal.as_deref(), Some("svc-registrar@EXAMPLE.TEST"));
    let config = client.config_show().await.unwrap();
    assert_eq!(config.max_username_length(), Some(32));
    assert_eq!(config.default_mail_domain(), Some("example.test"));
    assert_eq!(config.default_group(), Some("ipausers"));
}

#[tokio::test]
async fn several_reads_are_one_call() {
    let (ipa, client) = registrar().await;
    client.user_add(&anna()).await.unwrap();
    let mut batch = Batch::new();
    for name in ["anna", "ghost"] {
        batch.push(Command::read("user_show").argument(name)).unwrap();
    }
    batch.push(Command::read("group_show").argument(GROUP)).unwrap();
    let results = client.batch(&batch).await.unwrap();
    assert_eq!(results[0].as_ref().unwrap().entry().unwrap().text("uid"), Some("anna"));
    let error = results[1].as_ref().unwrap_err();
    assert_eq!((error.class(), error.command()), (Class::NotFound, "user_show"));
    assert!(results[2].is_ok());
    assert_eq!(ipa.stats().calls_of("batch"), 1);
    assert!(client.batch(&Batch::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn many_at_once_never_ask_more_than_the_server_can_do() {
    let (ipa, client) = registrar().await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..40 {
        let client = client.clone();
        calls.spawn(async move {
            let user = freeipa_client::NewUser::new(login(&format!("user{number}")), "A", "B");
            client.user_add(&user).await.map(|_| ())
        });
    }
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    let stats = ipa.stats();
    assert!(stats.in_flight_most <= 4, "{}", stats.in_flight_most);
    assert_eq!((stats.logins, ipa.directory().created().len()), (1, 40));
}
