//! All settings: the `[resources]` that other nodes have too, and sections of our own.
//!
//! Defaults < TOML file < environment (`SMTP_GUARD_*`) < `VALKEY_URL`, `VALKEY_KEY_PREFIX`, `NODE_ID`. The file may have
//! sections of other programs, which are theirs; an unknown key in one of ours is an error.

mod file;
mod gate;
mod http;
mod identity;
mod network;
mod policy;
mod resources;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use valkey_config::{ConfigError, Contradiction, CsvList, Notice, Origin, ServerUrl, Sources};
use valkey_connection::ConnectionSettings;

pub use self::file::SettingsFile;
pub use self::gate::{GateSettings, OnUnavailable};
pub use self::http::HttpSettings;
pub use self::identity::IdentitySettings;
pub use self::network::{InvalidNetwork, Network};
pub use self::policy::{
    AddressBits, Algorithm, Count, InvalidListen, LimitSettings, Limits, Listen, NetworkSettings, Outage,
    Per, PolicySettings,
};
pub use self::resources::ResourceSettings;

/// What variables begin with, but for the three that all nodes share.
pub const PREFIX: &str = "SMTP_GUARD_";

/// Variables without that prefix, and what they set. They win over all others.
const SHARED: [(&str, &str); 4] = [
    ("VALKEY_URL", "resources.valkey_url"),
    ("VALKEY_URL_FILE", "resources.valkey_url_file"),
    ("VALKEY_KEY_PREFIX", "resources.valkey_key_prefix"),
    ("NODE_ID", "guard.node_id"),
];

/// The longest pause between two tries to connect, unless set: limits are to be back soon after the store is.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GuardSettings {
    /// `[resources]`: the limits, as all nodes have them.
    pub resources: ResourceSettings,
    /// `[guard]`: this node.
    pub identity: IdentitySettings,
    /// `[gate]`: the connection gate.
    pub gate: GateSettings,
    /// `[policy]`: the policy service.
    pub policy: PolicySettings,
    /// `[http]`: metrics and health.
    pub http: HttpSettings,
    /// `[connection]`: how Valkey is reached.
    pub connection: ConnectionSettings,
}

/// A limit that somebody has written down must not be left out.
const NO_RULES: &str = "this is a rule of a rule file, and smtp-guard reads none: write [policy.limits.NAME], which says also whom it \
                        is about (per = \"client\"), and keep rules for valkit and for programs in a file of their own";

type Parts =
    (ResourceSettings, IdentitySettings, GateSettings, PolicySettings, HttpSettings, ConnectionSettings);

impl GuardSettings {
    /// Reads a file, if one is given, and variables on top, which are those of the process (`std::env::vars_os`) or a test's.
    /// Also gives what the operator should hear.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(
        file: Option<PathBuf>,
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(Self, Vec<Notice>), ConfigError> {
        Self::from_sources(&valkit_service::sources(PREFIX, &SHARED, file, vars))
    }

    /// Reads sources that somebody else has put together.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn from_sources(sources: &Sources) -> Result<(Self, Vec<Notice>), ConfigError> {
        let sources = sources.clone().refuse_table("rules", NO_RULES);
        let loaded = sources.load_checked::<Parts>(|(resources, _, _, _, _, connection)| {
            let twice =
                resources.valkey_url.is_some() && connection.address != ConnectionSettings::default().address;
            let why = "the server is given twice: valkey_url is for a single one, address also for a cluster or Sentinels";
            if twice {
                vec![Contradiction::new(["resources.valkey_url", "connection.address"], why)]
            } else {
                Vec::new()
            }
        })?;
        let pause_is_set = !matches!(loaded.origin("connection.longest_pause"), None | Some(Origin::Default));
        let (resources, identity, gate, policy, http, mut connection) = loaded.settings;
        if !pause_is_set {
            connection.longest_pause = LONGEST_PAUSE;
        }
        if let Some(url) = &resources.valkey_url {
            connection.address = CsvList(vec![ServerUrl::clone(url)]);
        }
        Ok((Self { resources, identity, gate, policy, http, connection }, loaded.notices))
    }
}
