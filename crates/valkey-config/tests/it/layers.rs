//! Which source wins, and how one learns it.

use super::*;
use valkey_config::Origin;

#[test]
fn defaults_then_file_then_environment_then_explicit() {
    let file = "[connection]\npool_size = 1\ndatabase = 1\ntls_enabled = true\n[sender]\nmax_retries = 7";
    let sources = Sources::new(PREFIX)
        .explicit("--database", "database", "3")
        .vars([("VALKEY_SENDER_POOL_SIZE", "2"), ("VALKEY_SENDER_DATABASE", "2")])
        .toml_text("app.toml", file);
    let loaded = sources.load_with_notices::<(ConnectionSettings, SenderSettings)>().unwrap();
    let (connection, sender) = &loaded.settings;
    assert_eq!(connection.dial_timeout, Duration::from_secs(5), "nobody set it");
    assert!(connection.tls_enabled, "the file");
    assert_eq!(sender.max_retries, 7, "the file");
    assert_eq!(connection.pool_size, 2, "the environment");
    assert_eq!(connection.database, 3, "explicit");

    assert_eq!(loaded.origin("dial_timeout"), Some(&Origin::Default));
    assert_eq!(loaded.origin("tls_enabled").unwrap().to_string(), "app.toml:4: connection.tls_enabled");
    assert_eq!(loaded.origin("sender.max_retries").unwrap().to_string(), "app.toml:6: sender.max_retries");
    assert_eq!(loaded.origin("pool_size").unwrap().to_string(), "VALKEY_SENDER_POOL_SIZE");
    assert_eq!(loaded.origin("connection.database").unwrap().to_string(), "--database");
    assert_eq!(loaded.origin("sender.database"), None);
    assert!(loaded.notices.is_empty(), "{:?}", loaded.notices);
}

#[test]
fn of_several_files_the_later_wins() {
    let sources = Sources::new("")
        .toml_text("a.toml", "[connection]\npool_size = 1\ndatabase = 1")
        .toml_text("b.toml", "[connection]\npool_size = 2");
    let settings: ConnectionSettings = sources.load().unwrap();
    assert_eq!((settings.pool_size, settings.database), (2, 1));
}

#[test]
fn without_sources_there_are_the_defaults() {
    let settings: SenderSettings = Sources::new(PREFIX).load().unwrap();
    assert_eq!(settings, SenderSettings::default());
}

#[test]
fn a_single_struct_and_tuples_of_up_to_four_load_alike() {
    let sources = variables([("POOL_SIZE", "4"), ("MAX_RETRIES", "5")]);
    let alone: ConnectionSettings = sources.load().unwrap();
    let (one,): (ConnectionSettings,) = sources.load().unwrap();
    assert_eq!((alone.pool_size, one.pool_size), (4, 4));
    let three: (ConnectionSettings, SenderSettings, SenderSettings) = sources.load().unwrap();
    assert_eq!((three.0.pool_size, three.1.max_retries, three.2.max_retries), (4, 5, 5));
    let four: (SenderSettings, ConnectionSettings, SenderSettings, ConnectionSettings) =
        sources.load().unwrap();
    assert_eq!((four.0.max_retries, four.1.pool_size, four.2.max_retries, four.3.pool_size), (5, 4, 5, 4));
}

#[test]
fn a_field_has_its_aliases_in_variables_and_files() {
    assert_eq!(connection([("DB", "3")]).database, 3);
    assert_eq!(connection([("DATABASE", "3")]).database, 3);
    let settings: ConnectionSettings =
        Sources::new("").toml_text("a.toml", "[connection]\ndb = 3").load().unwrap();
    assert_eq!(settings.database, 3);
    assert_eq!(connection([("DB", "3"), ("DATABASE", "3")]).database, 3, "they agree");
    assert_eq!(
        error(&variables([("DB", "3"), ("DATABASE", "4")])),
        "VALKEY_SENDER_DATABASE and VALKEY_SENDER_DB: both are set and mean the same setting; keep one"
    );
}

#[test]
fn a_variable_may_have_a_name_of_its_own() {
    assert_eq!(sender([("LOG", "DEBUG")]).log_level, "DEBUG");
    let settings: SenderSettings =
        Sources::new("").toml_text("a.toml", "[sender]\nlog_level = \"WARN\"").load().unwrap();
    assert_eq!(settings.log_level, "WARN");
}

#[test]
fn an_empty_value_is_no_value_anywhere() {
    let sources = Sources::new(PREFIX)
        .toml_text("a.toml", "[connection]\npassword = \"\"\n[sender]\nlog_level = \"WARN\"")
        .vars([
            ("VALKEY_SENDER_LOG", ""),
            ("VALKEY_SENDER_POOL_SIZE", ""),
            ("VALKEY_SENDER_PASSWORD_FILE", ""),
        ])
        .explicit("--log", "log_level", "");
    let (connection, sender): (ConnectionSettings, SenderSettings) = sources.load().unwrap();
    assert_eq!(connection.password, None);
    assert_eq!(connection.pool_size, 10);
    assert_eq!(sender.log_level, "WARN", "the empty variable does not hide the file");
}

#[test]
fn an_explicit_key_may_name_its_section() {
    let sources = Sources::new(PREFIX).explicit("--set", "sender.max_retries", "1");
    let (_, sender): (ConnectionSettings, SenderSettings) = sources.load().unwrap();
    assert_eq!(sender.max_retries, 1);
}

#[test]
fn files_are_found_on_disk_and_optional_ones_may_be_absent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.toml");
    std::fs::write(&path, "[connection]\npool_size = 3").unwrap();
    let absent = directory.path().join("absent.toml");
    let settings: ConnectionSettings =
        Sources::new("").toml_file(&path).optional_toml_file(&absent).load().unwrap();
    assert_eq!(settings.pool_size, 3);
    let error = error(&Sources::new("").toml_file(&absent));
    assert!(
        error.starts_with(&format!("{}: the settings file cannot be read: ", absent.display())),
        "{error}"
    );
    // A directory is there, so it is not merely absent.
    assert!(Sources::new("").optional_toml_file(directory.path()).load::<SenderSettings>().is_err());
}

#[test]
fn the_prefix_gets_its_underscore() {
    let settings: ConnectionSettings =
        Sources::new("VALKEY_SENDER").vars([("VALKEY_SENDER_POOL_SIZE", "3")]).load().unwrap();
    assert_eq!(settings.pool_size, 3);
}

#[test]
fn structs_nest_in_one_section_without_mixing() {
    settings! {
        /// The outer table.
        pub struct Outer in [app] {
            /// A size.
            pub size: u32 = 1,
        }
    }
    impl Validate for Outer {}
    settings! {
        /// The inner table.
        pub struct Inner in [app.limits] {
            /// Another size.
            pub size: u32 = 1,
        }
    }
    impl Validate for Inner {}
    let sources = Sources::new("").toml_text("a.toml", "[app]\nsize = 2\n[app.limits]\nsize = 3");
    let (outer, inner): (Outer, Inner) = sources.load().unwrap();
    assert_eq!((outer.size, inner.size), (2, 3));
    assert!(sources.load::<Outer>().is_err(), "alone, `limits` is a key it does not know");
}

#[test]
fn setters_and_fields_make_settings_in_code() {
    let mut settings = SenderSettings::default().max_retries(9).log_level("DEBUG".to_owned());
    settings.retry_backoff = 1.5;
    assert_eq!((settings.max_retries, settings.retry_backoff, &*settings.log_level), (9, 1.5, "DEBUG"));
}
