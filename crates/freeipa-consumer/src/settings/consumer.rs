//! `[consumer]`: what concerns this program as a whole.

use std::net::SocketAddr;
use std::time::Duration;

use valkey_config::{Contradiction, Validate, settings};
use valkit_service::LogFormat;

use crate::state::{Flow, OnPartial};

settings! {
    /// What concerns this program as a whole.
    #[derive(PartialEq)]
    pub struct ConsumerSettings in [consumer] {
        /// How an account comes to be: `direct` as an active user, at once; `stage` as a stage user, whom an administrator
        /// activates; `stage_then_activate` as a stage user, whom this program activates.
        #[text("`direct`, `stage` or `stage_then_activate`")]
        pub flow: Flow = Flow::Direct,
        /// What becomes of an account whose groups cannot be joined, when nobody tries again: `keep` leaves it as it is,
        /// `disable` disables it. It is never deleted.
        #[text("`keep` or `disable`")]
        pub on_partial_groups: OnPartial = OnPartial::Keep,
        /// Whether a person, as Telegram numbers people, gets one account only.
        pub one_account_per_person: bool = true,
        /// What the keys begin with under which it is remembered how far registrations have come. The same for all consumers of
        /// a queue, and no other program's.
        pub key_prefix: String = "freeipa:reg:".to_owned(),
        /// How long it is remembered how far a registration has come, at least 30 days: whatever is delivered again, or replayed,
        /// has to find what was done.
        pub record_retention: Duration = Duration::from_hours(24 * 90),
        /// How long dead letters of the queue are kept; they hold personal data. 0s: until somebody purges them.
        pub dead_letter_retention: Duration = Duration::from_hours(24 * 14),
        /// How long one registration may hold up others of the same person, should its consumer die. It is renewed while it is
        /// worked on.
        pub applicant_lease: Duration = Duration::from_secs(30),
        /// How often it is tried whether trouble is over (the directory away, the service account refused), while nothing is
        /// taken from the queue.
        pub trouble_interval: Duration = Duration::from_secs(10),
        /// How often everything that is depended on is checked while all is well; 0s: only at the start.
        pub check_interval: Duration = Duration::from_mins(5),
        /// Where `/metrics`, `/healthz` and `/readyz` are served, to whoever can connect: it should not be the whole world.
        /// Unset: nowhere.
        pub http_listen: Option<SocketAddr>,
        /// What is logged: a level (`error`, `warn`, `info`, `debug`), or a filter as in `RUST_LOG`.
        pub log: String = "info".to_owned(),
        /// How it is logged: `text` or `json`, a line each.
        pub log_format: LogFormat = LogFormat::Text,
    }
}

/// The shortest retention of records.
const MONTH: Duration = crate::state::SHORTEST_LIFETIME;

impl Validate for ConsumerSettings {
    fn validate(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut refuse = |wrong: bool, field: &'static str, message: &str| {
            if wrong {
                found.push(Contradiction::new([field], message));
            }
        };
        refuse(
            self.record_retention < MONTH,
            "record_retention",
            "at least 720h (30 days): what is delivered again later would make accounts again",
        );
        refuse(
            self.key_prefix.is_empty() || !self.key_prefix.bytes().all(|byte| byte.is_ascii_graphic()),
            "key_prefix",
            "a prefix has at least one character, and printable ones without spaces only",
        );
        refuse(
            self.key_prefix.starts_with("queue:") || self.key_prefix.starts_with("{queue:"),
            "key_prefix",
            "keys that begin like this are those of queues: choose another prefix, such as `freeipa:reg:`",
        );
        refuse(
            self.applicant_lease < Duration::from_secs(5) || self.applicant_lease > Duration::from_hours(1),
            "applicant_lease",
            "a lease is from 5s to 1h",
        );
        refuse(
            self.trouble_interval < Duration::from_secs(1) || self.trouble_interval > Duration::from_hours(1),
            "trouble_interval",
            "from 1s, for the directory's sake, to 1h",
        );
        refuse(
            !self.check_interval.is_zero() && self.check_interval < Duration::from_secs(10),
            "check_interval",
            "0s for never, or at least 10s: each check asks the directory several things",
        );
        refuse(
            !self.dead_letter_retention.is_zero() && self.dead_letter_retention < Duration::from_hours(1),
            "dead_letter_retention",
            "0s for ever, or at least 1h: somebody has to see them first",
        );
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_queues_is_refused() {
        let refused = |prefix: &str| {
            let settings = ConsumerSettings { key_prefix: prefix.to_owned(), ..ConsumerSettings::default() };
            !settings.validate().is_empty()
        };
        for prefix in ["queue:", "queue:user-registrations", "{queue:user-registrations}:", "", "a b"] {
            assert!(refused(prefix), "{prefix:?}");
        }
        for prefix in ["freeipa:reg:", "registrations:queue:", "{freeipa}:"] {
            assert!(!refused(prefix), "{prefix:?}");
        }
    }
}
