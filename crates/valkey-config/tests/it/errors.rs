//! Everything that is wrong is said at once, and each thing by its name.

use super::*;
use valkey_config::ProblemKind;

/// What a `fn main` that returns the error shows.
#[test]
fn debug_is_as_readable_as_display() {
    let sources = Sources::new(PREFIX).vars([("VALKEY_SENDER_POOL_SIZE", "many")]);
    let error: Box<dyn std::error::Error> = sources.load::<ConnectionSettings>().unwrap_err().into();
    assert_eq!(format!("{error:?}"), error.to_string());
    assert!(error.to_string().starts_with("VALKEY_SENDER_POOL_SIZE: "), "{error}");
}

#[test]
fn a_table_that_must_not_be_there_is_named_with_its_line() {
    let sources = Sources::new(PREFIX).refuse_table("rules", "rules have a file of their own");
    for (text, place) in [
        ("[sender]\nmax_retries = 1\n[rules.a]\nquota = 1\n[rules.b]\n", "app.toml:3: rules.a"),
        ("[rules]\n", "app.toml:1: rules"),
        ("rules = 3\n", "app.toml:1: rules"),
    ] {
        let error = sources.clone().toml_text("app.toml", text).load::<SenderSettings>().unwrap_err();
        assert_eq!(error.to_string(), format!("{place}: rules have a file of their own"));
    }
    let fine = "[sender]\nmax_retries = 1\n[others.rules]\n";
    assert!(sources.toml_text("app.toml", fine).load::<SenderSettings>().is_ok());
}

/// What opens one waits until somebody writes into it.
#[cfg(unix)]
#[test]
fn a_pipe_is_no_settings_file() {
    let folder = std::env::temp_dir().join(format!("valkey-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let pipe = folder.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (told, heard) = std::sync::mpsc::channel();
    let path = pipe.clone();
    std::thread::spawn(move || {
        let read = Sources::new(PREFIX).toml_file(path).load::<SenderSettings>();
        told.send(read.map(drop).map_err(|error| error.to_string()))
    });
    let read = heard.recv_timeout(std::time::Duration::from_secs(10));
    std::fs::remove_dir_all(&folder).unwrap();
    let error = read.expect("it ends").unwrap_err();
    assert!(error.contains("it is a pipe, and not a file"), "{error}");
}

#[test]
fn all_problems_of_all_structs_and_sources_come_together() {
    let sources = Sources::new(PREFIX)
        .toml_text("app.toml", "[connection]\npol_size = 3\n[sender]\nmax_retries = \"x\"")
        .toml_file("/nowhere/app.toml")
        .vars([("VALKEY_SENDER_POOL_SIZE", "many"), ("VALKEY_SENDER_DEFAULT_QUEUE", "dead")])
        .vars([("VALKEY_SENDER_DEAD_LETTER_QUEUE", "dead")])
        .explicit("--dial-timeout", "dial_timeout", "5");
    let error = sources.load::<(ConnectionSettings, SenderSettings)>().unwrap_err();
    let kinds: Vec<_> = error.problems().iter().map(valkey_config::Problem::kind).collect();
    assert_eq!(
        kinds,
        [
            ProblemKind::Unreadable,
            ProblemKind::Unknown,
            ProblemKind::Value,
            ProblemKind::Value,
            ProblemKind::Value,
            ProblemKind::Contradiction
        ]
    );
    let places: Vec<_> = error.problems().iter().map(valkey_config::Problem::place).collect();
    assert_eq!(
        places,
        [
            "/nowhere/app.toml",
            "app.toml:2: connection.pol_size",
            "VALKEY_SENDER_POOL_SIZE",
            "--dial-timeout",
            "app.toml:4: sender.max_retries",
            "VALKEY_SENDER_DEAD_LETTER_QUEUE=dead, VALKEY_SENDER_DEFAULT_QUEUE=dead"
        ]
    );
    let text = error.to_string();
    assert!(
        text.starts_with("6 problems in the settings:\n  - /nowhere/app.toml: the settings file"),
        "{text}"
    );
    assert!(text.contains("`pol_size` is not a setting; did you mean `pool_size`?"), "{text}");
}

#[test]
fn every_syntax_error_has_its_line() {
    let text = error(&Sources::new("").toml_text("a.toml", "[connection]\npool_size = \n\ndatabase = = 3\n"));
    assert!(text.contains("a.toml:2: ") && text.contains("a.toml:4: "), "{text}");
}

#[test]
fn a_section_must_be_a_table() {
    let text = error(&Sources::new("").toml_text("a.toml", "\nconnection = 3"));
    assert_eq!(text, "a.toml:2: expected a table: [connection]");
}

#[test]
fn a_contradiction_shows_values_and_defaults() {
    assert_eq!(
        error(&variables([("TLS_KEY_FILE", "/etc/key")])),
        "VALKEY_SENDER_TLS_KEY_FILE=/etc/key, VALKEY_SENDER_TLS_ENABLED=false (default): a key is of no use without TLS"
    );
}

#[test]
fn a_contradiction_about_an_unreadable_value_is_not_told() {
    let text = error(&variables([("TLS_KEY_FILE", "/etc/key"), ("TLS_ENABLED", "ture")]));
    assert!(text.starts_with("VALKEY_SENDER_TLS_ENABLED: \"ture\": expected true"), "{text}");
    assert!(!text.contains("no use"), "{text}");
}

#[test]
fn the_caller_checks_across_structs() {
    let sources = variables([("POOL_SIZE", "2"), ("MAX_RETRIES", "5"), ("DIAL_TIMEOUT", "x")]);
    let check = |(connection, sender): &(ConnectionSettings, SenderSettings)| {
        if connection.pool_size < u32::from(sender.max_retries) {
            return vec![Contradiction::new(
                ["connection.pool_size", "sender.max_retries"],
                "too few connections",
            )];
        }
        Vec::new()
    };
    let error = sources.load_checked(check).unwrap_err().to_string();
    assert!(
        error.contains("VALKEY_SENDER_POOL_SIZE=2, VALKEY_SENDER_MAX_RETRIES=5: too few connections"),
        "{error}"
    );
    assert!(error.contains("VALKEY_SENDER_DIAL_TIMEOUT: \"x\": "), "with the others: {error}");
    let loaded = variables([("POOL_SIZE", "5")]).load_checked(check).unwrap();
    assert_eq!(loaded.settings.0.pool_size, 5);
}

#[test]
fn an_unknown_explicit_key_is_an_error() {
    assert_eq!(
        error(&Sources::new("").explicit("--set", "pool_sise", "3")),
        "--set: `pool_sise` is not a setting; did you mean `pool_size`?"
    );
    assert_eq!(error(&Sources::new("").explicit("--set", "zebra", "3")), "--set: `zebra` is not a setting");
}

#[test]
fn a_variable_of_two_structs_is_reported_once() {
    let sources = variables([("POOL_SIZE", "x")]);
    let error = sources.load::<(ConnectionSettings, ConnectionSettings)>().unwrap_err();
    assert_eq!(error.problems().len(), 1, "{error}");
}

#[test]
fn a_long_or_many_lined_value_stays_on_one_short_line() {
    let long = format!("a\nb{}", "x".repeat(10_000));
    let text = error(&variables([("POOL_SIZE", &*long)]));
    assert!(text.len() < 200 && !text.contains('\n') && text.contains("a\\nbxx"), "{text}");
}
