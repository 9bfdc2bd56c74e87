//! What `envy` does by itself, and what our layer makes of the same input. The first half of each test would fail if
//! `envy` ever changed, and then the detour could go.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use serde::Deserialize;

use super::*;

fn envy<T: serde::de::DeserializeOwned>(name: &str, value: &str) -> Result<T, String> {
    let vars = [(format!("{PREFIX}{name}"), value.to_owned())];
    envy::prefixed(PREFIX).from_iter(vars).map_err(|error| error.to_string())
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Flat {
    pool_size: Option<u32>,
    tls_enabled: Option<bool>,
    queues: Option<Vec<u32>>,
    password: Option<u32>,
    level: Option<Level>,
}

#[derive(Debug, Deserialize)]
enum Level {
    Info,
}

#[test]
fn flatten_loses_types() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Nested {
        #[serde(flatten)]
        flat: Flat,
    }
    assert!(envy::<Nested>("POOL_SIZE", "3").is_err());
    // Several structs under one prefix are what flatten would be for.
    let (connection, sender): (ConnectionSettings, SenderSettings) =
        variables([("POOL_SIZE", "3"), ("MAX_RETRIES", "4")]).load().unwrap();
    assert_eq!((connection.pool_size, sender.max_retries), (3, 4));
}

#[test]
fn an_empty_number_is_an_error() {
    assert!(envy::<Flat>("POOL_SIZE", "").unwrap_err().contains("empty"));
    assert_eq!(connection([("POOL_SIZE", "")]).pool_size, 10);
}

#[test]
fn only_two_spellings_of_booleans() {
    for text in ["1", "yes", "TRUE"] {
        assert!(envy::<Flat>("TLS_ENABLED", text).is_err());
        assert!(connection([("TLS_ENABLED", text)]).tls_enabled);
    }
}

#[test]
fn lists_are_not_trimmed() {
    assert!(envy::<Flat>("QUEUES", "1, 2").is_err());
    assert_eq!(sender([("QUEUES", "1, 2,")]).queues.len(), 2);
}

#[test]
fn errors_have_the_name_without_prefix_or_none_at_all() {
    assert!(!envy::<Flat>("POOL_SIZE", "abc").unwrap_err().contains("VALKEY_SENDER_POOL_SIZE"));
    assert!(!envy::<Flat>("LEVEL", "loud").unwrap_err().to_uppercase().contains("LEVEL"));
    for name in ["POOL_SIZE", "DIAL_TIMEOUT", "TLS_ENABLED", "MAX_RETRIES", "QUEUES", "URL", "SEEDS"] {
        let text = error(&variables([(name, "+?")]));
        assert!(text.starts_with(&format!("VALKEY_SENDER_{name}: ")), "{text}");
        assert!(text.contains("expected"), "{text}");
    }
}

#[test]
fn errors_echo_secrets() {
    assert!(envy::<Flat>("PASSWORD", "canary").unwrap_err().contains("canary"));
    let text = error(&variables([("URL", "valkey://user:canary@host:x")]));
    assert!(text.starts_with("VALKEY_SENDER_URL: expected a server URL; the port"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn a_password_of_digits_stays_a_text() {
    assert_eq!(connection([("PASSWORD", "12345")]).password, Some(Secret::from("12345")));
    assert_eq!(connection([("PASSWORD", "true")]).password, Some(Secret::from("true")));
}

#[test]
fn only_the_first_error_is_told() {
    let vars = [("POOL_SIZE", "a"), ("TLS_ENABLED", "b")];
    let prefixed = vars.map(|(name, value)| (format!("{PREFIX}{name}"), value.to_owned()));
    let alone = envy::prefixed(PREFIX).from_iter::<_, Flat>(prefixed).unwrap_err().to_string();
    assert!(alone.contains("'a'") && !alone.contains("TLS_ENABLED"), "{alone}");
    assert_eq!(variables(vars).load::<ConnectionSettings>().unwrap_err().problems().len(), 2);
}

#[test]
fn names_in_lower_case_are_not_seen() {
    let vars = [("valkey_sender_pool_size".to_owned(), "3".to_owned())];
    assert_eq!(envy::prefixed(PREFIX).from_iter::<_, Flat>(vars.clone()).unwrap().pool_size, None);
    let loaded = Sources::new(PREFIX).vars(vars).load_with_notices::<ConnectionSettings>().unwrap();
    assert_eq!(
        loaded.notices[0].to_string(),
        "valkey_sender_pool_size is not a setting; did you mean VALKEY_SENDER_POOL_SIZE?"
    );
}

#[test]
fn two_spellings_of_one_name_do_not_collide() {
    let vars = [("POOL_SIZE", "3"), ("pool_size", "4")];
    let owned = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(envy::from_iter::<_, Flat>(owned).unwrap_err().to_string().contains("duplicate field"));
    assert_eq!(Sources::new("").vars(vars).load::<ConnectionSettings>().unwrap().pool_size, 3);
}

#[test]
fn one_variable_that_is_not_utf8_panics() {
    // `envy::from_env` reads `std::env::vars`, which panics; ours never does, as this one is foreign.
    let foreign = (OsString::from("FOREIGN"), OsString::from_vec(vec![0xff]));
    let settings: ConnectionSettings = Sources::new(PREFIX).vars([foreign]).load().unwrap();
    assert_eq!(settings.pool_size, 10);
}

#[test]
fn durations_are_not_understood() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Timeouts {
        dial_timeout: Duration,
    }
    assert!(envy::<Timeouts>("DIAL_TIMEOUT", "5s").is_err());
    assert_eq!(connection([("DIAL_TIMEOUT", "5s")]).dial_timeout, Duration::from_secs(5));
}
