//! Everything that can be set.
//!
//! Defaults < TOML file < environment (`FREEIPA_CONSUMER_*`) < `VALKEY_URL`. Secrets may stand in files of their own
//! (`FREEIPA_CONSUMER_IPA_PASSWORD_FILE`, `FREEIPA_CONSUMER_TELEGRAM_TOKEN_FILE`, ..). The file may have sections of other
//! programs, which are theirs; an unknown key in one of ours is an error.
//!
//! | section | holds |
//! |---|---|
//! | `[consumer]` | flow, retention, how often trouble is looked into, log, metrics and health |
//! | `[registration]` | what a message may say: groups, names of fields, how accounts are called |
//! | `[freeipa]` | servers, certificates, the service account |
//! | `[report]` | how applicants are told: Telegram, status queue, texts, passwords |
//! | `[receiver]` | the queue, retries, how many at a time: as in `valkey-receiver` |
//! | `[connection]` | how Valkey is reached: as in `valkey-connection` |
//!
//! Payloads of registrations are decrypted, and those of the status queue encrypted, by the
//! [`PayloadCodec`](valkey_envelope::PayloadCodec)s that a program hands to [`ReceiverBuilder::codec`] and
//! [`StatusQueue::open`](crate::status::StatusQueue::open): keys are no settings of this crate.
//!
//! [`ReceiverBuilder::codec`]: valkey_receiver::ReceiverBuilder::codec

mod consumer;
mod freeipa;
mod registration;
mod report;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use valkey_config::{ConfigError, Contradiction, Loaded, Notice, Origin, Sources};
use valkey_connection::ConnectionSettings;
use valkey_receiver::ReceiverSettings;

pub use self::consumer::ConsumerSettings;
#[cfg(not(feature = "keytab"))]
pub(crate) use self::freeipa::NO_KEYTAB_LOGIN;
pub use self::freeipa::{FreeIpaSettings, InvalidServer, IpaServer};
pub use self::registration::RegistrationSettings;
pub use self::report::{PasswordDelivery, ReportSettings, ReportWay};

/// What variables begin with.
pub const PREFIX: &str = "FREEIPA_CONSUMER_";

/// Variables without that prefix, and what they set. They win over all others.
const SHARED: [(&str, &str); 2] =
    [("VALKEY_URL", "connection.address"), ("VALKEY_PASSWORD_FILE", "connection.password_file")];

/// How long a registration may be worked on, unless set: a few calls to a slow directory, and a message.
const PROCESSING: Duration = Duration::from_mins(3);
/// Retries of what concerns one registration, unless set, and the waits before the first and before any: a server that hangs for one
/// call, a record that another still writes, a message that Telegram does not take just now. A person waits, and rather ten
/// minutes than for good; what concerns everybody does not count, and takes as long as it takes.
const RETRIES: u32 = 12;
const RETRY_DELAY: Duration = Duration::from_secs(2);
const LONGEST_RETRY_DELAY: Duration = Duration::from_mins(3);
/// Registrations at a time, unless set: a server of FreeIPA works on four calls at once, whoever makes them.
const AT_A_TIME: usize = 4;
/// Registrations held in memory beyond those, unless set: other consumers are to have some of a short queue.
const PREFETCH: usize = 8;

/// Everything that can be set.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// `[consumer]`
    pub consumer: ConsumerSettings,
    /// `[registration]`
    pub registration: RegistrationSettings,
    /// `[freeipa]`
    pub freeipa: FreeIpaSettings,
    /// `[report]`
    pub report: ReportSettings,
    /// `[receiver]`
    pub receiver: ReceiverSettings,
    /// `[connection]`
    pub connection: ConnectionSettings,
}

type Parts = (
    ConsumerSettings,
    RegistrationSettings,
    FreeIpaSettings,
    ReportSettings,
    ReceiverSettings,
    ConnectionSettings,
);

impl Settings {
    /// Reads a file, if one is given, and variables on top, which are those of the process (`std::env::vars_os`) or a test's.
    /// Also gives what the operator should hear.
    ///
    /// ```
    /// use freeipa_consumer::settings::Settings;
    ///
    /// let vars = [
    ///     ("FREEIPA_CONSUMER_IPA_SERVERS", "ipa.example.org"),
    ///     ("FREEIPA_CONSUMER_IPA_LOGIN", "svc-registrar"),
    ///     ("FREEIPA_CONSUMER_IPA_PASSWORD", "s3cret"),
    ///     ("FREEIPA_CONSUMER_TELEGRAM_TOKEN", "123456:abc"),
    ///     ("VALKEY_URL", "valkey://valkey:6379"),
    /// ];
    /// let (settings, notices) = Settings::load(None, vars.map(|(name, value)| (name.into(), value.into())))?;
    /// assert_eq!(settings.freeipa.servers[0].fqdn(), "ipa.example.org");
    /// assert!(notices.is_empty());
    /// # Ok::<(), valkey_config::ConfigError>(())
    /// ```
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
        // Whether a value is the operator's own is known only of settings that hold; and then all that is left to go wrong is here.
        let is_set =
            |loaded: &Loaded<Parts>, key| !matches!(loaded.origin(key), None | Some(Origin::Default));
        let has_own_timeout = sources
            .load_with_notices::<Parts>()
            .is_ok_and(|loaded| is_set(&loaded, "receiver.processing_timeout"));
        let loaded = sources.load_checked::<Parts>(|(_, _, freeipa, report, receiver, _)| {
            let mut found = Vec::new();
            if let Some(queue) = &report.status_queue
                && receiver.default_queues.contains(queue)
            {
                let why = "a status queue that is also received from would have its reports taken for registrations";
                found.push(Contradiction::new(["report.status_queue", "receiver.default_queues"], why));
            }
            // Zero is as long as it likes.
            let shortest = freeipa.request_timeout.saturating_mul(2);
            if has_own_timeout && !receiver.processing_timeout.is_zero() && receiver.processing_timeout < shortest {
                let why = "a registration takes several calls: leave it time for two that are as slow as may be";
                found.push(Contradiction::new(["receiver.processing_timeout", "freeipa.request_timeout"], why));
            }
            found
        })?;
        let keeps_concurrency = is_set(&loaded, "receiver.max_concurrent_messages");
        let keeps_retries = is_set(&loaded, "receiver.max_retries");
        let keeps_delay = is_set(&loaded, "receiver.retry_delay");
        let keeps_longest_delay = is_set(&loaded, "receiver.max_retry_delay");
        let keeps_prefetch = is_set(&loaded, "receiver.prefetch");
        let (consumer, registration, freeipa, report, mut receiver, connection) = loaded.settings;
        if !has_own_timeout {
            receiver.processing_timeout = PROCESSING.max(freeipa.request_timeout.saturating_mul(4));
        }
        if !keeps_concurrency {
            receiver.max_concurrent_messages =
                AT_A_TIME.try_into().unwrap_or(receiver.max_concurrent_messages);
        }
        if !keeps_retries {
            receiver.max_retries = RETRIES;
        }
        match (keeps_delay, keeps_longest_delay) {
            (true, true) => {}
            (true, false) => receiver.max_retry_delay = LONGEST_RETRY_DELAY.max(receiver.retry_delay),
            (false, true) => receiver.retry_delay = RETRY_DELAY.min(receiver.max_retry_delay),
            (false, false) => {
                (receiver.retry_delay, receiver.max_retry_delay) = (RETRY_DELAY, LONGEST_RETRY_DELAY);
            }
        }
        if !keeps_prefetch {
            receiver.prefetch = PREFETCH.try_into().unwrap_or(receiver.prefetch);
        }
        let settings = Self { consumer, registration, freeipa, report, receiver, connection };
        Ok((settings, loaded.notices))
    }
}
