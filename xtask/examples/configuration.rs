//! Prints `docs/configuration.md`, made of the settings structs themselves. `cargo xtask docs` compares the file with
//! it, `cargo xtask docs --write` brings the file up to date.

use freeipa_consumer::settings as freeipa;
use smtp_guard::settings::{GateSettings, HttpSettings, IdentitySettings, PolicySettings, ResourceSettings};
use valkey_config::{Section, Settings as _, markdown_table};
use valkey_connection::ConnectionSettings;
use valkey_receiver::ReceiverSettings;
use valkey_sender::SenderSettings;

const INTRODUCTION: &str = "\
# Configuration

<!-- Made of the settings structs by `cargo xtask docs --write`; change the structs, not this file. -->

Each setting comes from the last of these that names it:

1. its default, in the tables below;
2. a TOML file, in the section the heading names;
3. a variable of the environment;
4. an explicit value in the program or on its command line.

Programs read the variables of one prefix: senders `VALKEY_SENDER_`, receivers `VALKEY_RECEIVER_`. Both read the section
`[connection]` with it, so that `VALKEY_SENDER_ADDRESS` and `VALKEY_RECEIVER_ADDRESS` may differ. The command line
`valkit` reads all three sections with the prefix `VALKEY_`, or the one it is given with `--env-prefix`; its file is that
of `--config`. One default is another there: `valkit send` is `bounded` unless it is told `VALKEY_BOUNDED=false`, since each
run is a new sender, which would otherwise push before it knows of a limit.

`smtp-guard` reads variables that begin with `SMTP_GUARD_`, and some that existing nodes have without it: `VALKEY_URL` (or
`VALKEY_URL_FILE`), `VALKEY_KEY_PREFIX` and `NODE_ID` win over all others. Its file may have sections of other programs,
which it leaves alone. One default is another there: `longest_pause` is `1s`, so that limits are back soon after Valkey is.

`freeipa-consumer` reads variables that begin with `FREEIPA_CONSUMER_`; `VALKEY_URL` and `VALKEY_PASSWORD_FILE` win over all
others. Its file may have sections of other programs, too. Its table of `[receiver]` has its own defaults;
`processing_timeout` is at least four times `[freeipa] request_timeout`, unless it is set. What it does is [here](freeipa.md).

- An empty variable counts as not set.
- Durations carry a unit: `500ms`, `30s`, `1h30m`, `1m 30s`. A bare number is refused.
- Lists are separated by commas.
- Booleans are `true`, `false`, `1`, `0`, `yes`, `no`, `on` and `off`, in any case.
- Every secret `X` may be given as `X_FILE`, the path of a file that holds it. Both at once is an error.
- What is wrong is reported all at once, each line with the name, the value and what was expected.
- A variable under the prefix that no setting knows gives a notice with the nearest name; an unknown key in a file is
  an error. Variables that Kubernetes injects for services are ignored.

**Status** says what a setting does: *honoured*, what its name says; *mapped*, it stands for something near to it;
*accepted with a notice*, existing deployments may keep it, it has no effect, and whoever sets it is told why.
";

const PROGRAM: &str = "\
## In a program

```rust,no_run
use valkey_config::Sources;
use valkey_connection::ConnectionSettings;
use valkey_receiver::ReceiverSettings;

# fn main() -> Result<(), valkey_config::ConfigError> {
let loaded = Sources::new(\"VALKEY_RECEIVER_\").env().load_with_notices()?;
for notice in &loaded.notices {
    eprintln!(\"{notice}\"); // a misspelled variable, a setting without effect
}
let (connection, receiver): (ConnectionSettings, ReceiverSettings) = loaded.settings;
# Ok(())
# }
```

`load()` is the same without the notices.
";

const FILE: &str = "\
## A file

```toml
[connection]
address = \"valkeys://valkey.example.org:6380\"
username = \"registrations\"
password_file = \"/run/secrets/valkey\"

[sender]
default_queue = \"user-registrations\"

[receiver]
default_queues = [\"user-registrations\"]
max_concurrent_messages = 20
```
";

fn main() {
    println!("{INTRODUCTION}");
    println!("{PROGRAM}");
    println!("{FILE}");
    print(
        "Senders: `VALKEY_SENDER_`",
        "VALKEY_SENDER_",
        &[Section::of::<SenderSettings>(), Section::of::<ConnectionSettings>()],
    );
    println!();
    print(
        "Receivers: `VALKEY_RECEIVER_`",
        "VALKEY_RECEIVER_",
        &[Section::of::<ReceiverSettings>(), Section::of::<ConnectionSettings>()],
    );
    println!();
    print(
        "`smtp-guard`: `SMTP_GUARD_`",
        smtp_guard::settings::PREFIX,
        &[
            Section::of::<ResourceSettings>(),
            Section::of::<IdentitySettings>(),
            Section::of::<GateSettings>(),
            Section::of::<PolicySettings>(),
            Section::of::<HttpSettings>(),
            Section::of::<ConnectionSettings>(),
        ],
    );
    println!();
    print(
        "`freeipa-consumer`: `FREEIPA_CONSUMER_`",
        freeipa::PREFIX,
        &[
            Section::of::<freeipa::ConsumerSettings>(),
            Section::of::<freeipa::RegistrationSettings>(),
            Section::of::<freeipa::FreeIpaSettings>(),
            Section::of::<freeipa::ReportSettings>(),
            receiver_of_freeipa(),
            Section::of::<ConnectionSettings>(),
        ],
    );
}

/// `[receiver]` with the defaults that are its own there: what comes out if nothing of it is set.
fn receiver_of_freeipa() -> Section {
    let needed = [
        ("IPA_SERVERS", "ipa.example.org"),
        ("IPA_LOGIN", "svc-registrar"),
        ("IPA_PASSWORD", "x"),
        ("TELEGRAM_TOKEN", "1:x"),
    ];
    let vars = needed.map(|(name, value)| (format!("{}{name}", freeipa::PREFIX).into(), value.into()));
    let (settings, _) = freeipa::Settings::load(None, vars).expect("what is needed is there");
    let mut section = Section::of::<ReceiverSettings>();
    let mut fields = section.fields.to_vec();
    for (field, shown) in fields.iter_mut().zip(settings.receiver.shown()) {
        field.default = shown;
    }
    section.fields = fields.leak();
    section
}

fn print(heading: &str, prefix: &str, sections: &[Section]) {
    println!("## {heading}\n");
    print!("{}", markdown_table(prefix, sections));
}

#[cfg(test)]
mod tests {
    use super::*;
    use valkey_config::Sources;

    #[test]
    fn the_consumer_shows_its_own_defaults() {
        let table = markdown_table(freeipa::PREFIX, &[receiver_of_freeipa()]);
        for row in [
            "`max_concurrent_messages` | integer | `4` |",
            "`prefetch` | integer | `8` |",
            "`processing_timeout` | duration | `3m` |",
        ] {
            assert!(table.contains(row), "{row} is missing in\n{table}");
        }
    }

    /// The file shown above is one that loads.
    #[test]
    fn the_file_is_accepted() {
        let toml =
            FILE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a TOML block");
        let sources = |prefix: &str| Sources::new(prefix).toml_text("example.toml", toml);
        let (_, sender): (ConnectionSettings, SenderSettings) =
            sources("VALKEY_SENDER_").load().expect("loads");
        let (connection, _): (ConnectionSettings, ReceiverSettings) =
            sources("VALKEY_RECEIVER_").load().expect("loads");
        assert!(connection.uses_tls());
        assert_eq!(SenderSettings::SECTION, "sender");
        assert_eq!(sender.default_queue.as_str(), "user-registrations");
    }
}
