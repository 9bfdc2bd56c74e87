//! Searches, stage users, groups, batches.

use freeipa_double::{Change, Container, FreeIpaAction, Right, Rights};
use serde_json::{Value, json};

use crate::client::{Caller, PASSWORD, SERVICE, double, service};

fn logins(found: &Value) -> Vec<&str> {
    found["result"].as_array().unwrap().iter().map(|user| user["uid"][0].as_str().unwrap()).collect()
}

#[tokio::test]
async fn attributes_are_found_exactly_and_texts_within() {
    let (_ipa, admin) = service(Rights::admin()).await;
    for (login, first, mail) in
        [("tg.anna", "Anna", "a*@example.org"), ("tg.annabel", "Annabel", "b@example.org")]
    {
        let options = json!({
            "givenname": first, "sn": "Petrova", "mail": mail, "userclass": [format!("tgreg:{login}"), "tg"],
            "telephonenumber": "+7 999 000-11-22",
        });
        admin.ok("user_add", json!([login]), options).await;
    }
    let find = async |criteria: Value, options: Value| {
        let found = admin.ok("user_find", criteria, options).await;
        logins(&found).join(" ")
    };
    for (criteria, options, wanted) in [
        (json!([]), json!({"givenname": "ANNA"}), "tg.anna"),
        (json!([]), json!({"givenname": "Ann"}), ""),
        (json!([]), json!({"givenname": "Ann*"}), ""),
        (json!([]), json!({"mail": "a*@example.org"}), "tg.anna"),
        (json!([]), json!({"mail": "*@example.org"}), ""),
        (json!([]), json!({"userclass": "tgreg:tg.anna"}), "tg.anna"),
        (json!([]), json!({"userclass": ["tg", "tgreg:tg.anna"]}), "tg.anna"),
        (json!([]), json!({"userclass": ["tgreg:tg.anna", "tgreg:tg.annabel"]}), ""),
        (json!([]), json!({"telephonenumber": "+79990001122"}), "tg.anna tg.annabel"),
        (json!(["nnab"]), json!({}), "tg.annabel"),
        (json!(["petrova"]), json!({"uid": "tg.anna"}), "tg.anna"),
        (json!(["example.org"]), json!({}), ""),
        (json!([]), json!({"in_group": ["admins"]}), "admin svc-registrar"),
        (json!([]), json!({"uid": "tg.anna", "not_in_group": "ipausers"}), ""),
        (json!([]), json!({"uid": "tg.anna", "nsaccountlock": false}), "tg.anna"),
        (json!([]), json!({"uid": "tg.anna", "nsaccountlock": true}), ""),
        (json!([]), json!({"whoami": true}), "svc-registrar"),
    ] {
        assert_eq!(find(criteria.clone(), options.clone()).await, wanted, "{criteria} {options}");
    }
    let all = admin.ok("user_find", json!([]), json!({"sizelimit": 0})).await;
    assert_eq!((all["count"].as_u64(), &all["truncated"]), (Some(4), &json!(false)));
    let keys = admin.ok("user_find", json!(["anna"]), json!({"pkey_only": true})).await;
    assert_eq!(keys["result"][0].as_object().unwrap().len(), 2);
    admin.ok("user_del", json!(["tg.anna"]), json!({"preserve": true})).await;
    assert_eq!(find(json!(["anna"]), json!({})).await, "tg.annabel");
    assert_eq!(find(json!(["anna"]), json!({"preserved": true})).await, "tg.anna");
    assert_eq!(admin.error("user_find", json!([]), json!({"sizelimit": -1})).await.0, 3009);
}

#[tokio::test]
async fn a_stage_user_of_an_active_login_shuts_the_active_user_out() {
    let rights = Rights::registrar().and(&Rights::stage_administrator());
    let (ipa, registrar) = service(rights).await;
    ipa.apply(FreeIpaAction::AddAccount {
        login: "anna".into(),
        password: "Anna.12345".into(),
        rights: Rights::none(),
    })
    .unwrap();
    let anna = Caller::logged_in(&ipa, "anna", "Anna.12345").await;
    // Nobody objects.
    registrar.ok("stageuser_add", json!(["anna"]), json!({"givenname": "A", "sn": "B"})).await;
    for caller in [&anna, &Caller::logged_in(&ipa, "anna", "Anna.12345").await] {
        let reply = caller.request("ping", &json!([]), &json!({})).send().await.unwrap();
        assert_eq!(
            (reply.status().as_u16(), reply.headers()["x-ipa-rejection-reason"].to_str().unwrap()),
            (401, "denied")
        );
    }
    assert_eq!(
        registrar.error("stageuser_activate", json!(["anna"]), json!({})).await,
        (4002, "active user with name \"anna\" already exists".into())
    );
    registrar.ok("stageuser_del", json!(["anna"]), json!({})).await;
    anna.ok("ping", json!([]), json!({})).await;
}

#[tokio::test]
async fn what_a_stage_user_was_given_it_keeps_when_activated() {
    let (ipa, registrar) = service(Rights::registrar().and(&Rights::stage_administrator())).await;
    let options = json!({"givenname": "A", "sn": "B", "userclass": "tgreg:1", "random": true});
    let staged = registrar.ok("stageuser_add", json!(["eve"]), options).await;
    let password = staged["result"]["randompassword"].as_str().unwrap();
    assert!(
        Caller::of(&ipa).rejected("eve", password).await.2.contains("revoked"),
        "no login for stage users"
    );
    registrar.ok("stageuser_mod", json!(["eve"]), json!({"title": "Dr"})).await;
    assert_eq!(registrar.ok("stageuser_find", json!([]), json!({"userclass": "tgreg:1"})).await["count"], 1);
    let active = registrar.ok("stageuser_activate", json!(["eve"]), json!({})).await;
    assert_eq!(active["summary"], "Stage user eve activated");
    assert_eq!(
        (&active["result"]["userclass"], &active["result"]["title"]),
        (&json!(["tgreg:1"]), &json!(["Dr"]))
    );
    assert!(ipa.has_password("eve", password));
    assert_eq!(Caller::of(&ipa).rejected("eve", password).await.1, "password-expired");
    assert_eq!(ipa.directory().created(), ["eve"]);
    assert!(ipa.directory().user_in(Container::Staged, "eve").is_none());
}

#[tokio::test]
async fn activating_meets_preserved_twins_and_missing_rights() {
    let ipa = double(Rights::stage_administrator()).await;
    let admin = Caller::logged_in(&ipa, "admin", "Admin.12345").await;
    let stage = Caller::logged_in(&ipa, SERVICE, PASSWORD).await;
    let names = json!({"givenname": "A", "sn": "B"});
    admin.add("gone").await;
    admin.ok("user_del", json!(["gone"]), json!({"preserve": true})).await;
    stage.ok("stageuser_add", json!(["gone"]), names.clone()).await;
    let twin = admin.error("stageuser_activate", json!(["gone"]), json!({})).await;
    assert_eq!(twin, (4002, "This entry already exists".into()));
    assert!(ipa.directory().user_in(Container::Staged, "gone").is_some(), "it stays");
    stage.ok("stageuser_add", json!(["eve"]), names).await;
    assert_eq!(stage.error("stageuser_activate", json!(["eve"]), json!({})).await.0, 2100);
    let rights = Rights::stage_administrator().with(Right::AddUsers);
    ipa.apply(FreeIpaAction::SetRights { login: SERVICE.into(), rights }).unwrap();
    assert_eq!(stage.error("stageuser_activate", json!(["eve"]), json!({})).await.0, 2100);
    assert!(ipa.directory().user("eve").is_some(), "refused, and done: only the default group is missing");
}

#[tokio::test]
async fn who_only_adds_stage_users_is_told_there_are_none() {
    let (ipa, caller) = service(Rights::stage_provisioning()).await;
    let added = caller.error("stageuser_add", json!(["eve"]), json!({"givenname": "A", "sn": "B"})).await;
    assert_eq!(added, (4001, "eve: stage user not found".into()));
    assert_eq!(ipa.directory().times(&Change::Staged, "eve"), 1, "it was added");
    assert_eq!(caller.error("stageuser_show", json!(["eve"]), json!({})).await.0, 4001);
    assert_eq!(caller.ok("stageuser_find", json!([]), json!({})).await["count"], 0);
}

#[tokio::test]
async fn members_fail_within_a_reply_that_says_nothing_of_it() {
    let (ipa, caller) = service(Rights::registrar()).await;
    caller.add("boris").await;
    let failures = async |group: &str, options: Value| {
        let reply = caller.ok("group_add_member", json!([group]), options).await;
        reply["failed"]["member"].clone()
    };
    let denied = failures("others", json!({"user": ["boris"]})).await;
    assert!(denied["user"][0][1].as_str().unwrap().contains("'member' attribute"), "{denied}");
    let ghost = failures("others", json!({"user": ["ghost"]})).await;
    assert_eq!(
        ghost["user"],
        json!([["ghost", "no such entry"]]),
        "who is not there comes before who may not"
    );
    let several =
        failures("tg-users", json!({"user": ["boris", "boris"], "group": ["tg-users", "nogroup"]})).await;
    assert_eq!(several["user"], json!([["boris", "This entry is already a member"]]));
    assert_eq!(several["group"][0][1], "A group may not be added as a member of itself");
    assert_eq!(several["group"][1][1], "no such entry");
    assert_eq!(
        caller.error("group_add_member", json!(["nogroup"]), json!({"user": ["boris"]})).await.0,
        4001
    );
    assert_eq!(failures("admins", json!({"user": ["boris"]})).await["user"][0][0], "boris");
    let removed =
        caller.ok("group_remove_member", json!(["tg-users"]), json!({"user": ["boris", "boris"]})).await;
    assert_eq!(removed["failed"]["member"]["user"], json!([["boris", "This entry is not a member"]]));
    let directory = ipa.directory();
    assert!(directory.group("tg-users").unwrap().users.is_empty());
    assert_eq!(directory.times(&Change::Joined("tg-users".into()), "boris"), 1);
}

#[tokio::test]
async fn groups_come_have_managers_and_go() {
    let (ipa, admin) = service(Rights::admin()).await;
    let added = admin.ok("group_add", json!(["Staff"]), json!({"description": "All of us"})).await;
    assert_eq!((&added["value"], &added["summary"]), (&json!("staff"), &json!("Added group \"staff\"")));
    assert_eq!(admin.error("group_add", json!(["staff"]), json!({})).await.0, 4002);
    assert_eq!(admin.error("group_add", json!(["a b"]), json!({})).await.0, 3009);
    admin.add("boris").await;
    let managed =
        admin.ok("group_add_member_manager", json!(["staff"]), json!({"user": ["boris", "ghost"]})).await;
    assert_eq!(
        managed["failed"],
        json!({"membermanager": {"user": [["ghost", "no such entry"]], "group": []}})
    );
    assert_eq!(managed["result"]["membermanager_user"], json!(["boris"]));
    let shown = admin.ok("group_show", json!(["staff"]), json!({"all": true})).await;
    assert!(shown["result"]["objectclass"].as_array().unwrap().contains(&json!("posixgroup")));
    assert_eq!(admin.error("group_del", json!(["ipausers"]), json!({})).await.0, 4018);
    assert_eq!(admin.error("group_del", json!(["boris"]), json!({})).await.0, 4020);
    admin.ok("group_del", json!(["staff"]), json!({})).await;
    assert!(ipa.directory().group("staff").is_none());
    assert_eq!(
        admin.error("group_show", json!(["staff"]), json!({})).await,
        (4001, "staff: group not found".into())
    );
    assert_eq!(
        admin
            .error("group_remove_member", json!(["admins"]), json!({"user": ["admin", "svc-registrar"]}))
            .await
            .0,
        4308
    );
}

#[tokio::test]
async fn a_batch_goes_on_and_tells_errors_in_its_own_way() {
    let (ipa, caller) = service(Rights::registrar()).await;
    let calls = json!([
        {"method": "user_add", "params": [["a"], {"givenname": "A", "sn": "B"}]},
        {"method": "user_add", "params": [["a"], {"givenname": "A", "sn": "B"}]},
        {"method": "user_add", "params": [["b"], {"givenname": "A"}]},
        {"method": "nosuch", "params": [[], {}]},
        {"params": [[], {}]},
        {"method": "user_show", "params": [["a"]]},
        {"method": "user_show", "params": [["a"], {"nosuch": 1}]},
        {"method": "user_show/1", "params": [["a"], {}]},
    ]);
    for calls in [calls.clone(), json!([calls])] {
        let reply = caller.ok("batch", calls, json!({})).await;
        let codes: Vec<i64> = reply["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["error_code"].as_i64().unwrap_or_default())
            .collect();
        assert_eq!(codes[1..], [4002, 3007, 905, 3007, 3008, 3008, 0], "{reply}");
        assert_eq!(reply["count"], 8);
    }
    assert_eq!(ipa.directory().times(&Change::Created, "a"), 1);
    assert_eq!((ipa.stats().calls_of("batch"), ipa.stats().calls_of("user_add")), (2, 6));
    let kept = json!([{"method": "user_show", "params": [["a"], {}]}]);
    let reply = caller.ok("batch", kept, json!({"keeponly": ["uid"]})).await;
    assert_eq!(reply["results"][0]["result"], json!({"uid": ["a"]}));
    assert_eq!(caller.error("batch", json!(["ping", "ping"]), json!({})).await.0, 3008);
    assert_eq!(caller.ok("batch", json!([]), json!({})).await["count"], 0);
}
