//! Everything that can be set about receiving, and which settings contradict each other.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use valkey_config::{Contradiction, CsvList, Invalid, Raw, Setting, Validate, settings};
use valkey_envelope::QueueName;

use crate::policy::{InvalidRetryPolicy, RetryPolicy};
use crate::source::OnExpired;

/// No park is longer: a blocking read that outlives its consumer must end before anybody could be missing its message.
const LONGEST_PARK: Duration = Duration::from_secs(1);

/// Below this a renewal and its answer do not fit into the lease on a busy machine.
const SHORTEST_LEASE: Duration = Duration::from_millis(500);

settings! {
    /// How messages are taken, handled, tried again and given up.
    #[derive(PartialEq)]
    pub struct ReceiverSettings in [receiver] {
        /// Queues to receive from, where the program names none.
        #[env("DEFAULT_QUEUES")]
        #[alias("DEFAULT_QUEUE")]
        pub default_queues: CsvList<QueueName> = default_queues(),
        /// Name of a group of consumers.
        #[notice("all consumers of a queue share its messages; there are no groups")]
        pub consumer_group: Option<String>,
        /// How long an idle consumer waits in one blocking read, at most 1s. Messages wake it at once whatever it is.
        #[mapped("the time of one blocking read, at most 1s")]
        pub blocking_timeout: Duration = Duration::from_secs(1),
        /// Handlers that run at the same time.
        pub max_concurrent_messages: NonZeroUsize = NonZeroUsize::new(10).expect("not 0"),
        /// Messages of each queue held in memory for the handlers, beyond those being handled. More is faster, fewer
        /// spreads a short queue more evenly over the consumers.
        pub prefetch: NonZeroUsize = NonZeroUsize::new(64).expect("not 0"),
        /// Messages taken in one round trip, at most 512; never more than there is room for.
        pub batch: NonZeroUsize = NonZeroUsize::new(64).expect("not 0"),
        /// How long a handler may work on a message before it is stopped and the message tried again; 0s for as long as
        /// it likes.
        pub processing_timeout: Duration = Duration::from_secs(30),
        /// How often a failing message is tried again before it becomes a dead letter: one attempt less than it gets in
        /// all.
        pub max_retries: u32 = 3,
        /// The longest wait before the first retry; the wait is drawn between zero and this.
        pub retry_delay: Duration = Duration::from_secs(1),
        /// By how much the longest wait grows with each retry; from 1 on.
        pub retry_backoff: f64 = 2.0,
        /// The longest wait before any retry.
        pub max_retry_delay: Duration = Duration::from_mins(5),
        /// A queue that gets a copy of each dead letter, unchanged, at least once. The dead letters of the queue itself
        /// are kept either way.
        #[optional_text("queue name")]
        pub dead_letter_queue: Option<QueueName>,
        /// Whether messages from before the start are processed.
        #[notice("waiting messages are always processed")]
        pub process_existing_messages: bool = true,
        /// How long the start may be spent on messages that were waiting.
        #[notice("there is no phase at the start; for the stop there is DRAIN_TIMEOUT")]
        pub startup_drain_timeout: Duration = Duration::from_secs(30),
        /// How long running handlers may go on after the wish to stop; then they are dropped and their messages go back.
        pub drain_timeout: Duration = Duration::from_secs(30),
        /// How long this consumer may be silent before the others take over what it holds. Renewed all the time, however
        /// long a handler works.
        pub lease: Duration = Duration::from_secs(15),
        /// How often the lease is renewed when no traffic does it; a fifth of the lease unless set, and never less often
        /// than once a second.
        pub heartbeat: Option<Duration>,
        /// How often a message may take its consumer down with it before it becomes a dead letter.
        pub max_crashes: NonZeroU32 = NonZeroU32::new(3).expect("not 0"),
        /// What becomes of a message whose time to live is over: `dead` keeps it among the dead letters, `drop` removes
        /// it.
        pub on_expired: OnExpired = OnExpired::Dead,
        /// Time to live of messages that bring none themselves, from their timestamp on.
        pub message_ttl: Option<Duration>,
        /// How long a message that this consumer cannot read but a newer one might (a newer envelope, an unknown codec or
        /// key) is put back for others before it becomes a dead letter; 0s for not at all.
        pub unreadable_wait: Duration = Duration::from_mins(1),
        /// Messages a second that handlers of this process start on; no limit unless set.
        pub rate_limit_requests: Option<NonZeroU32>,
        /// How many of them may start at one instant after a quiet time; `RATE_LIMIT_REQUESTS` unless set.
        pub rate_limit_burst: Option<NonZeroU32>,
    }
}

fn default_queues() -> CsvList<QueueName> {
    std::iter::once("user-registrations".parse().expect("a valid queue name")).collect()
}

impl ReceiverSettings {
    /// The retry policy that these settings describe.
    ///
    /// # Errors
    /// If `retry_backoff` is below 1, or `max_retry_delay` below `retry_delay` or above ten years.
    pub fn retry_policy(&self) -> Result<RetryPolicy, InvalidRetryPolicy> {
        let attempts = NonZeroU32::MIN.saturating_add(self.max_retries);
        RetryPolicy::try_new(attempts, self.retry_delay, self.retry_backoff, self.max_retry_delay)
    }

    /// How often the lease is renewed when nothing else renews it.
    pub fn heartbeat_interval(&self) -> Duration {
        self.heartbeat.unwrap_or(self.lease / 5)
    }

    /// How many messages of a queue this consumer holds at most: those being handled, and as many waiting for a handler.
    pub(crate) fn most_held(&self) -> usize {
        self.max_concurrent_messages.get().saturating_add(self.prefetch.get())
    }

    /// How long one blocking read of an idle consumer lasts.
    pub(crate) fn park_timeout(&self) -> Duration {
        // For plain BRPOP consumers 0 means "for ever"; here that is the longest there is.
        if self.blocking_timeout.is_zero() { LONGEST_PARK } else { self.blocking_timeout.min(LONGEST_PARK) }
    }

    /// How long a handler may work; `None` for as long as it likes.
    pub(crate) fn handler_timeout(&self) -> Option<Duration> {
        Some(self.processing_timeout).filter(|timeout| !timeout.is_zero())
    }
}

impl Validate for ReceiverSettings {
    fn validate(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut refuse = |wrong: bool, fields: &[&'static str], message: &str| {
            if wrong {
                found.push(Contradiction::new(fields.iter().copied(), message));
            }
        };
        refuse(self.batch.get() > 512, &["batch"], "one round trip takes at most 512 messages");
        refuse(self.prefetch.get() > 65_536, &["prefetch"], "at most 65536 messages are held in memory");
        refuse(
            self.max_concurrent_messages.get() > 65_536,
            &["max_concurrent_messages"],
            "at most 65536 handlers",
        );
        refuse(self.lease < SHORTEST_LEASE, &["lease"], "a lease is at least 500ms");
        refuse(
            self.lease > Duration::from_hours(1),
            &["lease"],
            "a lease is at most 1h: so long a crash goes unnoticed",
        );
        refuse(
            self.heartbeat_interval() >= self.lease * 3 / 4,
            &["heartbeat", "lease"],
            "the heartbeat must be shorter than three quarters of the lease, where a silent consumer gives itself up",
        );
        refuse(
            self.heartbeat.is_some_and(|heartbeat| heartbeat.is_zero()),
            &["heartbeat"],
            "a heartbeat is above 0s",
        );
        refuse(
            !self.blocking_timeout.is_zero() && self.blocking_timeout < Duration::from_millis(10),
            &["blocking_timeout"],
            "one blocking read lasts at least 10ms: shorter ones only keep the server busy",
        );
        refuse(
            self.message_ttl.is_some_and(|ttl| ttl.is_zero()),
            &["message_ttl"],
            "a time to live is above 0s",
        );
        refuse(
            self.rate_limit_burst.is_some() && self.rate_limit_requests.is_none(),
            &["rate_limit_burst", "rate_limit_requests"],
            "a burst needs a rate",
        );
        refuse(
            self.dead_letter_queue.as_ref().is_some_and(|copy| self.default_queues.contains(copy)),
            &["dead_letter_queue", "default_queues"],
            "a queue that gets the dead letters of itself would never be empty",
        );
        if let Err(error) = self.retry_policy() {
            let fields: &[&'static str] = match error {
                InvalidRetryPolicy::Factor { .. } => &["retry_backoff"],
                InvalidRetryPolicy::CapBelowBase { .. } => &["max_retry_delay", "retry_delay"],
                InvalidRetryPolicy::CapTooLong { .. } => &["max_retry_delay"],
            };
            refuse(true, fields, &error.to_string());
        }
        found
    }
}

impl Setting for OnExpired {
    fn type_name() -> String {
        "`dead` or `drop`".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw.into_text().as_deref().map(str::trim) {
            Some("dead") => Ok(Self::Dead),
            Some("drop") => Ok(Self::Drop),
            _ => Err(Invalid::expected(Self::type_name())),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Dead => "dead",
            Self::Drop => "drop",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use valkey_config::Sources;

    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<ReceiverSettings, String> {
        let variables =
            variables.iter().map(|(name, value)| (format!("VALKEY_RECEIVER_{name}"), (*value).to_owned()));
        Sources::new("VALKEY_RECEIVER_").vars(variables).load().map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_existing_deployments_and_hold_together() {
        let settings = load(&[]).unwrap();
        assert_eq!(settings, ReceiverSettings::default());
        assert_eq!(settings.default_queues.to_string(), "user-registrations");
        assert_eq!(settings.retry_policy().unwrap(), RetryPolicy::default());
        assert_eq!(settings.heartbeat_interval(), Duration::from_secs(3));
        assert_eq!(settings.message_ttl, None);
    }

    #[test]
    fn the_environment_of_an_existing_consumer_is_understood() {
        let settings = load(&[
            ("DEFAULT_QUEUES", "a, b"),
            ("CONSUMER_GROUP", "default-group"),
            ("BLOCKING_TIMEOUT", "5s"),
            ("MAX_CONCURRENT_MESSAGES", "3"),
            ("PROCESSING_TIMEOUT", "1m30s"),
            ("MAX_RETRIES", "0"),
            ("RETRY_DELAY", "250ms"),
            ("RETRY_BACKOFF", "1.5"),
            ("DEAD_LETTER_QUEUE", "dead"),
            ("PROCESS_EXISTING_MESSAGES", "true"),
            ("STARTUP_DRAIN_TIMEOUT", "30s"),
        ])
        .unwrap();
        assert_eq!(settings.default_queues.len(), 2);
        assert_eq!(settings.park_timeout(), Duration::from_secs(1));
        assert_eq!(settings.max_concurrent_messages.get(), 3);
        assert_eq!(settings.handler_timeout(), Some(Duration::from_secs(90)));
        assert_eq!(settings.retry_policy().unwrap().max_attempts().get(), 1);
        assert_eq!(settings.dead_letter_queue.unwrap().as_str(), "dead");
    }

    #[test]
    fn contradictions_are_refused_together() {
        let error = load(&[
            ("LEASE", "2s"),
            ("HEARTBEAT", "1500ms"),
            ("RETRY_DELAY", "1m"),
            ("MAX_RETRY_DELAY", "5s"),
            ("BATCH", "513"),
            ("RATE_LIMIT_BURST", "5"),
            ("DEAD_LETTER_QUEUE", "user-registrations"),
        ])
        .unwrap_err();
        for part in [
            "HEARTBEAT",
            "three quarters",
            "MAX_RETRY_DELAY",
            "512",
            "a burst needs a rate",
            "never be empty",
        ] {
            assert!(error.contains(part), "{part} is missing in:\n{error}");
        }
    }

    #[test]
    fn zero_means_no_timeout_for_handlers_and_the_longest_park() {
        let settings = load(&[("PROCESSING_TIMEOUT", "0s"), ("BLOCKING_TIMEOUT", "0s")]).unwrap();
        assert_eq!(settings.handler_timeout(), None);
        assert_eq!(settings.park_timeout(), LONGEST_PARK);
    }

    #[test]
    fn more_retries_than_fit_are_as_many_as_fit() {
        let policy = ReceiverSettings::default().max_retries(u32::MAX).retry_policy().unwrap();
        assert_eq!(policy.max_attempts(), NonZeroU32::MAX);
    }

    #[test]
    fn on_expired_reads_what_it_shows() {
        for value in [OnExpired::Dead, OnExpired::Drop] {
            assert_eq!(OnExpired::parse(Raw::Text(value.show())), Ok(value));
        }
        assert!(load(&[("ON_EXPIRED", "keep")]).unwrap_err().contains("`dead` or `drop`"));
    }
}
