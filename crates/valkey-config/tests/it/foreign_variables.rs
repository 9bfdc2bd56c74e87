//! Variables that are not ours, or not quite.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::*;

fn notices(sources: &Sources) -> Vec<String> {
    let loaded = sources.load_with_notices::<(ConnectionSettings, SenderSettings)>().unwrap();
    loaded.notices.iter().map(ToString::to_string).collect()
}

fn not_utf8() -> OsString {
    OsString::from_vec(b"caf\xe9".to_vec())
}

#[test]
fn an_unknown_variable_is_a_notice_with_the_nearest_name() {
    assert_eq!(
        notices(&variables([("POOLSIZE", "3"), ("PASWORD_FILE", "x"), ("ZEBRA", "x")])),
        [
            "VALKEY_SENDER_PASWORD_FILE is not a setting; did you mean VALKEY_SENDER_PASSWORD_FILE?",
            "VALKEY_SENDER_POOLSIZE is not a setting; did you mean VALKEY_SENDER_POOL_SIZE?",
            "VALKEY_SENDER_ZEBRA is not a setting",
        ]
    );
}

#[test]
fn a_notice_never_shows_the_value() {
    let told = notices(&variables([("PASWORD", "canary")])).join("\n");
    assert!(told.contains("VALKEY_SENDER_PASSWORD?") && !told.contains("canary"), "{told}");
}

#[test]
fn a_variable_is_known_if_any_of_the_structs_knows_it() {
    let sources = variables([("POOL_SIZE", "3"), ("MAX_RETRIES", "1")]);
    assert!(notices(&sources).is_empty());
    let alone = sources.load_with_notices::<SenderSettings>().unwrap();
    assert_eq!(alone.notices.len(), 1, "{:?}", alone.notices);
}

#[test]
fn what_kubernetes_injects_is_ignored() {
    let links = [
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "6379"),
        ("SERVICE_PORT_METRICS", "9090"),
        ("PORT", "tcp://10.0.0.1:6379"),
        ("PORT_6379_TCP", "tcp://10.0.0.1:6379"),
        ("PORT_6379_TCP_PROTO", "tcp"),
        ("PORT_6379_TCP_PORT", "6379"),
        ("PORT_6379_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(notices(&variables(links)), Vec::<String>::new());
}

#[test]
fn a_setting_that_looks_like_a_service_link_is_a_setting() {
    settings! {
        /// Where a web page is served.
        pub struct Web in [web] {
            /// Port to listen on.
            pub port: u16 = 8080,
            /// Name of the service.
            pub service_host: String,
        }
    }
    impl Validate for Web {}
    let web: Web = variables([("PORT", "81"), ("SERVICE_HOST", "x")]).load().unwrap();
    assert_eq!((web.port, &*web.service_host), (81, "x"));
    let error = variables([("PORT", "tcp://10.0.0.1:6379")]).load::<Web>().unwrap_err().to_string();
    assert!(error.contains("expected a whole number") && error.contains("enableServiceLinks"), "{error}");
}

#[test]
fn a_longer_prefix_can_be_left_to_others() {
    let sources = Sources::new("VALKEY_").vars([("VALKEY_POOL_SIZE", "3"), ("VALKEY_SENDER_ROUTING", "x")]);
    assert_eq!(notices(&sources), ["VALKEY_SENDER_ROUTING is not a setting"]);
    assert!(notices(&sources.except("VALKEY_SENDER_")).is_empty());
}

#[test]
fn a_foreign_variable_that_is_not_utf8_is_nobodys_business() {
    let sources = Sources::new(PREFIX).vars([
        (OsString::from("OTHER"), not_utf8()),
        (not_utf8(), OsString::from("x")),
        (OsString::from("VALKEY_SENDER_POOL_SIZE"), OsString::from("3")),
    ]);
    assert_eq!(sources.load::<ConnectionSettings>().unwrap().pool_size, 3);
}

#[test]
fn a_variable_of_ours_that_is_not_utf8_is_named() {
    let mut name = OsString::from("VALKEY_SENDER_");
    name.push(not_utf8());
    let sources = Sources::new(PREFIX)
        .vars([(OsString::from("VALKEY_SENDER_PASSWORD"), not_utf8()), (name, OsString::new())]);
    assert_eq!(
        error(&sources),
        "2 problems in the settings:\n  - VALKEY_SENDER_PASSWORD: the value is not UTF-8\n  \
         - VALKEY_SENDER_caf\u{fffd}: the variable's name is not UTF-8"
    );
}

#[test]
fn the_environment_of_the_process_is_read() {
    // Cargo sets this for every test.
    settings! {
        /// What cargo says.
        pub struct Cargo in [cargo] {
            /// Name of the package.
            pub pkg_name: String,
        }
    }
    impl Validate for Cargo {}
    let cargo: Cargo = Sources::new("CARGO_").env().load().unwrap();
    assert_eq!(cargo.pkg_name, "valkey-config");
}

#[test]
fn the_environment_of_the_process_may_hold_foreign_bytes() {
    // The environment of this process cannot be changed safely, so the test above runs again in a child with another.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "foreign_variables::the_environment_of_the_process_is_read"])
        .env("FOREIGN", not_utf8())
        .env(not_utf8(), "x")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

#[test]
fn a_setting_without_effect_is_told() {
    assert_eq!(
        notices(&variables([("MIN_IDLE_CONNS", "2")])),
        ["VALKEY_SENDER_MIN_IDLE_CONNS has no effect: connections are multiplexed and all kept open"]
    );
}

#[test]
fn a_section_that_is_nearly_ours_is_told_and_others_are_not() {
    let sources = Sources::new("").toml_text("a.toml", "[logging]\nlevel = 3\n[sendr]\nmax_retries = 3");
    assert_eq!(notices(&sources), ["a.toml:3: [sendr] is read by nobody; did you mean [sender]?"]);
}
