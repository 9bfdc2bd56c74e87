//! Settings as operators write them.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::time::Duration;

use smtp_guard::GuardSettings;
use smtp_guard::settings::OnUnavailable;
use valkey_config::Notice;

/// As existing nodes have it.
const EXISTING: &str = r#"
[server]
hostname = "mx1.example.org"

[resources]
max_connections = 1000            # concurrent, whole cluster
max_connections_per_ip = 50
connection_timeout = "30s"
session_timeout = "5m"
idle_timeout = "2m"
rate_limit_window = "1m"
max_requests_per_window = 100     # per client IP, whole cluster
valkey_url = "valkey://elemta-valkey:6379"
valkey_key_prefix = "elemta:ratelimit:"
"#;

fn load(text: &str, vars: &[(&str, &str)]) -> Result<(GuardSettings, Vec<Notice>), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    GuardSettings::load(Some(file.path().to_owned()), vars).map_err(|error| error.to_string())
}

#[test]
fn the_file_of_existing_nodes_is_read_as_it_is() {
    let (settings, notices) = load(EXISTING, &[("PATH", "/bin"), ("VALKEY_SENDER_POOL_SIZE", "3")]).unwrap();
    assert!(notices.is_empty(), "{notices:?}");
    let resources = &settings.resources;
    assert_eq!((resources.max_connections.get(), resources.max_connections_per_ip.get()), (1_000, 50));
    assert_eq!(resources.connection_timeout, Duration::from_secs(30));
    assert_eq!(resources.session_timeout, Duration::from_mins(5));
    assert_eq!(resources.idle_timeout, Duration::from_mins(2));
    assert_eq!(resources.rate_limit_window, Duration::from_mins(1));
    assert_eq!(resources.max_requests_per_window.get(), 100);
    assert_eq!(resources.valkey_key_prefix, "elemta:ratelimit:");
    assert_eq!(settings.connection.address[0].to_string(), "valkey://elemta-valkey:6379");
    // What it says is what we take if it says nothing.
    let (defaults, _) = load("", &[]).unwrap();
    assert_eq!(defaults.resources.valkey_url, None);
    assert_eq!(defaults.resources.valkey_url(resources.valkey_url.clone()), *resources);
}

#[test]
fn the_environment_is_on_top() {
    let vars = [
        ("VALKEY_URL", "valkey://app:canary@other:6380"),
        ("VALKEY_KEY_PREFIX", "mine:"),
        ("NODE_ID", "mx-2"),
        ("SMTP_GUARD_MAX_CONNECTIONS_PER_IP", "7"),
        ("SMTP_GUARD_GATE_BACKEND", "postfix:25"),
        ("SMTP_GUARD_GATE_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7"),
        ("SMTP_GUARD_GATE_ON_UNAVAILABLE", "deny"),
    ];
    let (settings, notices) = load(EXISTING, &vars).unwrap();
    assert!(notices.is_empty(), "{notices:?}");
    assert_eq!(settings.resources.max_connections_per_ip.get(), 7);
    assert_eq!(settings.resources.valkey_key_prefix, "mine:");
    assert_eq!(settings.identity.node_id.as_ref().unwrap().as_str(), "mx-2");
    assert_eq!(settings.gate.backend, "postfix:25");
    assert_eq!(settings.gate.trusted_proxies.len(), 2);
    assert_eq!(settings.gate.on_unavailable, OnUnavailable::Deny);
    assert_eq!(settings.connection.address[0].host(), Some("other"));
    assert!(!format!("{settings:?}").contains("canary"));
}

#[test]
fn the_url_may_stand_in_a_file_of_its_own() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "valkey://app:canary@hidden:6380\n").unwrap();
    let text = EXISTING.replace("valkey_url = \"valkey://elemta-valkey:6379\"", "");
    let (settings, _) = load(&text, &[("VALKEY_URL_FILE", secret.path().to_str().unwrap())]).unwrap();
    assert_eq!(settings.connection.address[0].host(), Some("hidden"));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, vars, expected) in [
        ("[gate]\nlistem = [\"0.0.0.0:2525\"]", &[][..], "did you mean `listen`?"),
        ("[resources]\nmax_conections = 3", &[], "did you mean `max_connections`?"),
        ("[gate]\nlisten = [\"2525\"]", &[], "gate.listen"),
        ("[gate]\nbackend = \"postfix\"", &[], "host:port"),
        ("[gate]\nipv6_prefix = 129", &[], "1 to 128"),
        ("[gate]\nlease = \"1s\"", &[], "from 3s to 1h"),
        // These were taken, and ended the process, or its gate alone, by a panic.
        ("[gate]\ncheck_timeout = \"18446744073709551615s\"", &[], "check_timeout"),
        ("[gate]\nmax_local_connections = 4611686018427387904", &[], "at most 10000000"),
        ("", &[("SMTP_GUARD_GATE_MAX_LOCAL_CONNECTIONS", "18446744073709551615")], "at most 10000000"),
        ("[policy]\nrequest_timeout = \"18446744073709551615s\"", &[], "1day"),
        ("[gate]\ntrusted_proxies = [\"10.0.0.0/33\"]", &[], "expected an address or a network"),
        ("[gate]\non_unavailable = \"maybe\"", &[], "`allow`, `deny` or `local`"),
        ("[gate]\non_unavailable = \"local\"", &[], "go together"),
        ("[resources]\nmax_requests_per_window = 0", &[], "from 1"),
        ("[resources]\nmax_requests_per_window = 10001", &[], "at most 10000"),
        ("[resources]\nrate_limit_window = \"10\"", &[], "a duration such as"),
        ("[resources]\nvalkey_key_prefix = \"{mine}:\"", &[], "resources.valkey_key_prefix"),
        ("[resources]\nvalkey_key_prefix = \"two words:\"", &[], "found ' '"),
        ("", &[("VALKEY_KEY_PREFIX", "{mine}:")], "VALKEY_KEY_PREFIX"),
        ("", &[("VALKEY_KEY_PREFIX", "mine\n")], "found '\\n'"),
        // A limit that was written down, and nobody would have asked.
        ("[http]\n\n[rules.client-minute]\nquota = \"1/1m\"", &[], ":3: rules.client-minute"),
        ("[rules.client-minute]\nquota = \"1/1m\"", &[], "[policy.limits.NAME]"),
        ("[guard]\nlog_format = \"xml\"", &[], "`text` or `json`"),
        ("", &[("NODE_ID", "a b")], "NODE_ID"),
        ("", &[("VALKEY_URL", "http://x")], "VALKEY_URL"),
        (
            "[resources]\nvalkey_url = \"valkey://a\"\n[connection]\naddress = \"b:1\"",
            &[],
            "the server is given twice",
        ),
    ] {
        let error = load(text, vars).unwrap_err();
        assert!(error.contains(expected), "{text} {vars:?}: {error}");
    }
    let (_, notices) = load("", &[("SMTP_GUARD_GATE_BACKED", "x:1")]).unwrap();
    assert!(format!("{}", notices[0]).contains("did you mean SMTP_GUARD_GATE_BACKEND"), "{notices:?}");
}
