//! Settings of a sender. How to reach the server is the connection's business.

use std::num::NonZeroU32;
use std::time::Duration;

use valkey_config::{Contradiction, Invalid, Raw, Setting, Validate, settings};
use valkey_envelope::{PayloadForm, QueueName};

use crate::durability::Durability;
use crate::on_full::OnFull;

/// The shortest dedup window: below it, a generation would be over before a send has crossed a slow network.
pub(crate) const MIN_DEDUP_WINDOW: Duration = Duration::from_secs(1);

/// The policy for a full queue, by name; see [`OnFull`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFullPolicy {
    /// [`OnFull::Block`], for at most `on_full_timeout`.
    Block,
    /// [`OnFull::Error`].
    Error,
    /// [`OnFull::Shed`].
    Shed,
}

/// The form of payloads on the wire, by name; see [`PayloadForm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadFormName(pub PayloadForm);

settings! {
    /// How a sender behaves: its queue, its retries, its limits.
    ///
    /// ```
    /// use std::time::Duration;
    /// use valkey_config::Sources;
    /// use valkey_sender::SenderSettings;
    ///
    /// let settings: SenderSettings = Sources::new("VALKEY_SENDER_")
    ///     .vars([("VALKEY_SENDER_DEFAULT_QUEUE", "orders"), ("VALKEY_SENDER_DEDUP_WINDOW", "10m")])
    ///     .load()?;
    /// assert_eq!(settings.default_queue.as_str(), "orders");
    /// assert_eq!(settings.dedup_window, Some(Duration::from_secs(600)));
    /// # Ok::<(), valkey_config::ConfigError>(())
    /// ```
    #[derive(PartialEq)]
    pub struct SenderSettings in [sender] {
        /// Queue for messages that no route sends elsewhere.
        #[text("queue name")]
        pub default_queue: QueueName = "user-registrations".parse().expect("the name has only letters and a dash"),
        /// Time to live given to messages that have none; `0s` and unset mean for ever. The producer this one replaces
        /// had 24h here, and silently lost what a long weekend left lying.
        pub message_ttl: Option<Duration>,
        /// How often a send is tried again after the server was briefly unable. A plain push whose outcome is unknown
        /// is never repeated unless `dedup_window` is set.
        pub max_retries: u32 = 3,
        /// Pause before the first retry; it doubles with each one, up to 30s, and a random half of it is left out.
        pub retry_delay: Duration = Duration::from_secs(1),
        /// Messages a second that all clones of a sender may send together. Unset: no limit.
        #[mapped("a fixed window that lets `rate_limit_burst` messages through and is `rate_limit_burst` / `rate_limit_requests` seconds long")]
        pub rate_limit_requests: Option<NonZeroU32>,
        /// Messages that may go out at once within the rate. Unset: as many as `rate_limit_requests`.
        pub rate_limit_burst: Option<NonZeroU32>,
        /// How many sends may be under way at once; more wait. Unset: no limit.
        pub max_in_flight: Option<NonZeroU32>,
        /// How long the ids of sent messages are remembered (for at least this long, at most twice as long), so that
        /// the same id is queued once. All senders of a queue need the same window. Unset: not at all. At least 1s.
        #[alias("DEDUP")]
        pub dedup_window: Option<Duration>,
        /// Whether every push asks for room under the queue's max length, so that it is never exceeded. Otherwise a
        /// sender notices a newly set max length within 5s.
        pub bounded: bool = false,
        /// Waiting messages at which this sender calls the queue full, if the queue's own max length is not lower.
        /// Implies `bounded`. Unset: only the queue's own.
        pub max_length: Option<u64>,
        /// What to do when the queue is full: `block`, `error` or `shed`.
        pub on_full: OnFullPolicy = OnFullPolicy::Error,
        /// How long `on_full = "block"` waits before it gives up. Unset: for ever.
        pub on_full_timeout: Option<Duration>,
        /// How safe a message is to be before its send is answered: `fast` (the server's memory has it), `durable` (its
        /// disk has it) or `replicated(N)` (so many replicas have it, too). What the server cannot promise is refused.
        pub durability: Durability = Durability::Fast,
        /// How long to wait until the server confirms that a message is that safe; then its outcome is unknown.
        pub durability_timeout: Duration = Duration::from_secs(3),
        /// Bytes of an encoded message; larger ones are refused. Receivers have the same limit: raise both.
        pub max_message_bytes: usize = 1024 * 1024,
        /// The form of the payload: `inline` JSON, or `base64` of it for Go consumers with a `[]byte` there.
        pub payload_form: PayloadFormName = PayloadFormName(PayloadForm::Inline),
        /// Log level of the Go producer.
        #[notice("the library leaves logging to the program around it: RUST_LOG sets the level of ours")]
        pub log_level: Option<String>,
    }
}

impl SenderSettings {
    /// The policy for full queues, put together from its two settings.
    pub fn on_full_policy(&self) -> OnFull {
        match self.on_full {
            OnFullPolicy::Block => OnFull::Block { timeout: self.on_full_timeout },
            OnFullPolicy::Error => OnFull::Error,
            OnFullPolicy::Shed => OnFull::Shed,
        }
    }
}

impl Validate for SenderSettings {
    fn validate(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        if self.rate_limit_burst.is_some() && self.rate_limit_requests.is_none() {
            found.push(Contradiction::new(
                ["rate_limit_burst", "rate_limit_requests"],
                "a burst limits nothing without a rate: set rate_limit_requests, too, or neither",
            ));
        }
        if self.dedup_window.is_some_and(|window| window < MIN_DEDUP_WINDOW) {
            found.push(Contradiction::new(["dedup_window"], "the window must be at least 1s"));
        }
        if let Some(window) = self.dedup_window {
            let mut doubled = (0..self.max_retries.min(16))
                .map(|n| self.retry_delay.saturating_mul(1 << n))
                .sum::<Duration>();
            if self.durability != Durability::Fast {
                doubled = doubled.saturating_add(self.durability_timeout.saturating_mul(self.max_retries));
            }
            if window < doubled {
                found.push(Contradiction::new(
                    ["dedup_window", "max_retries", "retry_delay"],
                    format!(
                        "ids must be remembered for longer than the retries take, here up to {doubled:?}"
                    ),
                ));
            }
        }
        if self.on_full_timeout.is_some() && self.on_full != OnFullPolicy::Block {
            found.push(Contradiction::new(
                ["on_full_timeout", "on_full"],
                "only on_full = \"block\" waits, so only it has a timeout",
            ));
        }
        if self.durability_timeout.is_zero() {
            found.push(Contradiction::new(["durability_timeout"], "nothing is confirmed in no time"));
        }
        if self.max_message_bytes == 0 {
            found.push(Contradiction::new(["max_message_bytes"], "no message has 0 bytes"));
        }
        found
    }
}

impl Setting for OnFullPolicy {
    fn type_name() -> String {
        "`block`, `error` or `shed`".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw.into_text().as_deref().map(str::trim) {
            Some("block") => Ok(Self::Block),
            Some("error") => Ok(Self::Error),
            Some("shed") => Ok(Self::Shed),
            _ => Err(Invalid::expected(Self::type_name())),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Block => "block",
            Self::Error => "error",
            Self::Shed => "shed",
        }
        .to_owned()
    }
}

impl Setting for PayloadFormName {
    fn type_name() -> String {
        "`inline` or `base64`".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw.into_text().as_deref().map(str::trim) {
            Some("inline") => Ok(Self(PayloadForm::Inline)),
            Some("base64") => Ok(Self(PayloadForm::Base64)),
            _ => Err(Invalid::expected(Self::type_name())),
        }
    }

    fn show(&self) -> String {
        match self.0 {
            PayloadForm::Inline => "inline",
            PayloadForm::Base64 => "base64",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use valkey_config::Sources;

    fn load(vars: &[(&str, &str)]) -> Result<SenderSettings, valkey_config::ConfigError> {
        let vars: Vec<_> =
            vars.iter().map(|(name, value)| (format!("VALKEY_SENDER_{name}"), *value)).collect();
        Sources::new("VALKEY_SENDER_").vars(vars).load()
    }

    #[test]
    fn variables_of_the_go_producer_are_understood() {
        let settings = load(&[
            ("DEFAULT_QUEUE", "orders"),
            ("MESSAGE_TTL", "24h"),
            ("MAX_RETRIES", "5"),
            ("RETRY_DELAY", "1.5s"),
            ("RATE_LIMIT_REQUESTS", "1000"),
            ("RATE_LIMIT_BURST", "2000"),
            ("LOG_LEVEL", "INFO"),
        ])
        .expect("all are valid");
        assert_eq!(settings.default_queue.as_str(), "orders");
        assert_eq!(settings.message_ttl, Some(Duration::from_hours(24)));
        assert_eq!((settings.max_retries, settings.retry_delay), (5, Duration::from_millis(1500)));
        assert_eq!(settings.rate_limit_requests, NonZeroU32::new(1000));
        assert_eq!(settings.rate_limit_burst, NonZeroU32::new(2000));
    }

    #[test]
    fn nothing_that_hurts_is_on_by_default() {
        let settings = SenderSettings::default();
        assert_eq!(settings.message_ttl, None);
        assert_eq!(settings.rate_limit_requests, None);
        assert_eq!(settings.on_full_policy(), OnFull::Error);
        assert!(settings.validate().is_empty());
    }

    #[test]
    fn policies_and_forms_are_read_and_shown() {
        for (name, policy) in [
            ("block", OnFull::Block { timeout: Some(Duration::from_secs(2)) }),
            ("error", OnFull::Error),
            ("shed", OnFull::Shed),
        ] {
            let mut vars = vec![("ON_FULL", name)];
            if name == "block" {
                vars.push(("ON_FULL_TIMEOUT", "2s"));
            }
            let settings = load(&vars).expect("all are valid");
            assert_eq!(settings.on_full_policy(), policy);
            assert_eq!(settings.on_full.show(), name);
        }
        assert_eq!(load(&[("PAYLOAD_FORM", "base64")]).expect("valid").payload_form.0, PayloadForm::Base64);
        let error = load(&[("ON_FULL", "explode")]).expect_err("no such policy").to_string();
        assert!(error.contains("VALKEY_SENDER_ON_FULL") && error.contains("`shed`"), "{error}");
    }

    #[test]
    fn ids_are_remembered_for_longer_than_waits_and_retries_take() {
        // 1 s + 2 s + 4 s of pauses, and three times 3 s of waiting.
        let settings = SenderSettings::default().dedup_window(Some(Duration::from_secs(10)));
        assert!(settings.validate().is_empty());
        let found = settings.durability(Durability::Durable).validate();
        assert_eq!(found.iter().map(|found| found.fields()[0]).collect::<Vec<_>>(), ["dedup_window"]);
    }

    #[test]
    fn durabilities_are_read() {
        let settings = load(&[("DURABILITY", "replicated(2)"), ("DURABILITY_TIMEOUT", "1s")]).expect("valid");
        assert_eq!(settings.durability, "replicated:2".parse().expect("valid"));
        assert_eq!(settings.durability_timeout, Duration::from_secs(1));
        let error = load(&[("DURABILITY", "safe")]).expect_err("no such durability").to_string();
        assert!(error.contains("VALKEY_SENDER_DURABILITY") && error.contains("`durable`"), "{error}");
    }

    #[test]
    fn contradictions_are_found_together() {
        let settings = SenderSettings::default()
            .rate_limit_burst(NonZeroU32::new(5))
            .dedup_window(Some(Duration::from_millis(10)))
            .on_full_timeout(Some(Duration::from_secs(1)))
            .durability_timeout(Duration::ZERO)
            .max_message_bytes(0);
        let found = settings.validate();
        let fields: Vec<&str> = found.iter().map(|contradiction| contradiction.fields()[0]).collect();
        assert_eq!(
            fields,
            [
                "rate_limit_burst",
                "dedup_window",
                "dedup_window",
                "on_full_timeout",
                "durability_timeout",
                "max_message_bytes"
            ]
        );
    }
}
