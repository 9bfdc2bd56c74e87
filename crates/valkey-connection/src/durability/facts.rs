//! What a server says about its disk and its replicas.

use std::collections::HashMap;
use std::time::Duration;

use super::SyncPolicy;
use crate::error::Error;
use crate::reply::Reply;

/// What is known about how a server syncs. See [`Connection::sync_facts`](crate::Connection::sync_facts).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SyncFacts {
    /// Whether it keeps an append-only file, if it says so.
    pub append_only: Option<bool>,
    /// When it syncs it, or why that is not known.
    pub policy: Result<SyncPolicy, String>,
    /// Its clock ticks a second.
    pub hz: Option<u32>,
    /// Its name and version, as `valkey 8.0.1`.
    pub version: Option<String>,
    /// Whether a server of this version has `WAITAOF`; true if the version is not known.
    pub can_wait: bool,
    /// Replicas that are connected and in sync, if it says so.
    pub replicas: Option<u32>,
    /// How a trial went, if one was made.
    pub trial: Option<Trial>,
}

/// Writes, each of which waited until the server called it synced.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Trial {
    /// All were acknowledged.
    Acknowledged {
        /// How many, one after the other.
        writes: u32,
        /// How long they took together.
        took: Duration,
    },
    /// One was not, in time.
    NotInTime {
        /// What was not.
        why: String,
    },
    /// The server does not know the question.
    Unsupported,
}

/// What [`SyncFacts`] are made of.
pub(super) const INFO: &str = "INFO";
pub(super) const CONFIG: (&str, [&str; 3]) = ("CONFIG GET", ["appendonly", "appendfsync", "hz"]);

impl SyncFacts {
    /// From the answers to `INFO` and `CONFIG GET appendonly appendfsync hz`, of which each may be denied.
    pub(crate) fn read(info: Result<Reply, Error>, config: Result<Reply, Error>) -> Self {
        let info = info.and_then(Reply::into_string).unwrap_or_default();
        let info: HashMap<&str, &str> =
            info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let config: Result<HashMap<String, String>, Error> = config.and_then(|reply| {
            let pairs = reply.into_pairs()?.into_iter();
            pairs.map(|(name, value)| Ok((name.into_string()?, value.into_string()?))).collect()
        });
        let setting = |name: &str| config.as_ref().ok().and_then(|config| config.get(name));
        let number = match (info.get("valkey_version"), info.get("redis_version")) {
            (Some(number), _) => Some(("valkey", *number)),
            (None, Some(number)) => Some(("redis", *number)),
            (None, None) => None,
        };
        let replicas = info.get("connected_slaves").map(|_| {
            let online = |(name, value): &(&&str, &&str)| {
                name.starts_with("slave") && value.contains(",state=online,")
            };
            u32::try_from(info.iter().filter(online).count()).unwrap_or(u32::MAX)
        });
        let policy = match &config {
            Ok(config) => config
                .get("appendfsync")
                .and_then(|word| SyncPolicy::parse(word))
                .ok_or_else(|| "the server does not name one".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        Self {
            append_only: match (setting("appendonly"), info.get("aof_enabled")) {
                (Some(word), _) => Some(word == "yes"),
                (None, Some(flag)) => Some(*flag == "1"),
                (None, None) => None,
            },
            policy,
            hz: setting("hz").map(String::as_str).or(info.get("hz").copied()).and_then(|hz| hz.parse().ok()),
            version: number.map(|(name, number)| format!("{name} {number}")),
            can_wait: number.is_none_or(|(name, number)| name == "valkey" || !older_than_7_2(number)),
            replicas,
            trial: None,
        }
    }
}

fn older_than_7_2(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < (7, 2),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Reply {
        Reply::Bytes(text.into())
    }

    fn denied() -> Error {
        Error::from_reply("NOPERM User app has no permissions to run the 'config|get' command")
    }

    const INFO: &str = "# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\nhz:10\r\naof_enabled:1\r\n\
        connected_slaves:2\r\nslave0:ip=1,port=2,state=online,offset=3,lag=0,type=replica\r\n\
        slave1:ip=1,port=2,state=wait_bgsave,offset=0,lag=0,type=replica\r\n";

    #[test]
    fn both_answers_are_read() {
        let config = Reply::Map(vec![
            (text("appendonly"), text("yes")),
            (text("appendfsync"), text("everysec")),
            (text("hz"), text("10")),
        ]);
        let facts = SyncFacts::read(Ok(text(INFO)), Ok(config));
        assert_eq!((facts.append_only, &facts.policy), (Some(true), &Ok(SyncPolicy::EverySecond)));
        assert_eq!((facts.hz, facts.version.as_deref()), (Some(10), Some("valkey 8.0.1")));
        assert_eq!((facts.replicas, facts.can_wait), (Some(1), true), "one of two is in sync");
    }

    #[test]
    fn what_is_denied_is_unknown_and_nothing_else() {
        let facts = SyncFacts::read(Ok(text(INFO)), Err(denied()));
        assert_eq!((facts.append_only, facts.replicas, facts.hz), (Some(true), Some(1), Some(10)));
        assert!(facts.policy.unwrap_err().contains("config|get"));
        let facts = SyncFacts::read(Err(denied()), Err(denied()));
        assert_eq!((facts.append_only, facts.replicas, facts.version), (None, None, None));
        assert!(facts.can_wait, "the trial will tell");
    }

    #[test]
    fn an_old_redis_cannot_wait_for_the_disk() {
        for (info, can_wait) in [
            ("redis_version:7.0.15", false),
            ("redis_version:6.2.0", false),
            ("redis_version:7.2.4", true),
            ("redis_version:8.0.0", true),
            ("redis_version:7.2.4\nvalkey_version:7.2.5", true),
        ] {
            assert_eq!(SyncFacts::read(Ok(text(info)), Err(denied())).can_wait, can_wait, "{info}");
        }
    }
}
