//! What the server has against a call.

use freeipa_client::{Class, Command, Membership, NewUser, Outcome};
use freeipa_double::{AccountSpec, FreeIpaAction, FreeIpaDouble, Right, Rights};
use serde_json::json;

use crate::support::{GROUP, anna, client, config, double, login, registrar};

#[tokio::test]
async fn what_is_not_acceptable_is_told_with_its_attribute() {
    let (_ipa, client) = registrar().await;
    let rows = [
        (NewUser::new(login("a"), " Anna", "P"), "givenname"),
        (NewUser::new(login("a"), "Anna", "P "), "sn"),
        (NewUser::new(login("a"), "Anna", ""), "sn"),
        (NewUser::new(login(&"a".repeat(33)), "Anna", "P"), "uid"),
        (anna().mail("not@@good"), "mail"),
        (anna().phone("тел. 5"), "telephonenumber"),
        (anna().preferred_language("?"), "preferredlanguage"),
        (anna().set("krbprincipalexpiration", "tomorrow"), "krbprincipalexpiration"),
        (anna().set("uidnumber", "many"), "uidnumber"),
    ];
    for (user, field) in rows {
        let error = client.user_add(&user).await.unwrap_err();
        assert_eq!((error.class(), error.outcome()), (Class::Invalid, Outcome::NotDone), "{error}");
        assert_eq!(error.field(), Some(field), "{error}");
    }
}

#[tokio::test]
async fn a_login_may_be_taken_in_three_ways() {
    let config = config(Rights::registrar()).account(AccountSpec::new("boris", "Boris.1234").alias("bob"));
    let ipa = FreeIpaDouble::start(config).await.unwrap();
    let client = client(&ipa).server("x");
    for taken in ["boris", "bob", GROUP] {
        let error = client.user_add(&NewUser::new(login(taken), "A", "B")).await.unwrap_err();
        assert_eq!((error.class(), error.outcome()), (Class::Exists, Outcome::NotDone), "{error}");
        assert!(!error.to_string().contains(taken), "{error}");
    }
}

#[tokio::test]
async fn a_right_that_is_missing_is_told_and_what_was_done_without_it_is_not_denied() {
    for missing in [Right::AddUsers, Right::ReadUpgDefinition, Right::AddToDefaultGroup] {
        let ipa = double(Rights::registrar().without(missing)).await;
        let error = client(&ipa).server("x").user_add(&anna()).await.unwrap_err();
        assert_eq!(error.class(), Class::Denied, "{error}");
        // Whether the user is there depends on which one is missing, and nothing tells which.
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        let there = ipa.directory().user("anna").is_some();
        assert_eq!(there, missing == Right::AddToDefaultGroup, "{missing:?}");
    }
    let ipa = double(Rights::registrar().without(Right::ChangePasswords)).await;
    let client = client(&ipa).server("x");
    client.user_add(&anna()).await.unwrap();
    let error = client.user_reset_password(&login("anna")).await.unwrap_err();
    assert_eq!((error.class(), error.outcome()), (Class::Denied, Outcome::NotDone), "{error}");
}

#[tokio::test]
async fn a_member_may_be_refused_in_a_success() {
    let (ipa, client) = registrar().await;
    client.user_add(&anna()).await.unwrap();
    assert_eq!(client.group_add_member(GROUP, &login("ghost")).await.unwrap(), Membership::NoSuchUser);
    let denied = client.group_add_member("others", &login("anna")).await.unwrap();
    assert!(matches!(denied, Membership::Denied(_)) && !denied.is_member(), "{denied:?}");
    assert!(ipa.directory().group("others").unwrap().users.is_empty());
    let error = client.group_add_member("nogroup", &login("anna")).await.unwrap_err();
    assert_eq!((error.class(), error.outcome()), (Class::Configuration, Outcome::NotDone), "{error}");
    assert_eq!(client.group_show("nogroup").await.unwrap_err().class(), Class::NotFound);
}

#[tokio::test]
async fn a_default_group_that_is_missing_is_nobodys_data() {
    let (ipa, client) = registrar().await;
    ipa.apply(FreeIpaAction::RemoveGroup { name: "ipausers".to_owned() }).unwrap();
    let error = client.user_add(&anna()).await.unwrap_err();
    // The server finds out when the user is there already.
    assert_eq!((error.class(), error.outcome()), (Class::Configuration, Outcome::Unknown), "{error}");
    assert!(ipa.directory().user("anna").is_some());
}

#[tokio::test]
async fn a_mistake_of_the_program_is_its_own() {
    let (_ipa, client) = registrar().await;
    let rows = [
        Command::read("nosuch_cmd"),
        Command::read("user_show").argument("anna").option("nosuch", 1),
        Command::read("ping").argument("too").argument("many"),
    ];
    for command in rows {
        let error = client.call(&command).await.unwrap_err();
        assert_eq!(error.class(), Class::Misuse, "{error}");
    }
    let reply = client.call(&Command::read("ping")).await.unwrap();
    assert_eq!(reply.result().get("messages"), None, "the version is always given");
    assert_eq!(reply.result()["summary"], json!("IPA server version 4.12.4. API version 2.254"));
}
