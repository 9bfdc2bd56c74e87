//! What each type accepts, and what it says otherwise.

use super::*;

#[test]
fn booleans_in_every_spelling() {
    for (text, expected) in [
        ("true", true),
        ("TRUE", true),
        ("1", true),
        ("Yes", true),
        ("on", true),
        ("false", false),
        ("0", false),
        ("NO", false),
        ("off", false),
        (" true ", true),
    ] {
        assert_eq!(connection([("TLS_ENABLED", text)]).tls_enabled, expected, "{text}");
    }
    assert_eq!(
        error(&variables([("TLS_ENABLED", "maybe")])),
        "VALKEY_SENDER_TLS_ENABLED: \"maybe\": expected true or false (or 1, 0, yes, no, on, off)"
    );
}

#[test]
fn durations_need_a_unit() {
    assert_eq!(connection([("DIAL_TIMEOUT", "1h30m")]).dial_timeout, Duration::from_mins(90));
    assert_eq!(connection([("DIAL_TIMEOUT", "1m 30s")]).dial_timeout, Duration::from_secs(90));
    let expected = "expected a duration such as 500ms, 5s or 1h30m; \
                    a bare number has no unit: write 90s for seconds or 90ms for milliseconds";
    assert_eq!(
        error(&variables([("DIAL_TIMEOUT", "90")])),
        format!("VALKEY_SENDER_DIAL_TIMEOUT: \"90\": {expected}")
    );
    assert_eq!(
        error(&Sources::new("").toml_text("a.toml", "[connection]\n\ndial_timeout = 90")),
        format!("a.toml:3: connection.dial_timeout: 90: {expected}")
    );
}

#[test]
fn lists_are_trimmed_and_have_no_empty_parts() {
    let names = |list: &CsvList<Name>| list.iter().map(|name| name.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&sender([("QUEUES", "a, b ,,c,")]).queues), ["a", "b", "c"]);
    assert_eq!(names(&sender([("QUEUES", ",")]).queues), Vec::<String>::new());
    for text in ["[\"a\", \" b \", \"\"]", "\"a,b\""] {
        let settings: SenderSettings =
            Sources::new("").toml_text("a.toml", format!("[sender]\nqueues = {text}")).load().unwrap();
        assert_eq!(names(&settings.queues), ["a", "b"], "{text}");
    }
    assert_eq!(
        error(&variables([("QUEUES", "a,b c")])),
        "VALKEY_SENDER_QUEUES: \"a,b c\": expected a list of valid values; number 2: \
         expected letters, digits and dashes"
    );
}

#[test]
fn numbers_know_their_range() {
    assert_eq!(sender([("MAX_RETRIES", " 255 ")]).max_retries, 255);
    for text in ["256", "-1", "1.0", "abc", "0x10"] {
        assert_eq!(
            error(&variables([("MAX_RETRIES", text)])),
            format!("VALKEY_SENDER_MAX_RETRIES: \"{text}\": expected a whole number from 0 to 255")
        );
    }
    assert!(sender([("RETRY_BACKOFF", "1")]).retry_backoff.to_bits() == 1.0_f64.to_bits());
    for text in ["NaN", "inf", "x"] {
        assert!(error(&variables([("RETRY_BACKOFF", text)])).contains("expected a number such as 2 or 0.5"));
    }
}

#[test]
fn types_of_other_crates_are_read_by_from_str() {
    let settings = sender([("DEFAULT_QUEUE", "orders"), ("DEAD_LETTER_QUEUE", "dead")]);
    assert_eq!(settings.default_queue, Name("orders".to_owned()));
    assert_eq!(settings.dead_letter_queue, Some(Name("dead".to_owned())));
    assert_eq!(
        error(&variables([("DEFAULT_QUEUE", "a b")])),
        "VALKEY_SENDER_DEFAULT_QUEUE: \"a b\": expected letters, digits and dashes"
    );
}

#[test]
fn structured_settings_come_from_files_only() {
    let file =
        "[[sender.routes]]\nkind = \"a\"\nqueue = \"b\"\n[[sender.routes]]\nkind = \"c\"\nqueue = \"d\"";
    let settings: SenderSettings = Sources::new(PREFIX).toml_text("a.toml", file).load().unwrap();
    assert_eq!(settings.routes.len(), 2);
    assert_eq!(settings.routes[1], Route { kind: "c".to_owned(), queue: "d".to_owned() });
    assert_eq!(
        error(&variables([("ROUTES", "a=b")])),
        "VALKEY_SENDER_ROUTES: \"a=b\": it can only be set in a TOML file"
    );
    let error = error(&Sources::new("").toml_text("a.toml", "[[sender.routes]]\nkind = \"a\"\nqeue = \"b\""));
    assert!(error.contains("unknown field `qeue`"), "{error}");
}

#[test]
fn strings_keep_their_spaces() {
    assert_eq!(sender([("LOG", " a b ")]).log_level, " a b ");
}

#[test]
fn toml_types_are_checked_like_variables() {
    for (line, expected) in [
        (
            "pool_size = \"many\"",
            "a.toml:2: connection.pool_size: \"many\": expected a whole number from 0 to 4294967295",
        ),
        (
            "pool_size = 1.5",
            "a.toml:2: connection.pool_size: 1.5: expected a whole number from 0 to 4294967295",
        ),
        (
            "pool_size = [1]",
            "a.toml:2: connection.pool_size: [1]: expected a whole number from 0 to 4294967295",
        ),
        (
            "pool_size = {a = 1}",
            "a.toml:2: connection.pool_size: {a = 1}: expected a whole number from 0 to 4294967295",
        ),
        (
            "tls_enabled = 1979-05-27",
            "a.toml:2: connection.tls_enabled: 1979-05-27: expected true or false (or 1, 0, yes, no, on, off)",
        ),
    ] {
        assert_eq!(error(&Sources::new("").toml_text("a.toml", format!("[connection]\n{line}"))), expected);
    }
}
