//! Users: what is refused, what is filled in, what is told.

use freeipa_double::{AccountSpec, Change, Container, FreeIpaDouble, Right, Rights};
use serde_json::{Value, json};

use crate::client::{Caller, config, double, service};

/// What is said of `user_add` with these options beside the names.
async fn refusal(caller: &Caller, login: Value, more: Value) -> (i64, Value) {
    let mut options = json!({"givenname": "Boris", "sn": "Petrov"});
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let reply = caller.call("user_add", json!([login]), options).await;
    (reply["error"]["code"].as_i64().unwrap_or_default(), reply["error"]["data"]["name"].clone())
}

#[tokio::test]
async fn what_users_get_wrong_is_told_with_the_field() {
    let (ipa, caller) = service(Rights::registrar()).await;
    for (login, more, code, name) in [
        (json!("борис"), json!({}), 3009, "login"),
        (json!("123456"), json!({}), 3009, "login"),
        (json!(123_456), json!({}), 3009, "login"),
        (json!(" boris"), json!({}), 3009, "login"),
        (json!("-boris"), json!({}), 3009, "login"),
        (json!("b@example.org"), json!({}), 3009, "login"),
        (json!("b".repeat(33)), json!({}), 3009, "login"),
        (json!("b".repeat(256)), json!({}), 3009, "login"),
        (json!("x"), json!({"givenname": " Boris"}), 3009, "first"),
        (json!("x"), json!({"givenname": "Boris "}), 3009, "first"),
        (json!("x"), json!({"sn": "\tPetrov"}), 3009, "last"),
        (json!("x"), json!({"givenname": ""}), 3007, "givenname"),
        (json!("x"), json!({"sn": null}), 3007, "sn"),
        (json!("x"), json!({"cn": ""}), 3007, "cn"),
        (json!("x"), json!({"givenname": ["A", "B"]}), 3008, "givenname"),
        (json!("x"), json!({"givenname": true}), 3008, "givenname"),
        (json!("x"), json!({"mail": "a b@example.org"}), 3009, "email"),
        (json!("x"), json!({"mail": ["a@example.org", "@"]}), 3009, "email"),
        (json!("x"), json!({"mail": "a@example"}), 3009, "email"),
        (json!("x"), json!({"mail": " a@example.org"}), 3009, "email"),
        (json!("x"), json!({"preferredlanguage": "русский"}), 3009, "preferredlanguage"),
        (json!("x"), json!({"uidnumber": 0}), 3009, "uid"),
        (json!("x"), json!({"uidnumber": "many"}), 3008, "uid"),
        (json!("x"), json!({"krbprincipalexpiration": "2026-13-01"}), 3008, "principal_expiration"),
        (
            json!("x"),
            json!({"krbprincipalexpiration": "2026-12-01T00:00:00+01:00"}),
            3008,
            "principal_expiration",
        ),
        (json!("x"), json!({"ipauserauthtype": ["password", "magic"]}), 3009, "user_auth_type"),
        (json!("x"), json!({"userclass": [" padded"]}), 3009, "class"),
        (json!("x"), json!({"setattr": "nonsense"}), 3009, "setattr"),
        (json!("x"), json!({"setattr": "mail= "}), 3009, "setattr"),
    ] {
        assert_eq!(
            refusal(&caller, login.clone(), more.clone()).await,
            (code, json!(name)),
            "{login} {more}"
        );
        let login = login.as_str().unwrap_or_default();
        assert!(ipa.directory().user(login).is_none(), "{login} {more}");
    }
    for (more, code) in [
        (json!({"telephonenumber": "+7 999 000_11"}), 4208),
        (json!({"mobile": ["+7 999", "восемь"]}), 4208),
        (json!({"mail": "о@example.org"}), 4208),
        (json!({"loginshell": "/bin/оболочка"}), 4208),
        (json!({"krbprincipalname": "y@OTHER.TEST"}), 4005),
        (json!({"setattr": "nosuchattribute=1"}), 4205),
        (json!({"setattr": "krbcanonicalname=y"}), 3009),
        (json!({"addattr": "sn=Second"}), 4207),
        (json!({"manager": "ghost"}), 4001),
    ] {
        assert_eq!(refusal(&caller, json!("y"), more.clone()).await.0, code, "{more}");
        assert!(ipa.directory().user("y").is_none(), "{more}");
    }
}

#[tokio::test]
async fn what_is_not_given_is_filled_in_and_what_is_given_taken() {
    let (ipa, caller) = service(Rights::registrar()).await;
    let options = json!({
        "givenname": "Анна", "sn": 5, "mail": ["a", "A@Example.org"], "telephonenumber": "+7 (999) 000-11-22",
        "krbprincipalexpiration": "2030-01-02T03:04Z", "userclass": ["tgreg:1", "", "tguser:2"],
    });
    let added = caller.ok("user_add", json!(["Anna.X"]), options).await;
    let user = &added["result"];
    assert_eq!(added["value"], "anna.x", "logins are put into lower case without a word");
    assert_eq!((&user["cn"], &user["initials"]), (&json!(["Анна 5"]), &json!(["А5"])));
    assert_eq!(user["mail"], json!(["a@ipa.test", "A@Example.org"]));
    assert_eq!(user["userclass"], json!(["tgreg:1", "tguser:2"]));
    assert_eq!(user["krbprincipalexpiration"], json!([{"__datetime__": "20300102030400Z"}]));
    assert_eq!(user["uidnumber"], user["gidnumber"]);
    assert_eq!(caller.add("plain").await["result"]["mail"], json!(["plain@ipa.test"]));
    // Nobody minds a mail address that somebody has.
    let twin = json!({"givenname": "A", "sn": "B", "mail": "plain@ipa.test"});
    caller.ok("user_add", json!(["twin"]), twin).await;
    // Without a login one is made of the names.
    let nameless = caller.ok("user_add", json!([]), json!({"givenname": "Ann", "sn": "One"})).await;
    assert_eq!(nameless["value"], "aone");
    let ids: Vec<String> = ["anna.x", "plain", "twin"]
        .map(|login| ipa.directory().user(login).unwrap().values("uidnumber")[0].clone())
        .into();
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
}

#[tokio::test]
async fn a_login_is_taken_by_users_groups_preserved_users_and_aliases() {
    let config = config(Rights::registrar())
        .account(AccountSpec::new("anna", "x").alias("annie"))
        .account(AccountSpec::new("gone", "x"));
    let ipa = FreeIpaDouble::start(config).await.unwrap();
    let admin = Caller::logged_in(&ipa, "admin", "Admin.12345").await;
    admin.ok("user_del", json!(["gone"]), json!({"preserve": true})).await;
    let registrar = Caller::logged_in(&ipa, crate::client::SERVICE, crate::client::PASSWORD).await;
    for (login, code) in [("anna", 4002), ("ANNA", 4002), ("gone", 4002), ("annie", 4002), ("editors", 4024)]
    {
        assert_eq!(refusal(&registrar, json!(login), json!({})).await.0, code, "{login}");
    }
    assert_eq!(registrar.error("user_show", json!(["annie"]), json!({})).await.0, 4001);
    assert_eq!(registrar.error("user_show", json!(["gone"]), json!({})).await.0, 4001, "it may not see them");
    assert_eq!(admin.ok("user_show", json!(["gone"]), json!({})).await["result"]["preserved"], true);
    let names = json!({"givenname": "A", "sn": "B", "noprivate": true});
    let no_group = registrar.error("user_add", json!(["editors"]), names).await;
    assert_eq!(no_group, (4001, "Default group for new users is not POSIX".into()));
}

#[tokio::test]
async fn a_user_may_be_there_though_its_creation_was_refused() {
    let without = Rights::registrar().without(Right::AddToDefaultGroup);
    let (ipa, caller) = service(without).await;
    let (code, text) = caller.error("user_add", json!(["boris"]), json!({"givenname": "B", "sn": "P"})).await;
    assert!(code == 2100 && text.contains("cn=ipausers"), "{text}");
    assert!(ipa.directory().user("boris").unwrap().groups.is_empty());
}

#[tokio::test]
async fn rights_end_where_they_end() {
    let names = json!({"givenname": "B", "sn": "P"});
    for (rights, wanted) in [
        (Rights::none(), "UPG Definition"),
        (Rights::registrar().without(Right::ReadUpgDefinition), "UPG Definition"),
        (Rights::registrar().without(Right::AddUsers), "'add' privilege"),
    ] {
        let (ipa, caller) = service(rights).await;
        let (code, text) = caller.error("user_add", json!(["boris"]), names.clone()).await;
        assert!(code == 2100 && text.contains(wanted), "{text}");
        assert!(ipa.directory().user("boris").is_none());
    }
    let (_ipa, registrar) = service(Rights::registrar()).await;
    registrar.add("boris").await;
    for (method, options) in [
        ("user_mod", json!({"givenname": "X"})),
        ("user_mod", json!({"userclass": "mine"})),
        ("user_disable", json!({})),
        ("user_del", json!({})),
        ("user_del", json!({"preserve": true})),
        ("stageuser_add", names.clone()),
    ] {
        assert_eq!(
            registrar.error(method, json!(["boris"]), options.clone()).await.0,
            2100,
            "{method} {options}"
        );
    }
    let (code, _) = registrar.error("user_mod", json!(["admin"]), json!({"random": true})).await;
    assert_eq!(code, 2100, "passwords of admins are for admins");
    let (_ipa, administrator) = service(Rights::user_administrator()).await;
    administrator.add("boris").await;
    administrator.ok("user_disable", json!(["boris"]), json!({})).await;
    administrator.ok("user_mod", json!(["boris"]), json!({"givenname": "X"})).await;
    administrator.ok("user_del", json!(["boris"]), json!({})).await;
    assert_eq!(administrator.error("user_mod", json!(["admin"]), json!({"sn": "X"})).await.0, 2100);
}

#[tokio::test]
async fn everybody_may_change_some_of_their_own_and_not_the_marker() {
    let (_ipa, caller) = service(Rights::none()).await;
    let me = json!([crate::client::SERVICE]);
    caller.ok("user_mod", me.clone(), json!({"employeetype": "x"})).await;
    assert_eq!(caller.error("user_mod", me, json!({"userclass": "x"})).await.0, 2100);
    assert_eq!(caller.error("user_mod", json!(["admin"]), json!({"employeetype": "x"})).await.0, 2100);
}

#[tokio::test]
async fn changes_are_told_and_what_changes_nothing_is_an_error() {
    let (ipa, admin) = service(Rights::admin()).await;
    admin.add("boris").await;
    let modified = admin.ok("user_mod", json!(["boris"]), json!({"title": "Dr", "mail": "b"})).await;
    assert_eq!(modified["summary"], "Modified user \"boris\"");
    assert_eq!(
        (&modified["result"]["title"], &modified["result"]["mail"]),
        (&json!(["Dr"]), &json!(["b@ipa.test"]))
    );
    assert!(modified["result"].get("dn").is_none(), "only whoever asks for all gets it");
    for same in [json!({}), json!({"title": "Dr"}), json!({"mail": ["b"]})] {
        assert_eq!(admin.error("user_mod", json!(["boris"]), same.clone()).await.0, 4202, "{same}");
    }
    assert_eq!(admin.error("user_mod", json!(["ghost"]), json!({"title": "x"})).await.0, 4001);
    assert_eq!(
        admin.error("user_mod", json!(["boris"]), json!({"sn": ""})).await,
        (3007, "'sn' is required".into())
    );
    admin.ok("user_mod", json!(["boris"]), json!({"title": null})).await;
    assert!(ipa.directory().user("boris").unwrap().values("title").is_empty());
    admin.ok("user_mod", json!(["boris"]), json!({"addattr": ["userclass=a", "userclass=b"]})).await;
    admin.ok("user_mod", json!(["boris"]), json!({"delattr": ["userclass=a"]})).await;
    assert_eq!(ipa.directory().user("boris").unwrap().values("userclass"), ["b"]);
    assert_eq!(admin.error("user_mod", json!(["boris"]), json!({"delattr": "userclass=a"})).await.0, 4026);
    admin.ok("user_mod", json!(["boris"]), json!({"rename": "bob"})).await;
    assert_eq!(ipa.directory().user("bob").unwrap().groups, ["ipausers"]);
    assert_eq!(ipa.directory().group("bob").map(|group| group.private), Some(true));
    assert!(ipa.directory().group("boris").is_none());
}

#[tokio::test]
async fn a_password_set_by_others_is_expired_short_or_not() {
    let (ipa, caller) = service(Rights::registrar()).await;
    let options = json!({"givenname": "B", "sn": "P", "userpassword": "abc"});
    let added = caller.ok("user_add", json!(["boris"]), options).await;
    assert_eq!(added["result"]["has_password"], true);
    assert!(added["result"].get("randompassword").is_none() && added["result"].get("userpassword").is_none());
    assert_eq!(Caller::of(&ipa).rejected("boris", "abc").await.1, "password-expired");
    let admin = Caller::logged_in(&ipa, "admin", "Admin.12345").await;
    let shown = admin.ok("user_show", json!(["boris"]), json!({"all": true})).await;
    assert!(
        shown["result"].get("userpassword").is_some(),
        "those who may see everything see the hash as well"
    );
}

#[tokio::test]
async fn users_go_are_kept_and_come_back() {
    let (ipa, admin) = service(Rights::admin()).await;
    for login in ["a", "b", "c"] {
        admin.add(login).await;
    }
    let deleted = admin.ok("user_del", json!([["a", "ghost", "b"]]), json!({"continue": true})).await;
    assert_eq!((&deleted["value"], &deleted["result"]["failed"]), (&json!(["a", "b"]), &json!(["ghost"])));
    assert_eq!(deleted["summary"], "Deleted user \"a,b\"");
    admin.ok("user_del", json!(["c"]), json!({"preserve": true})).await;
    assert!(ipa.directory().group("c").is_none(), "its private group is gone");
    assert_eq!(admin.error("user_del", json!(["c"]), json!({"preserve": true})).await.0, 4000);
    let back = admin.ok("user_undel", json!(["c"]), json!({})).await;
    assert_eq!((&back["result"], &back["value"]), (&json!(true), &json!("c")));
    assert_eq!(admin.error("user_undel", json!(["c"]), json!({})).await.0, 3000);
    assert_eq!(admin.error("user_del", json!(["admin"]), json!({})).await.0, 4309);
    assert_eq!(
        admin.error("user_disable", json!(["ghost"]), json!({})).await,
        (4001, "no such entry".into())
    );
    let directory = ipa.directory();
    assert!(directory.user("c").is_some() && directory.user_in(Container::Preserved, "c").is_none());
    assert_eq!((directory.times(&Change::Deleted, "a"), directory.times(&Change::Undeleted, "c")), (1, 1));
}

#[tokio::test]
async fn rights_can_be_asked_for() {
    let ipa = double(Rights::registrar()).await;
    let registrar = Caller::logged_in(&ipa, crate::client::SERVICE, crate::client::PASSWORD).await;
    registrar.add("boris").await;
    let ask = json!({"all": true, "rights": true});
    let shown = registrar.ok("user_show", json!(["boris"]), ask.clone()).await;
    let rights = &shown["result"]["attributelevelrights"];
    assert_eq!((&rights["userpassword"], &rights["sn"]), (&json!("wo"), &json!("rsc")));
    let group = registrar.ok("group_show", json!(["tg-users"]), ask.clone()).await;
    assert_eq!(group["result"]["attributelevelrights"]["member"], "rscwo");
    let group = registrar.ok("group_show", json!(["others"]), ask).await;
    assert_eq!(group["result"]["attributelevelrights"]["member"], "rsc");
    let unasked = registrar.ok("user_show", json!(["boris"]), json!({"rights": true})).await;
    assert!(unasked["result"].get("attributelevelrights").is_none(), "only with all");
}
