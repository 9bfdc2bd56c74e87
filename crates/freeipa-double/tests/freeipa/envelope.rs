//! Envelopes: what is wrong with them, and what they say of versions, messages and times.

use freeipa_double::Rights;
use serde_json::{Value, json};

use crate::client::service;

#[tokio::test]
async fn what_is_no_request_is_909() {
    let (_ipa, caller) = service(Rights::registrar()).await;
    for (body, why) in [
        ("{", "Expecting value"),
        ("[]", "Request must be a dict"),
        ("{\"params\":[[],{}]}", "Request is missing \"method\""),
        ("{\"method\":\"ping\"}", "Request is missing \"params\""),
        ("{\"method\":\"ping\",\"params\":{}}", "params must be a list"),
        ("{\"method\":\"ping\",\"params\":[[]]}", "params must contain [args, options]"),
        ("{\"method\":\"ping\",\"params\":[[],{},1]}", "params must contain [args, options]"),
        ("{\"method\":\"ping\",\"params\":[{},{}]}", "params[0] (aka args) must be a list"),
        ("{\"method\":\"ping\",\"params\":[[],[]],\"id\":7}", "params[1] (aka options) must be a dict"),
    ] {
        let request = caller.post("/ipa/session/json").header("Content-Type", "application/json").body(body);
        let reply: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!((&reply["error"]["code"], &reply["id"]), (&json!(909), &Value::Null), "{body}");
        let text = reply["error"]["message"].as_str().unwrap();
        assert!(text.starts_with("Invalid JSON-RPC request: ") && text.contains(why), "{body}: {text}");
    }
}

#[tokio::test]
async fn the_id_comes_back_and_a_command_may_name_its_version() {
    let (_ipa, caller) = service(Rights::registrar()).await;
    for id in [json!(7), json!("x"), json!({"a": [1]}), Value::Null] {
        let body = json!({"method": "user_show/1", "params": [["admin"], {"version": "2.251"}], "id": id});
        let reply: Value =
            caller.post("/ipa/session/json").json(&body).send().await.unwrap().json().await.unwrap();
        assert_eq!((&reply["id"], &reply["result"]["value"]), (&id, &json!("admin")));
    }
    assert_eq!(caller.error("user_show/2", json!(["admin"]), json!({})).await.0, 905);
}

#[tokio::test]
async fn what_is_no_json_is_taken_for_a_command_of_the_path() {
    let (_ipa, caller) = service(Rights::registrar()).await;
    let body = r#"{"method":"ping","params":[[],{}]}"#;
    let request = caller.post("/ipa/session/json").header("Content-Type", "text/plain").body(body);
    let reply: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&reply["error"]["code"], &reply["error"]["data"]["name"]),
        (&json!(905), &json!("session/json"))
    );
}

#[tokio::test]
async fn who_names_no_version_is_warned_and_gets_times_as_text() {
    let (_ipa, caller) = service(Rights::registrar()).await;
    caller.add("boris").await;
    caller.ok("user_mod", json!(["boris"]), json!({"random": true})).await;
    let ask = async |options: Value| {
        let body = json!({"method": "user_show", "params": [["boris"], options], "id": 0});
        let reply = caller.post("/ipa/session/json").json(&body).send().await.unwrap();
        reply.json::<Value>().await.unwrap()["result"].take()
    };
    let unsaid = ask(json!({"all": true})).await;
    assert_eq!(
        (&unsaid["messages"][0]["name"], &unsaid["messages"][0]["code"]),
        (&json!("VersionMissing"), &json!(13001))
    );
    assert!(unsaid["result"]["krbpasswordexpiration"][0].is_string());
    let old = ask(json!({"all": true, "version": "2.83"})).await;
    assert!(old.get("messages").is_none() && old["result"]["krbpasswordexpiration"][0].is_string());
    for version in ["2.84", "2.251", "2.999"] {
        let said = ask(json!({"all": true, "version": version})).await;
        assert!(said["result"]["krbpasswordexpiration"][0]["__datetime__"].is_string(), "{version}");
    }
    for version in ["3.0", "1.9", "two"] {
        assert_eq!(caller.error("ping", json!([]), json!({"version": version})).await.0, 901, "{version}");
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_told() {
    let (_ipa, caller) = service(Rights::registrar()).await;
    for (method, arguments, options, code, text) in [
        ("ping", json!(["x"]), json!({}), 3003, "command 'ping' takes no arguments"),
        ("user_show", json!(["a", "b"]), json!({}), 3004, "command 'user_show' takes at most 1 argument"),
        ("user_show", json!(["a"]), json!({"uid": "b"}), 3006, "overlapping arguments and options: ['uid']"),
        ("user_show", json!([]), json!({}), 3007, "'uid' is required"),
        ("user_show", json!([""]), json!({}), 3007, "'uid' is required"),
        ("user_show", json!([["a"]]), json!({}), 3008, "invalid 'uid': Only one value is allowed"),
        (
            "user_show",
            json!(["admin"]),
            json!({"all": "maybe"}),
            3008,
            "invalid 'all': must be True or False",
        ),
        ("config_show", json!([]), json!({"x": 1}), 3005, "Unknown option: x"),
    ] {
        assert_eq!(caller.error(method, arguments, options).await, (code, text.to_owned()));
    }
    assert_eq!(caller.ok("user_show", json!([]), json!({"uid": "admin"})).await["value"], "admin");
}

#[tokio::test]
async fn values_of_the_wrong_kind_are_told_as_the_server_tells_them() {
    let (_ipa, admin) = service(Rights::admin()).await;
    for (options, code, name) in [
        (json!({"all": null}), 3007, json!("all")),
        (json!({"all": []}), 3007, json!("all")),
        (json!({"random": null}), 0, Value::Null),
        (json!({"all": ["x"]}), 903, Value::Null),
        (json!({"nsaccountlock": {"a": 1}}), 903, Value::Null),
        (json!({"ipauserauthtype": [5]}), 3008, json!("ipauserauthtype")),
        (json!({"krbprincipalname": 5}), 3008, json!("krbprincipalname")),
        (json!({"krbprincipalname": "a@b@c"}), 3008, json!("principal")),
        (json!({"userpassword": ["a", "b"]}), 3011, json!("userpassword")),
        (json!({"userpassword": ["Secret.99", "Secret.99"]}), 0, Value::Null),
        (json!({"title": "x", "all": "y"}), 3008, json!("all")),
        (json!({"addattr": " userclass=x"}), 3009, json!("addattr")),
        (json!({"preferredlanguage": "en\n"}), 3009, json!("preferredlanguage")),
    ] {
        let login = format!("u{}", uuid::Uuid::new_v4().simple()).split_off(8);
        let mut all = json!({"givenname": "A", "sn": "B"});
        all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let reply = admin.call("user_add", json!([login]), all).await;
        let told = (reply["error"]["code"].as_i64().unwrap_or_default(), &reply["error"]["data"]["name"]);
        assert_eq!(told, (code, &name), "{options}: {reply}");
    }
}
