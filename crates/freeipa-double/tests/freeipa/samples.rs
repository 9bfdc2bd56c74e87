//! The double against what was recorded of the real server: `tests/samples`.

use freeipa_double::{Config, FreeIpaAction, FreeIpaDouble, Rights, Version};
use serde_json::{Value, json};

use crate::client::{Caller, PASSWORD, SERVICE, config, double, service};

const CALLS: &str = include_str!("../samples/calls.json");
const LOGINS: &str = include_str!("../samples/logins.json");

/// Whether a value is as the facts have it; where it is not.
fn fits(facts: &Value, found: &Value, place: &str) -> Result<(), String> {
    let unlike = || Err(format!("{place}: {found}, not {facts}"));
    match (facts, found) {
        (Value::String(form), _) if form.starts_with('~') => {
            if matches_form(form, found) {
                Ok(())
            } else {
                unlike()
            }
        }
        (Value::Object(facts), Value::Object(members)) => {
            for (name, fact) in facts.iter().filter(|(name, _)| *name != "~only") {
                let place = format!("{place}.{name}");
                fits(fact, members.get(name).ok_or(format!("{place}: is not there"))?, &place)?;
            }
            let stranger = members.keys().find(|name| !facts.contains_key(*name));
            match stranger.filter(|_| facts.contains_key("~only")) {
                Some(stranger) => Err(format!("{place}.{stranger}: should not be there")),
                None => Ok(()),
            }
        }
        (Value::Array(facts), Value::Array(values)) if facts.len() == values.len() => facts
            .iter()
            .zip(values)
            .enumerate()
            .try_for_each(|(at, (fact, value))| fits(fact, value, &format!("{place}[{at}]"))),
        _ if facts == found => Ok(()),
        _ => unlike(),
    }
}

fn matches_form(form: &str, found: &Value) -> bool {
    let text = found.as_str();
    match form {
        "~any" => !found.is_null(),
        "~digits" => text.is_some_and(|text| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())),
        "~time" => text.is_some_and(|text| text.len() == 15 && text.ends_with('Z')),
        "~password" => text.is_some_and(|text| {
            text.len() == 22
                && text.bytes().all(|c| c.is_ascii_graphic())
                && text.bytes().any(|c| c.is_ascii_punctuation())
        }),
        _ => form
            .strip_prefix("~starts ")
            .is_some_and(|beginning| text.is_some_and(|text| text.starts_with(beginning))),
    }
}

async fn replies(caller: &Caller, sample: &Value) -> Value {
    let call = &sample["call"];
    let reply = || caller.call(call[0].as_str().unwrap(), call[1].clone(), call[2].clone());
    if sample["again"] == true {
        reply().await;
    }
    reply().await
}

#[tokio::test]
async fn calls_are_answered_as_recorded() {
    let facts: Value = serde_json::from_str(CALLS).unwrap();
    let ipa = double(Rights::registrar()).await;
    let admin = Caller::logged_in(&ipa, "admin", "Admin.12345").await;
    for call in facts["before"].as_array().unwrap() {
        admin.ok(call[0].as_str().unwrap(), call[1].clone(), call[2].clone()).await;
    }
    let samples = facts["samples"].as_array().unwrap();
    let mut unlike = Vec::new();
    for sample in samples {
        let reply = replies(&admin, sample).await;
        if let Err(why) = fits(&sample["reply"], &reply, "") {
            unlike.push(format!("{}: {why}", sample["name"]));
        }
        let mut members: Vec<&String> = reply.as_object().unwrap().keys().collect();
        members.sort();
        assert_eq!(members, ["error", "id", "principal", "result", "version"], "{}", sample["name"]);
    }
    assert!(unlike.is_empty() && samples.len() == 29, "{} samples\n{}", samples.len(), unlike.join("\n"));
}

#[tokio::test]
async fn calls_without_the_right_are_answered_as_recorded() {
    let facts: Value = serde_json::from_str(CALLS).unwrap();
    let (ipa, caller) = service(Rights::registrar().without(freeipa_double::Right::AddUsers)).await;
    let admin = Caller::logged_in(&ipa, "admin", "Admin.12345").await;
    admin.add("r.two").await;
    for sample in facts["denied"].as_array().unwrap() {
        let reply = replies(&caller, sample).await;
        fits(&sample["reply"], &reply, "").unwrap_or_else(|why| panic!("{}: {why}", sample["name"]));
    }
}

/// A server as a situation has it.
async fn in_situation(situation: &str, config: Config) -> FreeIpaDouble {
    let ipa = FreeIpaDouble::start(config).await.unwrap();
    let login = SERVICE.to_owned();
    let action = match situation {
        "kdc down" => FreeIpaAction::KdcDown { down: true },
        "ldap down" => FreeIpaAction::LdapDown { down: true },
        "disabled" => FreeIpaAction::SetDisabled { login, disabled: true },
        "password expired" => FreeIpaAction::ExpirePassword { login, expired: true },
        "principal expired" => FreeIpaAction::ExpirePrincipal { login, expired: true },
        _ => return ipa,
    };
    ipa.apply(action).unwrap();
    ipa
}

#[tokio::test]
async fn logins_are_answered_as_recorded() {
    let facts: Value = serde_json::from_str(LOGINS).unwrap();
    let mut seen = 0;
    for (name, version) in [("4.12.4", Version::V4_12_4), ("4.13.1", Version::V4_13_1)] {
        for (situation, fact) in facts[name].as_object().unwrap() {
            let ipa = in_situation(situation, config(Rights::registrar()).version(version)).await;
            let mut caller = Caller::of(&ipa);
            let (user, password) = match situation.as_str() {
                "wrong password" => (SERVICE, "guess"),
                "unknown user" => ("nobody", PASSWORD),
                "malformed principal" => ("svc@A@B", PASSWORD),
                "locked" => {
                    for _ in 0..6 {
                        assert_eq!(caller.rejected(SERVICE, "guess").await.1, "invalid-password");
                    }
                    (SERVICE, PASSWORD)
                }
                _ => (SERVICE, PASSWORD),
            };
            let (status, reason, body) = match situation.as_str() {
                "no referer" | "wrong referer" => {
                    let request = caller.bare("/ipa/session/login_password").form(&[("user", user)]);
                    let referer = format!("https://{}:8443/ipa", ipa.fqdn());
                    let request =
                        if situation == "no referer" { request } else { request.header("Referer", referer) };
                    let reply = request.send().await.unwrap();
                    (reply.status().as_u16(), String::new(), reply.text().await.unwrap())
                }
                _ => caller.rejected(user, password).await,
            };
            assert_eq!(json!([status, reason]), json!([fact[0], fact[1]]), "{name}, {situation}: {body}");
            assert!(body.contains(fact[2].as_str().unwrap()), "{name}, {situation}: {body}");
            seen += 1;
        }
    }
    assert_eq!(seen, 24);
}
