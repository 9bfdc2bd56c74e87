//! `valkit route test`

use crate::support::valkit;

const ROUTES: &str = r#"
[[route]]
name = "germans"
queue = "de"
kind = "registration"
payload = { "/country" = "de" }

[[route]]
queue = "vip"
headers = { tier = "gold*" }
"#;

fn test(arguments: &[&str], payload: &str) -> (Option<i32>, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ROUTES).unwrap();
    let all = [&["route", "test", file.path().to_str().unwrap()], arguments].concat();
    let output = valkit(&all).write_stdin(payload).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn the_chosen_queue_and_why() {
    let (code, text) = test(&["--kind", "registration"], r#"{"country":"de"}"#);
    assert_eq!(code, Some(0));
    assert!(text.contains("germans: yes, to queue de"), "{text}");
    let (code, text) = test(&["--header", "tier=gold-plus", "-o", "json"], r#"{"country":"fr"}"#);
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &answer["queue"]), (Some(0), &"vip".into()));
    assert_eq!((&answer["steps"][0]["fits"], &answer["steps"][1]["fits"]), (&false.into(), &true.into()));
    let (code, _) = test(&["--envelope"], r#"{"kind":"registration","payload":{"country":"de"}}"#);
    assert_eq!(code, Some(0));
}

#[test]
fn nothing_fits() {
    assert_eq!(test(&[], "{}").0, Some(4));
    assert_eq!(test(&[], "no json").0, Some(2));
}

#[test]
fn broken_routes_are_usage() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[[route]]\nqueue = \"not a name\"").unwrap();
    valkit(&["route", "test", file.path().to_str().unwrap()]).write_stdin("{}").assert().code(2);
}
