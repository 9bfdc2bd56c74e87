//! Secrets come from files, too, and appear nowhere.

use super::*;

/// A directory with files of the given contents, named by position.
fn files(contents: &[&[u8]]) -> (tempfile::TempDir, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let paths = contents
        .iter()
        .enumerate()
        .map(|(position, content)| {
            let path = directory.path().join(position.to_string());
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    (directory, paths)
}

#[test]
fn a_secret_comes_from_a_file_without_its_last_newline() {
    let (_directory, paths) = files(&[b"s3 cret\n", b"s3 cret\r\n", b"s3 cret"]);
    for path in &paths {
        let settings = connection([("PASSWORD_FILE", &**path)]);
        assert_eq!(settings.password, Some(Secret::from("s3 cret")));
        let file = format!("[connection]\npassword_file = \"{path}\"");
        let settings: ConnectionSettings = Sources::new("").toml_text("a.toml", file).load().unwrap();
        assert_eq!(settings.password, Some(Secret::from("s3 cret")));
    }
}

#[test]
fn a_url_is_a_secret_as_well() {
    let (_directory, paths) = files(&[b"valkeys://app:canary@db\n", b"valkey://app:canary@db:x\n"]);
    let settings = connection([("URL_FILE", &*paths[0])]);
    assert_eq!(settings.url.as_ref().unwrap().password().unwrap().expose(), "canary");
    let text = error(&variables([("URL_FILE", &*paths[1])]));
    assert!(text.starts_with("VALKEY_SENDER_URL_FILE: in the file: expected a server URL"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn a_list_of_urls_is_a_secret_as_well() {
    let (_directory, paths) = files(&[b"valkey://app:canary@a,b\n"]);
    assert_eq!(connection([("SEEDS_FILE", &*paths[0])]).seeds.len(), 2);
    assert_eq!(
        error(&variables([("SEEDS", "a, valkey://canary:x")])),
        "VALKEY_SENDER_SEEDS: expected a list of valid values; number 2: the port is not a number from 1 to 65535 \
         (percent-encode `/`, `?`, `#` and `@` in a password)"
    );
}

#[test]
fn a_value_and_a_file_in_one_source_are_refused() {
    let (_directory, paths) = files(&[b"x"]);
    assert_eq!(
        error(&variables([("PASSWORD", "x"), ("PASSWORD_FILE", &*paths[0])])),
        "VALKEY_SENDER_PASSWORD and VALKEY_SENDER_PASSWORD_FILE: both are set and mean the same setting; keep one"
    );
    // One in the file and one in the environment are layers as ever.
    let file = format!("[connection]\npassword_file = \"{}\"", paths[0]);
    let sources = Sources::new(PREFIX).toml_text("a.toml", file).vars([("VALKEY_SENDER_PASSWORD", "y")]);
    assert_eq!(sources.load::<ConnectionSettings>().unwrap().password, Some(Secret::from("y")));
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let (directory, paths) = files(&[b"\n", b"\xff\xfe", &vec![b'x'; (1 << 20) + 1]]);
    let absent = directory.path().join("absent").to_str().unwrap().to_owned();
    for (path, why) in [
        (&absent, "No such file"),
        (&paths[0], "it is empty"),
        (&paths[1], "not UTF-8"),
        (&paths[2], "larger than 1 MiB"),
    ] {
        let text = error(&variables([("PASSWORD_FILE", &**path)]));
        let start = format!("VALKEY_SENDER_PASSWORD_FILE: the secret's file {path:?} cannot be used: ");
        assert!(text.starts_with(&start) && text.contains(why), "{text}");
    }
    assert!(error(&variables([("PASSWORD_FILE", "/dev/zero")])).contains("larger than 1 MiB"));
}

#[test]
fn a_setting_called_file_is_a_path_and_no_secret() {
    settings! {
        /// A key in two forms.
        pub struct Keys in [keys] {
            /// The key itself.
            pub tls_key: Option<Secret>,
            /// Where it is.
            pub tls_key_file: Option<PathBuf>,
        }
    }
    impl Validate for Keys {}
    let keys: Keys = variables([("TLS_KEY_FILE", "/nowhere")]).load().unwrap();
    assert_eq!(keys.tls_key, None);
    assert_eq!(keys.tls_key_file, Some("/nowhere".into()));
    let table = valkey_config::markdown_table("", &[valkey_config::Section::of::<Keys>()]);
    assert_eq!(table.matches("TLS_KEY_FILE").count(), 1, "{table}");
}

#[test]
fn only_secrets_come_from_files() {
    let loaded =
        variables([("POOL_SIZE_FILE", "/nowhere")]).load_with_notices::<ConnectionSettings>().unwrap();
    assert_eq!(loaded.settings.pool_size, 10);
    assert_eq!(loaded.notices.len(), 1);
}

#[test]
fn a_secret_appears_in_no_output() {
    let vars = [
        ("PASSWORD", "canary"),
        ("URL", "valkeys://app:canary@db"),
        ("SEEDS", "valkey://a:canary@one,valkey://:canary@two"),
    ];
    let sources = variables(vars).explicit("--password", "password", "canary");
    let loaded = sources.load_with_notices::<ConnectionSettings>().unwrap();
    assert_eq!(loaded.settings.seeds[1].password().unwrap().expose(), "canary");
    let shown: Vec<_> =
        loaded.values.iter().map(|shown| format!("{}={}", shown.field.key, shown.value)).collect();
    let all = format!("{sources:?} {loaded:?} {loaded:#?} {shown:?}");
    assert!(!all.contains("canary"), "{all}");
    assert!(
        all.contains("password=[redacted]") && all.contains("url=valkeys://app:[redacted]@db:6379"),
        "{all}"
    );
}

#[test]
fn a_secret_appears_in_no_error() {
    for (name, value) in [
        ("URL", "canary"),
        ("URL", "valkey://a:canary@b:c"),
        ("URL", "valkey://a:can/canary@b"),
        ("URL", "http://a:canary@b"),
        ("URL", "valkey://a:%canary@b"),
        ("SEEDS", "valkey://a:canary@b,valkey://a:canary@b:c"),
        ("SEEDS", "valkey://:canary"),
        ("DIAL_TIMEOUT", "redis://a:canary@b"),
        ("POOL_SIZE", "user:canary@host"),
    ] {
        if let Err(error) = variables([(name, value)]).load::<ConnectionSettings>() {
            let text = format!("{error} {error:?} {error:#?}");
            assert!(!text.contains("canary"), "{name}={value}: {text}");
        } else {
            assert_eq!((name, value), ("URL", "canary"), "a host name is all right");
        }
    }
    for line in [
        "password = 'canary",
        "password = canary",
        "password = [\"canary\"]",
        "password = {canary = 1}",
        "password = \"canary\" x",
        "password = \"canary\"\npassword = \"canary\"",
        "url = \"http://a:canary@b\"",
        "url = [\"valkey://a:canary@b\"]",
        "password = \"\\canary\"",
    ] {
        let text = error(&Sources::new("").toml_text("a.toml", format!("[connection]\n{line}")));
        assert!(!text.contains("canary"), "{line}: {text}");
    }
}
