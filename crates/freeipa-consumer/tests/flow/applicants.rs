//! What people send, and what becomes of it.

use freeipa_double::Container;
use serde_json::{Value, json};
use valkey_envelope::Envelope;

use crate::people::{asking, marker, somebody, with};
use crate::scene::{GROUP, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_registration_becomes_an_account_and_its_password_works() {
    let scene = Scene::new().await;
    let registration = with(with(somebody(42, "Ada"), "email", "ada@example.org"), "phone", "+49 30 1234567");
    scene.send(&registration).await;
    scene.work_off().await;
    scene.assert_has_account(42, "ada");
    let directory = scene.ipa.directory();
    let ada = directory.user("ada").unwrap();
    assert_eq!(
        (ada.values("givenname"), ada.values("sn")),
        (&["Ada".to_owned()][..], &["Tester".to_owned()][..])
    );
    assert_eq!(ada.values("mail"), ["ada@example.org"]);
    assert!(ada.values("userclass").contains(&marker(&registration)), "{:?}", ada.values("userclass"));
    assert!(ada.values("userclass").iter().any(|class| class.starts_with("tguser:")));
    assert_eq!((ada.passwords_set, scene.told(42).len()), (1, 1), "nothing is done twice");
    assert!(scene.telegram.messages_to(42)[0].protected);
    assert!(scene.dead().await.is_empty());

    // It comes once more, by a sender that was not sure.
    scene.send(&registration).await;
    scene.work_off().await;
    assert_eq!(scene.ipa.directory().user("ada").unwrap().passwords_set, 1, "no new password");
    assert_eq!(scene.told(42).len(), 1, "and nothing told again");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_all_kinds_get_logins() {
    let scene = Scene::new().await;
    let mut nameless = somebody(3, "Grace");
    nameless.as_object_mut().unwrap().remove("last_name");
    let go = json!({"ChatID": "4", "FirstName": "Linus", "LastName": "Go", "CreatedAt": 1_795_293_060});
    for registration in [somebody(1, "Анна"), somebody(2, "Jürgen"), nameless, go, somebody(5, "山田")]
    {
        scene.send(&registration).await;
    }
    scene.work_off().await;
    for (chat, login) in [(1, "anna"), (2, "jurgen"), (3, "grace"), (4, "linus")] {
        scene.assert_has_account(chat, login);
    }
    let directory = scene.ipa.directory();
    assert_eq!(directory.user("anna").unwrap().values("givenname"), ["Анна"], "the name stays as it is");
    assert_eq!(directory.user("grace").unwrap().values("sn"), ["-"]);
    assert_eq!(directory.created().len(), 5);
    assert!(scene.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_rule_is_told_by_field_and_kept_with_a_reason() {
    let scene = Scene::new().await;
    let rows: Vec<(Value, &str, &str, &str)> = vec![
        (asking(1, &"a".repeat(33)), "login", "too long", "invalid_registration"),
        (asking(2, "4711"), "login", "begins with a letter", "invalid_registration"),
        (asking(3, "петрова"), "login", "begins with a letter", "invalid_registration"),
        (asking(4, "root"), "login", "reserved", "invalid_registration"),
        (with(somebody(5, "Ada"), "phone", "тел. 5"), "phone", "", "invalid_registration"),
        (with(somebody(6, "Ada"), "email", "not@@good"), "e-mail", "", "invalid_registration"),
        (
            with(somebody(7, "Ada"), "groups", json!(["admins"])),
            "groups",
            "cannot be put",
            "invalid_registration",
        ),
        (with(somebody(8, "Ada"), "uidnumber", 0), "", "nobody may choose", "forbidden_field"),
        (with(somebody(9, "Ada"), "schema", 99), "", "on our side", "unsupported_schema"),
    ];
    for (registration, ..) in &rows {
        scene.send(registration).await;
    }
    scene.work_off().await;
    for (registration, field, reason, _) in &rows {
        let chat = registration["telegram"]["chat_id"].as_i64().unwrap();
        let told = scene.told(chat);
        assert_eq!(told.len(), 1, "{chat}: {told:?}");
        assert!(told[0].contains(field) && told[0].contains(reason), "{told:?}");
        assert!(!told[0].contains("Temporary password"));
    }
    let mut reasons = scene.reasons().await;
    let mut expected: Vec<&str> = rows.iter().map(|row| row.3).collect();
    reasons.sort();
    expected.sort_unstable();
    assert_eq!(reasons, expected);
    assert!(scene.ipa.directory().created().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_directory_refuses_is_told_by_field_too() {
    let scene = Scene::new().await;
    let error = |code, name: &str, message: &str| freeipa_double::Fault::Error {
        code,
        name: name.to_owned(),
        message: message.to_owned(),
    };
    let text = "telephoneNumber: value #0 invalid per syntax: Invalid syntax.";
    scene.ipa.faults().arm(freeipa_double::FaultRule::new("user_add", error(4208, "InvalidSyntax", text)));
    scene.send(&with(somebody(42, "Ada"), "phone", "+4930123456")).await;
    scene.work_off().await;
    assert!(scene.last(42).contains("phone number"), "{:?}", scene.told(42));
    assert_eq!(scene.reasons().await, ["refused_by_directory"]);

    // What the program itself gets wrong is nobody's data, and is kept at once.
    scene
        .ipa
        .faults()
        .arm(freeipa_double::FaultRule::new("user_add", error(3005, "OptionError", "Unknown option: x")));
    scene.send(&somebody(43, "Eve")).await;
    scene.work_off().await;
    assert!(scene.last(43).contains("Something went wrong on our side"), "{:?}", scene.told(43));
    assert_eq!(scene.reasons().await, ["refused_by_directory", "misunderstood"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_somebody_has_is_refused() {
    let scene = Scene::new().await;
    scene.send(&with(somebody(1, "Ada"), "email", "ada@example.org")).await;
    scene.work_off().await;
    scene.send(&with(somebody(2, "Eve"), "email", "ADA@example.org")).await;
    scene.work_off().await;
    assert_eq!(scene.ipa.directory().created(), ["ada"]);
    assert!(scene.last(2).contains("e-mail address"), "{:?}", scene.told(2));
    assert!(scene.last(2).contains("cannot be used"), "{:?}", scene.told(2));
    assert!(!scene.last(2).contains("already"), "it is not told whether somebody has it");
    assert_eq!(scene.reasons().await, ["email_taken"]);

    let free = Scene::set("[registration]\nemail_unique = false\n").await;
    for (chat, name) in [(1, "Ada"), (2, "Eve")] {
        free.send(&with(somebody(chat, name), "email", "both@example.org")).await;
    }
    free.work_off().await;
    free.assert_has_account(1, "ada");
    free.assert_has_account(2, "eve");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_has_one_account_however_many_are_asked_for() {
    let scene = Scene::new().await;
    for name in ["Ada", "Augusta", "Byron"] {
        scene.send(&somebody(42, name)).await;
    }
    scene.work_off().await;
    assert_eq!(scene.ipa.directory().created().len(), 1, "{:?}", scene.ipa.directory().created());
    let told = scene.told(42);
    let refused = told.iter().filter(|text| text.contains("have an account here already")).count();
    assert_eq!((told.len(), refused), (3, 2), "{told:?}");
    assert!(
        told.iter().all(|text| !text.contains("register again") || text.contains("do not register again"))
    );
    assert_eq!(scene.reasons().await, ["has_account", "has_account"]);
    for letter in scene.dead().await {
        let error = letter.meta.as_ref().unwrap().error.clone().unwrap_or_default();
        let reference = &error[..9];
        assert!(error.ends_with(&format!("{})", &reference[1..])), "the id, too: {error}");
        assert!(told.iter().any(|text| text.contains(reference)), "what was told is found again: {error}");
    }

    let many = Scene::set("[consumer]\none_account_per_person = false\n").await;
    for name in ["Ada", "Augusta"] {
        many.send(&somebody(42, name)).await;
    }
    many.work_off().await;
    assert_eq!(many.ipa.directory().created().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_people_is_not_told_a_password() {
    let scene = Scene::new().await;
    let mut registration = somebody(42, "Ada");
    registration["telegram"]["chat_id"] = json!(-100_123);
    scene.send(&registration).await;
    scene.work_off().await;
    assert!(scene.ipa.directory().user("ada").is_some_and(|ada| ada.passwords_set == 0));
    let told = scene.told(-100_123);
    assert!(told.len() == 1 && told[0].contains("ask the administrators"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_kept_as_it_is_with_a_reason() {
    let scene = Scene::new().await;
    let raw = async |bytes: &str| {
        let server = valkey_testkit::TestServer::shared().await;
        server.cli(&["LPUSH", scene.queue.keys().public(), bytes]).await.unwrap();
    };
    raw("{\"not\": an envelope").await;
    raw("\u{1}\u{2}").await;
    scene.send_envelope(Envelope::new("only a text").unwrap()).await;
    scene.send_envelope(Envelope::new(&json!([1, 2, 3])).unwrap()).await;
    scene
        .send_envelope(Envelope::new(&json!({"telegram": {"chat_id": 42}, "first_name": {"a": 1}})).unwrap())
        .await;
    scene.send(&somebody(7, "Ada")).await;
    scene.work_off().await;
    scene.assert_has_account(7, "ada");
    let mut reasons = scene.reasons().await;
    reasons.sort();
    assert_eq!(reasons, ["malformed", "malformed", "malformed", "undecodable", "undecodable"]);
    let kept: Vec<_> = scene.dead().await.into_iter().map(|letter| letter.bytes).collect();
    assert!(kept.iter().any(|bytes| &bytes[..] == b"{\"not\": an envelope"), "bytes are kept as they came");
    assert!(scene.last(42).contains("it cannot be read"), "who can be told is told: {:?}", scene.told(42));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_replayed_goes_on() {
    let scene = Scene::new().await;
    scene.ipa.apply(freeipa_double::FreeIpaAction::RemoveGroup { name: GROUP.to_owned() }).unwrap();
    scene.send(&somebody(42, "Ada")).await;
    scene.work_off().await;
    assert_eq!(scene.reasons().await, ["partial_group"]);
    let managers = vec![crate::scene::SERVICE.to_owned()];
    scene.ipa.apply(freeipa_double::FreeIpaAction::AddGroup { name: GROUP.to_owned(), managers }).unwrap();
    let all = valkey_admin::DeadSelection::All;
    let source = valkey_admin::ReplayTo::Source;
    let replayed =
        scene.admin().replay(&scene.queue, &all, &source, valkey_admin::Execution::Run, |_| ()).await;
    assert_eq!(replayed.unwrap().done(), 1);
    scene.work_off().await;
    scene.assert_has_account(42, "ada");
    assert!(scene.dead().await.is_empty());
    assert!(
        scene.ipa.directory().user_in(Container::Active, "ada").is_some_and(|ada| ada.passwords_set == 1)
    );
}

/// Two people with one id, which a producer must not do.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_comes_with_another_person_is_refused_and_tells_nothing_of_the_first() {
    for settings in ["", "[consumer]\none_account_per_person = false\n"] {
        let scene = Scene::set(settings).await;
        let first = somebody(42, "Ada");
        let second = with(somebody(43, "Eve"), "registration_id", first["registration_id"].clone());
        scene.send(&first).await;
        scene.work_off().await;
        scene.assert_has_account(42, "ada");
        scene.send(&second).await;
        scene.work_off().await;
        // With the same login, too: it is not the name that tells them apart.
        scene.send(&with(with(second.clone(), "first_name", "Ada"), "last_name", "Other")).await;
        scene.work_off().await;
        for told in scene.told(43) {
            assert!(told.contains("its number was used before; please try again"), "{told}");
            assert!(!told.contains("ada") && !told.contains("Temporary password"), "{told}");
        }
        assert_eq!(scene.told(43).len(), 2);
        assert_eq!(scene.reasons().await, ["id_taken", "id_taken"]);
        let letter = scene.dead().await.remove(0);
        let error = format!("{:?}", letter.meta.unwrap());
        assert!(error.contains("an id of its own") && !error.contains("ada"), "{error}");
        // The first is as before, and whoever repeats it, too.
        scene.send(&first).await;
        scene.work_off().await;
        assert_eq!(scene.told(42).len(), 1, "nothing is told twice");
        let directory = scene.ipa.directory();
        assert_eq!((directory.created().len(), directory.user("ada").unwrap().passwords_set), (1, 1));
    }
}

/// What is remembered is lost: the entry says whose it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_person_is_known_by_the_entry_when_the_record_is_lost() {
    let scene = Scene::new().await;
    let first = with(somebody(42, "Ada"), "email", "ada@example.org");
    let id = first["registration_id"].clone();
    let forget = async || {
        let key = scene.records().key(id.as_str().unwrap().parse().unwrap());
        let removed = valkey_testkit::TestServer::shared().await.cli(&["DEL", &key]).await.unwrap();
        assert!(removed.contains('1'), "{removed}");
    };
    scene.send(&first).await;
    scene.work_off().await;
    forget().await;
    scene.send(&with(somebody(43, "Eve"), "registration_id", id.clone())).await;
    scene.work_off().await;
    assert!(scene.last(43).contains("its number was used before"), "{:?}", scene.told(43));
    assert_eq!(scene.ipa.directory().created(), ["ada"]);
    let kept = scene.records().load(id.as_str().unwrap().parse().unwrap()).await.unwrap();
    assert_eq!(kept, None, "the second person has no part in what is remembered");

    // The first asks for another name under the same id: it is the same registration, and there is one account.
    scene.send(&with(first.clone(), "requested_login", "countess")).await;
    scene.work_off().await;
    assert_eq!(scene.ipa.directory().created(), ["ada"]);
    scene.assert_has_account(42, "ada");
    // And now it is remembered again.
    scene.send(&with(somebody(44, "Kim"), "registration_id", id.clone())).await;
    scene.work_off().await;
    assert_eq!(scene.reasons().await, ["id_taken", "id_taken"]);
}

/// What is refused already touches nothing of the other person's, either.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_with_an_id_of_another_person_leaves_that_one_alone() {
    let scene = Scene::new().await;
    let first = with(somebody(42, "Ada"), "phone", "x");
    let id = first["registration_id"].clone();
    scene.send(&first).await;
    scene.work_off().await;
    let parsed = id.as_str().unwrap().parse().unwrap();
    let before = scene.records().load(parsed).await.unwrap().unwrap();
    scene.send(&with(with(somebody(43, "Eve"), "phone", "x"), "registration_id", id)).await;
    scene.work_off().await;
    assert!(scene.last(43).contains("phone number"), "{:?}", scene.told(43));
    assert_eq!(scene.records().load(parsed).await.unwrap().unwrap(), before);
}
