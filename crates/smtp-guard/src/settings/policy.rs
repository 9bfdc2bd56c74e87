//! `[policy]`: the policy service.

mod limits;
mod listen;

use std::num::NonZeroUsize;
use std::time::Duration;

use valkey_config::{Contradiction, CsvList, Validate, settings};

pub use self::limits::{AddressBits, Algorithm, Count, LimitSettings, Limits, NetworkSettings, Outage, Per};
pub use self::listen::{InvalidListen, Listen};

settings! {
    /// The policy service for Postfix.
    #[derive(PartialEq)]
    pub struct PolicySettings in [policy] {
        /// Where Postfix asks: addresses with port, or `unix:/path`; one or several. Empty: no policy service. Who may reach a
        /// socket in the file system is for its directory to say.
        #[env("POLICY_LISTEN")]
        pub listen: CsvList<Listen>,
        /// The limits, each a table `[policy.limits.NAME]`. All that concern a request are charged or none.
        #[structured("table of limits")]
        pub limits: Limits,
        /// How long a connection may be idle. Postfix closes its own after 5 minutes; shorter only makes it connect again.
        #[env("POLICY_IDLE_TIMEOUT")]
        pub idle_timeout: Duration = Duration::from_mins(15),
        /// How long a request may take to arrive once it has begun, and an answer to be taken.
        #[env("POLICY_REQUEST_TIMEOUT")]
        pub request_timeout: Duration = Duration::from_secs(10),
        /// Connections at a time; each process of Postfix that serves a client keeps one.
        #[env("POLICY_MAX_CONNECTIONS")]
        pub max_connections: NonZeroUsize = NonZeroUsize::new(1_000).expect("not 0"),
        /// How long it is remembered that a message or recipient was counted, so that the later stages of the same message
        /// do not count it again.
        #[env("POLICY_REMEMBER")]
        pub remember: Duration = Duration::from_hours(1),
        /// How many counted messages and recipients are remembered at most, some 20 bytes each; beyond them the oldest go first.
        #[env("POLICY_MAX_REMEMBERED")]
        pub max_remembered: NonZeroUsize = NonZeroUsize::new(1_000_000).expect("not 0"),
    }
}

/// What is asked at once, at most.
const MOST: usize = 64;

impl Validate for PolicySettings {
    fn validate(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut refuse = |wrong: bool, fields: &[&'static str], message: &str| {
            if wrong {
                found.push(Contradiction::new(fields.iter().copied(), message));
            }
        };
        refuse(
            !self.listen.is_empty() && self.limits.is_empty(),
            &["listen", "limits"],
            "a policy service without a limit would let everything pass: name one, as in [policy.limits.client-minute]",
        );
        let counts: usize = self.limits.values().map(|limit| 1 + limit.networks.len()).sum();
        refuse(
            counts > MOST,
            &["limits"],
            "at most 64 are asked at once, all networks of all limits together",
        );
        refuse(
            self.request_timeout.is_zero() || self.request_timeout > Duration::from_hours(24),
            &["request_timeout"],
            "zero is no time to say anything in, and nobody needs more than 1day",
        );
        refuse(self.idle_timeout.is_zero(), &["idle_timeout"], "zero is no time to ask anything in");
        refuse(
            self.remember < Duration::from_secs(1) || self.remember > Duration::from_hours(24 * 7),
            &["remember"],
            "from 1s to 7days",
        );
        for (name, limit) in self.limits.iter() {
            if let Err(reason) = limit.rule(name) {
                refuse(true, &["limits"], &format!("[policy.limits.{name}]: {reason}"));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use valkey_config::Sources;
    use valkey_ratelimit::{OnUnavailable, Subject};

    use super::*;

    fn load(text: &str) -> Result<PolicySettings, String> {
        Sources::new("SMTP_GUARD_").toml_text("guard.toml", text).load().map_err(|error| error.to_string())
    }

    #[test]
    fn limits_are_read() {
        let settings = load(
            "[policy]\nlisten = [\"127.0.0.1:10040\", \"unix:/run/policy\"]\n\
             [policy.limits.client-minute]\nper = \"client\"\nquota = \"100/1m\"\n\
             [policy.limits.user-hour]\nper = \"sasl_user\"\ncount = \"recipient\"\nquota = \"500/1h\"\n\
             algorithm = \"gcra\"\nburst = 50\non_unavailable = \"local\"\nnodes = 3\nshadow = true\n\
             allow = [\"root\", \"10.0.0.0/8\"]\nlease = \"1%\"\n\
             networks = [{ v4 = 24, v6 = 48, quota = \"5000/1h\" }]\n",
        )
        .unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:10040,unix:/run/policy");
        let (minute, hour) = (&settings.limits["client-minute"], &settings.limits["user-hour"]);
        assert_eq!((minute.per, minute.count, minute.shadow), (Per::Client, Count::Message, false));
        assert_eq!((hour.per, hour.count, hour.shadow), (Per::SaslUser, Count::Recipient, true));
        let rule = hour.rule("user-hour").unwrap();
        assert_eq!(rule.algorithm(), valkey_ratelimit::Algorithm::Gcra { burst: 50 });
        assert_eq!(rule.quota().to_string(), "500/1h");
        assert!(rule.is_shadow() && rule.lease().is_some());
        assert!(rule.allows(&Subject::text("root")) && !rule.allows(&Subject::text("ada")));
        let rule = minute.rule("client-minute").unwrap();
        assert_eq!(rule.on_unavailable(), OnUnavailable::Allow);
        let key = rule.key(&Subject::ip("2001:db8:1:2:3::4".parse().unwrap()));
        assert!(key.ends_with(":client-minute:2001:db8:1:2::/64"), "{key}");
    }

    #[test]
    fn what_is_wrong_with_a_limit_is_said() {
        for (text, parts) in [
            ("listen = \"127.0.0.1:10040\"", &["without a limit"][..]),
            ("listen = \"10040\"", &["127.0.0.1:10040", "unix:/path"]),
            ("listen = \"unix:run/policy\"", &["absolute"]),
            ("[policy.limits.a]\nper = \"clinet\"\nquota = \"1/1s\"", &["clinet", "client"]),
            ("[policy.limits.a]\nquota = \"1/1s\"", &["per"]),
            ("[policy.limits.a]\nper = \"client\"\nquta = \"1/1s\"", &["quta", "quota"]),
            ("[policy.limits.a]\nper = \"client\"\nquota = \"1\"", &["limits.a", "100/1m"]),
            // Each by its name, and all at once.
            (
                "[policy.limits.a]\nper = \"clinet\"\nquota = \"1/1s\"\n[policy.limits.b]\nper = \"client\"\nquota = 5",
                &[
                    "[policy.limits.a]: unknown variant `clinet`",
                    "[policy.limits.b]: invalid type: integer `5`",
                ],
            ),
            ("[policy.limits.A]\nper = \"client\"\nquota = \"1/1s\"", &["a-z"]),
            ("[policy.limits.ip]\nper = \"client\"\nquota = \"1/1s\"", &["gate"]),
            ("[policy.limits.a]\nper = \"client\"\nquota = \"9/1s\"\nalgorithm = \"gcra\"", &["burst"]),
            ("[policy.limits.a]\nper = \"client\"\nquota = \"9/1s\"\nburst = 5", &["gcra"]),
            (
                "[policy.limits.a]\nper = \"client\"\nquota = \"9/1s\"\non_unavailable = \"local\"",
                &["nodes = 3"],
            ),
            ("[policy.limits.a]\nper = \"client\"\nquota = \"9/1s\"\nnodes = 3", &["local"]),
            (
                "[policy.limits.a]\nper = \"client\"\nquota = \"9/1s\"\nallow = [\"10.0.0.1/8\"]",
                &["10.0.0.0/8"],
            ),
            ("[policy.limits.a]\nper = \"client\"\nquota = \"9/1s\"\nlease = \"90%\"", &["50%"]),
            (
                "[policy.limits.a]\nper = \"client\"\nquota = \"9/1s\"\naddress_bits = { v4 = 33 }",
                &["1 to 32"],
            ),
            (
                "[policy.limits.a]\nper = \"client\"\nquota = \"90000/1s\"\nalgorithm = \"sliding-log\"",
                &["refused"],
            ),
            ("[policy]\nremember = \"0s\"", &["7days"]),
        ] {
            let error = load(&format!("[policy]\n{}", text.trim_start_matches("[policy]\n"))).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{part} is missing in: {error}");
            }
        }
    }
}
