//! Messages as producers write them, and as attackers do.
#![allow(clippy::unwrap_used)]

use freeipa_consumer::login::{InvalidLogin, LoginPolicy, LoginRule};
use freeipa_consumer::registration::{
    Field, FieldMap, Refusal, Registration, RegistrationId, Rules, UserRegistrationData, Why, contact,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// As the documentation has it.
fn canonical() -> Value {
    json!({
        "schema": 1, "registration_id": "0190abcd-0000-7000-8000-0123456789ab", "created_at": "2026-11-21T20:31:00Z",
        "source": "telegram-bot",
        "telegram": {"user_id": 42, "chat_id": 42, "username": "alice", "language_code": "ru", "message_id": 10},
        "first_name": "Анна", "last_name": "Петрова", "email": "a@example.org", "phone": "+79990001122",
        "requested_login": "apetrova", "groups": ["tg-users"],
        "consent": {"accepted_at": "2026-11-21T20:30:00Z", "policy_version": "3"},
        "trace_id": "t-1", "attempt": 0
    })
}

fn names(aliases: &[&str]) -> FieldMap {
    FieldMap::new(aliases.iter().map(|alias| alias.parse().unwrap()))
}

fn parse(message: &Value) -> Result<UserRegistrationData, Refusal> {
    UserRegistrationData::parse(message.to_string().as_bytes(), &FieldMap::default())
}

fn rules() -> Rules {
    let mut rules = Rules::default();
    rules.groups_allowed = ["tg-users".to_owned(), "guests".to_owned()].into();
    rules.default_groups = ["everybody".to_owned()].into();
    "-".clone_into(&mut rules.last_name_placeholder);
    rules.logins = LoginPolicy::default();
    rules.logins.rule = LoginRule::new(32).reserve(["svc-registrar", "tg-users"]);
    rules
}

fn check(message: &Value) -> Result<Registration, Refusal> {
    rules().check(&parse(message)?)
}

/// The canonical message with some fields set, or taken out by null.
fn with(changes: &Value) -> Value {
    let mut message = canonical();
    for (key, value) in changes.as_object().unwrap() {
        message[key] = value.clone();
    }
    message
}

fn problems(refusal: &Refusal) -> Vec<(Field, Why)> {
    refusal.problems().iter().map(|problem| (problem.field, problem.why.clone())).collect()
}

#[test]
fn the_canonical_message_is_a_registration() {
    let registration = check(&canonical()).unwrap();
    assert_eq!(registration.id.to_string(), "0190abcd-0000-7000-8000-0123456789ab");
    assert_eq!((registration.user_id, registration.recipient.chat_id), (42, 42));
    assert!(registration.recipient.is_private());
    assert_eq!((&*registration.first_name, &*registration.last_name), ("Анна", "Петрова"));
    assert_eq!(registration.email.as_deref(), Some("a@example.org"));
    assert_eq!(registration.logins[0].as_str(), "apetrova");
    assert_eq!(registration.logins.len(), 1, "who asks for a login gets that one");
    assert_eq!(registration.groups, ["everybody", "tg-users"]);
}

#[test]
fn every_spelling_of_the_same_message_is_the_same_registration() {
    let mut said = canonical();
    said.as_object_mut().unwrap().remove("consent");
    let expected = check(&said).unwrap();
    for message in [
        // Go without tags, flat.
        json!({"RegistrationID": "0190ABCD-0000-7000-8000-0123456789AB", "CreatedAt": "2026-11-21T23:31:00+03:00",
            "UserID": 42, "ChatID": 42, "Username": "alice", "LanguageCode": "ru", "FirstName": "Анна",
            "LastName": "Петрова", "Email": "a@example.org", "Phone": "+79990001122", "RequestedLogin": "apetrova",
            "Groups": ["tg-users"], "TraceID": "t-1", "Attempt": 0, "Schema": 0}),
        // JavaScript, texts for numbers and numbers for times.
        json!({"registrationId": "0190abcd-0000-7000-8000-0123456789ab", "createdAt": 1_795_293_060_000_i64,
            "telegram": {"id": "42", "languageCode": "ru"}, "chatId": "42", "firstName": " Анна ",
            "lastName": "Петрова", "email": " a@example.org", "phone": "+79990001122", "login": "@APetrova",
            "groups": "tg-users", "traceId": "t-1"}),
        // A map of Go on its way through doubles, each thing said twice.
        json!({"registration_id": "0190abcd-0000-7000-8000-0123456789ab", "created_at": 1.795_293_060e9,
            "user_id": 4.2e1, "chat_id": 42, "chatId": "42", "language_code": "ru", "telegram": {"user_id": 42},
            "first_name": "Анна", "FirstName": "Анна", "last_name": "Петрова", "email": "a@example.org",
            "phone": "+79990001122", "requested_login": "apetrova", "groups": ["tg-users", "tg-users"], "trace_id": "t-1",
            "LastName": "", "Email": null}),
    ] {
        assert_eq!(check(&message).as_ref(), Ok(&expected), "{message}");
    }
}

#[test]
fn a_deployments_own_names_win() {
    let message = json!({"Username": "countess", "UserID": 42, "profile": {"mail": {"main": "a@example.org"}}, "FirstName": "Ada"});
    let names = names(&["requested_login=Username", "email=profile.mail.main"]);
    let data = UserRegistrationData::parse(message.to_string().as_bytes(), &names).unwrap();
    assert_eq!(data.requested_login.as_deref(), Some("countess"));
    assert_eq!(data.telegram.username, None);
    assert_eq!(data.email.as_deref(), Some("a@example.org"));
    assert_eq!(
        data.extra.get("profile"),
        Some(r#"{"mail":{"main":"a@example.org"}}"#),
        "it is left as it is"
    );
    for wrong in ["email", "email=", "email=a..b", "shoe=size"] {
        assert!(wrong.parse::<freeipa_consumer::registration::FieldAlias>().is_err(), "{wrong}");
    }
}

#[test]
fn unknown_fields_survive_letter_by_letter() {
    let message = r#"{"z":1.50,"user_id":42,"first_name":"Ada","big":123456789012345678901234567890,"a":{"b":[1,2.0e+3]},
        "z":"twice","telegram":{"is_premium":true}, "consent":{"accepted":true,"ip":"::1"}}"#;
    let data = UserRegistrationData::parse(message.as_bytes(), &FieldMap::default()).unwrap();
    let written = serde_json::to_string(&data).unwrap();
    for kept in [
        r#""z":1.50"#,
        r#""z":"twice""#,
        r#""big":123456789012345678901234567890"#,
        r#""a":{"b":[1,2.0e+3]}"#,
        r#""is_premium":true"#,
        r#""ip":"::1""#,
    ] {
        assert!(written.contains(kept), "{kept} is missing in {written}");
    }
    let again = UserRegistrationData::parse(written.as_bytes(), &FieldMap::default()).unwrap();
    assert_eq!(again, data);
}

#[test]
fn what_no_message_may_choose_is_refused_by_name() {
    for (message, name) in [
        (with(&json!({"uidNumber": 0})), "uidnumber"),
        (with(&json!({"gid_number": 0})), "gidnumber"),
        (with(&json!({"setattr": ["krbprincipalname=admin"]})), "setattr"),
        (with(&json!({"AddAttr": "x"})), "addattr"),
        (with(&json!({"userclass": "tgreg:someone"})), "userclass"),
        (with(&json!({"password": "canary"})), "password"),
        (with(&json!({"options": {"deep": [{"userPassword": "canary"}]}})), "userpassword"),
        (with(&json!({"telegram": {"user_id": 42, "nsAccountLock": false}})), "nsaccountlock"),
    ] {
        let refusal = check(&message).unwrap_err();
        assert!(problems(&refusal).contains(&(Field::Message, Why::Forbidden { name })), "{refusal}");
        assert_eq!(refusal.dead_reason().as_str(), "forbidden_field");
        assert!(!refusal.to_string().contains("canary"));
    }
    let refusal = check(&with(&json!({"groups": ["tg-users", "admins"]}))).unwrap_err();
    assert_eq!(problems(&refusal), [(Field::Groups, Why::GroupNotAllowed { group: "admins".to_owned() })]);
    // A word in a value is only a word.
    assert!(check(&with(&json!({"note": "my password is uidnumber"}))).is_ok());
}

#[test]
fn data_that_the_directory_would_refuse_is_told_with_its_field() {
    for (changes, field, why) in [
        (json!({"first_name": null}), Field::FirstName, Why::Missing),
        (json!({"first_name": " \u{200b} "}), Field::FirstName, Why::Missing),
        (json!({"first_name": "x".repeat(129)}), Field::FirstName, Why::TooLong { limit: 128 }),
        (json!({"first_name": ["Ada"]}), Field::FirstName, Why::Type { expected: "a text" }),
        (json!({"email": "nobody"}), Field::Email, Why::Syntax),
        (json!({"email": "аня@example.org"}), Field::Email, Why::Character),
        (json!({"phone": "номер"}), Field::Phone, Why::Character),
        (json!({"phone": "+"}), Field::Phone, Why::Syntax),
        (
            json!({"requested_login": "a".repeat(33)}),
            Field::RequestedLogin,
            Why::Login(InvalidLogin::TooLong { limit: 32 }),
        ),
        (json!({"requested_login": "123456789"}), Field::RequestedLogin, Why::Login(InvalidLogin::Start)),
        (json!({"requested_login": "анна"}), Field::RequestedLogin, Why::Login(InvalidLogin::Character)),
        (json!({"requested_login": "admin"}), Field::RequestedLogin, Why::Login(InvalidLogin::Reserved)),
        (
            json!({"requested_login": "SVC-registrar"}),
            Field::RequestedLogin,
            Why::Login(InvalidLogin::Reserved),
        ),
        (json!({"telegram": {}}), Field::UserId, Why::Missing),
        (json!({"telegram": {"chat_id": -100}}), Field::UserId, Why::Missing),
        (json!({"telegram": {"user_id": -5}}), Field::UserId, Why::Range),
        (json!({"telegram": "42"}), Field::UserId, Why::NotAnObject),
        (json!({"created_at": "yesterday"}), Field::CreatedAt, Why::Time),
        (json!({"chatId": 43}), Field::ChatId, Why::Ambiguous),
        (json!({"consent": {"accepted": false}}), Field::Consent, Why::ConsentMissing),
        (json!({"consent": false}), Field::Consent, Why::ConsentMissing),
        (json!({"groups": [1]}), Field::Groups, Why::Type { expected: "a list of texts" }),
        (json!({"attempt": -1}), Field::Attempt, Why::Range),
    ] {
        let refusal = check(&with(&changes)).unwrap_err();
        assert_eq!(problems(&refusal), [(field, why)], "{changes}");
    }
}

#[test]
fn all_problems_are_found_at_once_and_in_the_order_of_the_message() {
    let message = with(&json!({"email": "x", "phone": "x", "first_name": "", "requested_login": "1"}));
    let fields: Vec<Field> =
        problems(&check(&message).unwrap_err()).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, [Field::FirstName, Field::Email, Field::Phone, Field::RequestedLogin]);
}

#[test]
fn what_is_no_message_is_said_to_be_none() {
    for (bytes, why, reason) in [
        (&b""[..], Why::NotJson, "malformed"),
        (b"hello", Why::NotJson, "malformed"),
        (b"{\"a\":1", Why::NotJson, "malformed"),
        (b"{} {}", Why::NotJson, "malformed"),
        (b"\xff\xfe", Why::NotJson, "malformed"),
        (b"[1]", Why::NotAnObject, "malformed"),
        (b"null", Why::NotAnObject, "malformed"),
        (
            br#"{"schema":2,"uidnumber":0}"#,
            Why::UnsupportedSchema { found: 2, known: 1 },
            "unsupported_schema",
        ),
    ] {
        let refusal = UserRegistrationData::parse(bytes, &FieldMap::default()).unwrap_err();
        assert_eq!(refusal.problems()[0].why, why);
        assert_eq!(refusal.dead_reason().as_str(), reason);
    }
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(UserRegistrationData::MAX_BYTES));
    let refusal = UserRegistrationData::parse(large.as_bytes(), &FieldMap::default()).unwrap_err();
    assert!(matches!(refusal.problems()[0].why, Why::TooLong { .. }));
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(9_000), "]".repeat(9_000));
    let refusal = UserRegistrationData::parse(deep.as_bytes(), &FieldMap::default()).unwrap_err();
    assert_eq!(refusal.problems()[0].why, Why::Unreadable);
}

#[test]
fn a_refused_applicant_can_be_told_unless_it_is_unclear_who_it_is() {
    let find = |message: &Value| contact(message.to_string().as_bytes(), &FieldMap::default());
    let (recipient, id) = find(&with(&json!({"first_name": 7, "schema": 9})));
    assert_eq!(recipient.unwrap().language.as_deref(), Some("ru"));
    assert_eq!(id.to_string(), "0190abcd-0000-7000-8000-0123456789ab");
    assert_eq!(find(&with(&json!({"chatId": 666}))).0, None);
    assert_eq!(find(&json!({"first_name": "Ada"})).0, None);
    let message = json!({"user_id": 42});
    assert_eq!(find(&message).1, RegistrationId::of_bytes(message.to_string().as_bytes()));
    assert_eq!(contact(b"junk", &FieldMap::default()), (None, RegistrationId::of_bytes(b"junk")));
    // Whoever sends too much hears that it was too much.
    let long = json!({"telegram": {"user_id": 42}, "note": "x".repeat(UserRegistrationData::MAX_BYTES)});
    assert_eq!(find(&long).0.map(|recipient| recipient.chat_id), Some(42));
}

#[test]
fn missing_pieces_are_made_up_by_rule() {
    let message = with(
        &json!({"last_name": null, "requested_login": null, "registration_id": "reg-7", "groups": null}),
    );
    let registration = check(&message).unwrap();
    assert_eq!(registration.last_name, "-");
    assert_eq!(registration.logins[0].as_str(), "anna");
    assert_eq!(registration.id, RegistrationId::of_content(&parse(&message).unwrap()));
    assert_eq!(registration.groups, ["everybody"]);
    let mut rules = rules();
    rules.required = [Field::LastName, Field::Email, Field::Consent].into();
    let refusal = rules
        .check(&parse(&json!({"user_id": 42, "first_name": "Ada", "last_name": " "})).unwrap())
        .unwrap_err();
    assert_eq!(
        problems(&refusal),
        [
            (Field::LastName, Why::Missing),
            (Field::Email, Why::Missing),
            (Field::Consent, Why::ConsentMissing)
        ]
    );
    rules.required.clear();
    rules.email_domains = ["example.org".to_owned()].into();
    assert!(rules.check(&parse(&with(&json!({"email": "a@EXAMPLE.org"}))).unwrap()).is_ok());
    let refusal = rules.check(&parse(&with(&json!({"email": "a@example.com"}))).unwrap()).unwrap_err();
    assert_eq!(problems(&refusal), [(Field::Email, Why::Domain)]);
}

#[test]
fn nothing_of_a_person_is_in_any_debug_or_error() {
    let data = parse(&canonical()).unwrap();
    let registration = check(&canonical()).unwrap();
    let refusal =
        check(&with(&json!({"email": "canary", "requested_login": "канарейка", "phone": "canary"})))
            .unwrap_err();
    let shown = format!("{data:?} {:?} {registration:?} {refusal} {refusal:?}", data.telegram);
    for personal in
        ["Анна", "Петрова", "example.org", "7999", "apetrova", "alice", "42,", "42)", "canary", "канарейка"]
    {
        assert!(!shown.contains(personal), "{personal} is in {shown}");
    }
}

/// Any JSON, with the names that mean something more often than chance would have it.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from("2026-11-21T20:31:00Z")),
        Just(Value::from("a@example.org")),
    ];
    let key = prop_oneof![
        proptest::sample::select(vec![
            "schema",
            "registration_id",
            "createdAt",
            "telegram",
            "tg",
            "user_id",
            "ChatID",
            "id",
            "firstName",
            "last_name",
            "email",
            "phone",
            "login",
            "groups",
            "consent",
            "accepted",
            "accepted_at",
            "trace_id",
            "attempt",
            "uidnumber",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z_]{0,6}",
    ];
    leaf.prop_recursive(3, 40, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..10)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_comes_is_a_registration_or_refused(message in any_json()) {
        let json = message.to_string();
        let names = names(&["email=a.b", "first_name=name"]);
        let _ = contact(json.as_bytes(), &names);
        match UserRegistrationData::parse(json.as_bytes(), &names).and_then(|data| rules().check(&data)) {
            Ok(registration) => {
                prop_assert!(!registration.logins.is_empty() && !registration.first_name.is_empty());
                prop_assert!(registration.user_id > 0);
            }
            Err(refusal) => prop_assert!(!refusal.problems().is_empty()),
        }
    }

    #[test]
    fn bytes_of_any_kind_are_refused_and_nothing_worse(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (UserRegistrationData::parse(&bytes, &FieldMap::default()), contact(&bytes, &FieldMap::default()));
    }

    #[test]
    fn what_was_read_is_written_so_that_it_is_read_again(extra in proptest::collection::btree_map("x_[a-z]{1,6}", any_json(), 0..5)) {
        let mut message = canonical();
        for (key, value) in &extra {
            message[key] = value.clone();
        }
        // One in many has a forbidden name deep inside.
        if let Ok(data) = parse(&message) {
            let written = serde_json::to_string(&data).unwrap();
            for (key, value) in &extra {
                let value = value.to_string();
                prop_assert_eq!(data.extra.get(key), Some(value.as_str()));
                let field = format!("\"{key}\":{value}");
                prop_assert!(written.contains(&field));
            }
            prop_assert_eq!(UserRegistrationData::parse(written.as_bytes(), &FieldMap::default()), Ok(data));
        }
    }
}
