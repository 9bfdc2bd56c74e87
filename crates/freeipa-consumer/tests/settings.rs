//! Settings as operators write them.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::time::Duration;

use freeipa_consumer::login::LoginSource;
use freeipa_consumer::registration::Field;
use freeipa_consumer::settings::{PasswordDelivery, ReportWay, Settings};
use freeipa_consumer::state::Flow;
use valkey_config::Notice;

/// What nobody can do without.
const NEEDED: &[(&str, &str)] = &[
    ("FREEIPA_CONSUMER_IPA_SERVERS", "ipa.example.org"),
    ("FREEIPA_CONSUMER_IPA_LOGIN", "svc-registrar"),
    ("FREEIPA_CONSUMER_IPA_PASSWORD", "canary-ipa"),
    ("FREEIPA_CONSUMER_TELEGRAM_TOKEN", "123456:canary-token"),
];

fn load(text: &str, vars: &[(&str, &str)]) -> Result<(Settings, Vec<Notice>), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Settings::load(Some(file.path().to_owned()), vars).map_err(|error| error.to_string())
}

/// With what is needed, unless it is set otherwise.
fn load_with(text: &str, vars: &[(&str, &str)]) -> Result<(Settings, Vec<Notice>), String> {
    let is_set = |name: &str| vars.iter().any(|(given, _)| *given == name);
    let needed = NEEDED.iter().filter(|(name, _)| !is_set(name));
    load(text, &needed.chain(vars).copied().collect::<Vec<_>>())
}

#[test]
fn what_is_needed_is_enough() {
    let (settings, notices) =
        load_with("", &[("VALKEY_URL", "valkey://app:canary-valkey@store:6380")]).unwrap();
    assert!(notices.is_empty(), "{notices:?}");
    assert_eq!(settings.consumer.flow, Flow::Direct);
    assert_eq!(settings.receiver.default_queues.to_string(), "user-registrations");
    assert_eq!(settings.receiver.processing_timeout, Duration::from_mins(3));
    assert_eq!(settings.receiver.max_concurrent_messages.get(), 4);
    assert_eq!(settings.report.password_delivery(), PasswordDelivery::Temporary);
    assert_eq!(settings.connection.address[0].host(), Some("store"));
    assert!(settings.report.texts().is_ok() && settings.report.telegram().is_some());
    let shown = format!("{settings:?} {:?}", settings.report.telegram());
    for secret in ["canary-ipa", "canary-token", "canary-valkey"] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
}

#[test]
fn everything_is_told_at_once_where_nothing_is_set() {
    let error = load("", &[]).unwrap_err();
    for named in [
        "FREEIPA_CONSUMER_IPA_SERVERS",
        "FREEIPA_CONSUMER_IPA_LOGIN",
        "FREEIPA_CONSUMER_IPA_PASSWORD",
        "FREEIPA_CONSUMER_TELEGRAM_TOKEN",
        "FREEIPA_CONSUMER_IPA_PASSWORD_FILE",
        "FREEIPA_CONSUMER_TELEGRAM_TOKEN_FILE",
    ] {
        assert!(error.contains(named), "{named} is missing in:\n{error}");
    }
    assert!(!error.contains(" IPA_PASSWORD_FILE") && !error.contains(" TELEGRAM_TOKEN_FILE"), "{error}");
}

#[test]
fn what_a_file_would_say_is_not_missed_while_it_cannot_be_read() {
    let error = Settings::load(Some("/nowhere/consumer.toml".into()), []).unwrap_err();
    assert_eq!(error.problems().len(), 1, "{error}");
    assert!(load("[freeipa", &[]).unwrap_err().lines().count() == 1);
}

#[test]
fn a_misspelled_variable_is_named_beside_what_is_missing() {
    let error =
        load("", &[NEEDED[0], NEEDED[1], NEEDED[3], ("FREEIPA_CONSUMER_IPA_PASWORD", "x")]).unwrap_err();
    assert!(error.contains("did you mean FREEIPA_CONSUMER_IPA_PASSWORD?"), "{error}");
}

#[test]
fn a_whole_file() {
    let text = r#"
[consumer]
flow = "stage_then_activate"
on_partial_groups = "disable"
record_retention = "2160h"
http_listen = "127.0.0.1:9300"

[registration]
groups_allowed = ["tg-users", "guests"]
default_groups = ["everybody"]
fields = ["first_name=GivenName", "email=profile.mail"]
required_fields = ["email", "consent"]
login_sources = ["username", "names", "id"]
login_form = "first.last"
login_suffixes = "never"
login_reserved = ["boss"]
email_domains = ["Example.org"]

[freeipa]
servers = ["ipa1.example.org", "IPA2.example.org=10.0.0.7:8443"]
ca_file = "/etc/ipa/ca.crt"
request_timeout = "20s"

[report]
via = "queue"
status_queue = "registration-status"
password = "reset_page"
reset_url = "https://id.example.org/reset"
default_language = "de"

[receiver]
processing_timeout = "1m"
max_retries = 8

[server]
hostname = "somebody else's"
"#;
    let vars = [NEEDED[1], NEEDED[2], ("FREEIPA_CONSUMER_LOGIN_MAX_LENGTH", "24")];
    let (settings, notices) = load(text, &vars).unwrap();
    assert!(notices.is_empty(), "{notices:?}");
    assert_eq!(settings.consumer.flow, Flow::StageThenActivate);
    assert_eq!(settings.freeipa.servers[1].fqdn(), "ipa2.example.org");
    assert_eq!(settings.freeipa.servers[1].address(), Some("10.0.0.7:8443"));
    assert_eq!(settings.report.via, ReportWay::Queue);
    assert_eq!(settings.receiver.processing_timeout, Duration::from_mins(1));
    let rules = settings.registration.rules(settings.freeipa.service_login());
    assert_eq!(rules.logins.sources[0], LoginSource::Username);
    assert!(rules.required.contains(&Field::Consent) && rules.email_domains.contains("example.org"));
    assert_eq!(rules.logins.rule.max_length(), 24);
    for reserved in ["tg-users", "guests", "everybody", "boss", "svc-registrar", "root"] {
        assert!(rules.logins.rule.take(reserved).is_err(), "{reserved}");
    }
}

#[test]
fn secrets_may_stand_in_files() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "from-a-file\n").unwrap();
    let path = secret.path().to_str().unwrap();
    let vars = [
        ("FREEIPA_CONSUMER_IPA_SERVERS", "ipa.example.org"),
        ("FREEIPA_CONSUMER_IPA_LOGIN", "svc"),
        ("FREEIPA_CONSUMER_IPA_PASSWORD_FILE", path),
        ("FREEIPA_CONSUMER_TELEGRAM_TOKEN_FILE", path),
    ];
    let (settings, _) = load("", &vars).unwrap();
    assert_eq!(settings.freeipa.password.unwrap().expose(), "from-a-file");
    assert_eq!(settings.report.telegram_token.unwrap().expose(), "from-a-file");
}

#[test]
fn the_service_account_logs_in_in_one_way() {
    let load = |text: &str| {
        let vars = [NEEDED[0], NEEDED[3]];
        load(&format!("[freeipa]\n{text}"), &vars)
    };
    let program = load("token_command = [\"/usr/libexec/token\", \"--for\", \"a b\"]").unwrap().0;
    assert_eq!(*program.freeipa.token_command, ["/usr/libexec/token", "--for", "a b"]);
    assert_eq!(program.freeipa.service_login(), None, "it is in the ticket");

    let keytab = load("keytab = \"/etc/registrar.keytab\"\nprincipal = \"svc-registrar@EXAMPLE.ORG\"");
    if cfg!(feature = "keytab") {
        let settings = keytab.unwrap().0;
        assert_eq!(settings.freeipa.service_login(), Some("svc-registrar"));
        let rules = settings.registration.rules(settings.freeipa.service_login());
        assert!(rules.logins.rule.take("svc-registrar").is_err(), "reserved");
        let service = load("keytab = \"/k\"\nprincipal = \"registrar/app.example.org\"").unwrap().0;
        assert_eq!(service.freeipa.service_login(), None, "no user can have it");
    } else {
        let error = keytab.unwrap_err();
        assert!(error.contains("build with `--features keytab`, or give a token_command"), "{error}");
    }

    for (text, fields, expected) in [
        ("", &["password", "login"][..], "or a keytab; or a token_command"),
        ("password = \"x\"", &["login"], "name the service account"),
        ("login = \"svc\"\npassword = \"x\"\nkeytab = \"/k\"", &["password", "keytab"], "keep one of these"),
        ("keytab = \"/k\"\ntoken_command = [\"x\"]", &["keytab", "token_command"], "keep one of these"),
        ("token_command = [\"x\"]\nprincipal = \"svc\"", &["principal"], "there is no keytab"),
        ("keytab = \"/k\"\nprincipal = \"a b\"", &["principal"], "a principal is a name such as"),
    ] {
        let error = load(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
        for field in fields {
            // By its place in the file, or by its variable where it is set nowhere.
            let names = [format!("freeipa.{field}"), format!("IPA_{}", field.to_uppercase())];
            assert!(names.iter().any(|name| error.contains(name)), "{field} is missing for {text}: {error}");
        }
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, vars, expected) in [
        ("[consumer]\nflo = \"direct\"", &[][..], "did you mean `flow`?"),
        ("[consumer]\nflow = \"later\"", &[], "`stage_then_activate`"),
        ("[consumer]\nrecord_retention = \"24h\"", &[], "30 days"),
        ("[consumer]\nkey_prefix = \"a b\"", &[], "key_prefix"),
        ("[consumer]\napplicant_lease = \"1s\"", &[], "from 5s to 1h"),
        ("[consumer]\ntrouble_interval = \"1ms\"", &[], "trouble_interval"),
        ("[consumer]\ncheck_interval = \"1s\"", &[], "at least 10s"),
        ("[consumer]\ndead_letter_retention = \"1s\"", &[], "at least 1h"),
        ("[registration]\nfields = [\"shoe=size\"]", &[], "a field of a registration"),
        ("[registration]\nrequired_fields = [\"shoe\"]", &[], "a field of a registration"),
        ("[registration]\nlast_name_placeholder = \" \"", &[], "`-` will do"),
        ("[registration]\nlogin_max_length = 8", &[], "from 20"),
        ("[registration]\nlogin_id_prefix = \"42\"", &[], "the beginning of a login"),
        (
            "[registration]\nlogin_id_prefix = \"telegramuser\"\nlogin_max_length = 20",
            &[],
            "room for 16 digits",
        ),
        ("[registration]\nlogin_sources = []", &[], "name `id` at least"),
        ("[registration]\nlogin_sources = [\"stars\"]", &[], "`names`, `username` or `id`"),
        ("[registration]\nemail_domains = [\"@example.org\"]", &[], "behind the @"),
        ("", &[("FREEIPA_CONSUMER_IPA_SERVERS", "https://ipa.example.org")], "neither a URL nor an address"),
        ("", &[("FREEIPA_CONSUMER_IPA_SERVERS", "10.0.0.1")], "neither a URL nor an address"),
        ("", &[("FREEIPA_CONSUMER_IPA_SERVERS", "ipa.example.org=10.0.0.1")], "`host:port`"),
        ("[freeipa]\nmax_in_flight = 5", &[], "four processes"),
        ("[freeipa]\nrequest_timeout = \"0s\"", &[], "no time to answer in"),
        ("[report]\nvia = \"fax\"", &[], "`telegram`, `queue` or `none`"),
        ("[report]\nvia = \"queue\"", &[], "name the queue"),
        ("[report]\nvia = \"queue\"\nstatus_queue = \"user-registrations\"", &[], "taken for registrations"),
        (
            "[report]\nvia = \"queue\"\nstatus_queue = \"s\"\npassword = \"temporary\"",
            &[],
            "nobody would hear the passwords",
        ),
        ("[report]\nvia = \"none\"\npassword = \"temporary\"", &[], "nobody would hear the passwords"),
        ("[report]\npassword = \"reset_page\"", &[], "say where passwords are set"),
        ("[report]\nreset_url = \"javascript:alert(1)\"", &[], "begins with https://"),
        ("[report]\ntelegram_rate = 31", &[], "at most 30"),
        ("[report]\ndefault_language = \"klingon!\"", &[], "expected a language"),
        ("[receiver]\nprocessing_timeout = \"30s\"", &[], "two that are as slow as may be"),
    ] {
        let error = load_with(text, vars).expect_err(text);
        assert!(error.contains(expected), "{text} {vars:?}: {error}");
    }
    let (_, notices) = load_with("", &[("FREEIPA_CONSUMER_IPA_SERVER", "x")]).unwrap();
    assert!(notices[0].to_string().contains("did you mean FREEIPA_CONSUMER_IPA_SERVERS"), "{notices:?}");
}

#[test]
fn no_two_settings_have_the_same_variable() {
    use freeipa_consumer::settings::{
        ConsumerSettings, FreeIpaSettings, RegistrationSettings, ReportSettings,
    };
    use valkey_config::Section;
    use valkey_connection::ConnectionSettings;
    use valkey_receiver::ReceiverSettings;

    let sections = [
        Section::of::<ConsumerSettings>(),
        Section::of::<RegistrationSettings>(),
        Section::of::<FreeIpaSettings>(),
        Section::of::<ReportSettings>(),
        Section::of::<ReceiverSettings>(),
        Section::of::<ConnectionSettings>(),
    ];
    let mut names: Vec<String> = Vec::new();
    for field in sections.iter().flat_map(|section| section.fields) {
        names.push(field.env.clone());
        names.extend(field.aliases.iter().map(|alias| (*alias).to_owned()));
    }
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn retries_last_for_some_minutes_unless_somebody_says_otherwise() {
    let of = |text: &str| {
        let receiver = load(text, NEEDED).unwrap().0.receiver;
        (receiver.max_retries, receiver.retry_delay.as_secs(), receiver.max_retry_delay.as_secs())
    };
    assert_eq!(of(""), (12, 2, 180));
    assert_eq!(of("[receiver]\nmax_retries = 3\n"), (3, 2, 180));
    assert_eq!(of("[receiver]\nretry_delay = \"4m\"\n"), (12, 240, 240));
    assert_eq!(of("[receiver]\nmax_retry_delay = \"1s\"\n"), (12, 1, 1));
    // The waits are drawn between nothing and these: about half of it in all.
    let policy = load("", NEEDED).unwrap().0.receiver.retry_policy().unwrap();
    let longest: std::time::Duration = (1..=12).map(|attempt| policy.ceiling(attempt)).sum();
    assert!(longest.as_secs() > 15 * 60 && longest.as_secs() < 25 * 60, "{longest:?}");
}
