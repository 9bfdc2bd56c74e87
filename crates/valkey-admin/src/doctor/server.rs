//! Judgements about a server.

use super::{
    Finding, Severity,
    facts::{DefaultUser, Facts, Info, Known, Version},
    writes,
};

/// A clock difference from which expiry and delays are visibly off.
const CLOCK_TOLERANCE_MS: u64 = 2_000;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = writes::judge(facts);
    let about = facts.server.as_str();
    match &facts.info {
        Ok(info) => {
            findings.extend(version(about, info));
            findings.extend(eviction(about, info));
            findings.push(persistence(about, info, &facts.fsync, &facts.save));
            findings.extend(replay_as_default(about, info, &facts.default_user));
            findings.extend(torn_transactions(about, info));
            findings.extend(role(about, info));
        }
        Err(why) => {
            findings.push(Finding::unchecked(about, "version, memory policy, persistence and role", why));
        }
    }
    if let Ok(user) = &facts.default_user
        && user.on
        && user.nopass
    {
        findings.push(Finding::new(
            Severity::Note,
            about,
            "anyone who reaches the server may use it: the user `default` needs no password",
            "whoever can connect can read, change and delete every message",
            "fine on a private network; else set a password, or named users and \
             `user default off resetpass ~* &* +@all`",
        ));
    }
    match &facts.clock_ahead_ms {
        Ok(ahead) if ahead.unsigned_abs() > CLOCK_TOLERANCE_MS => findings.push(Finding::new(
            Severity::Warning,
            about,
            format!(
                "its clock is {} s {} this machine's",
                ahead.unsigned_abs() / 1000,
                if *ahead > 0 { "ahead of" } else { "behind" }
            ),
            "an envelope's timestamp and expiry are by its sender's clock, delays and leases by the server's",
            "synchronise the clocks (NTP) of the server and of the senders",
        )),
        Ok(_) => {}
        Err(why) => findings.push(Finding::unchecked(about, "how far its clock is off", why)),
    }
    findings
}

fn version(about: &str, info: &Info) -> Option<Finding> {
    let Some(version) = info.version() else {
        return Some(Finding::unchecked(about, "its version", &"INFO names none that can be read"));
    };
    if version.number < (7, 0, 0) {
        return Some(Finding::new(
            Severity::Critical,
            about,
            format!("version {version} is too old"),
            "scripts with flags and shard channels came with 7.0: consumers cannot work",
            "upgrade to Valkey 8.0 or later",
        ));
    }
    (!version.valkey).then(|| {
        Finding::new(
            Severity::Note,
            about,
            format!("it is Redis {version}, not Valkey"),
            "queues work on it, but its fixes are not tracked here",
            "use Valkey 8.0 or later if you can choose",
        )
    })
}

fn eviction(about: &str, info: &Info) -> Option<Finding> {
    let limit = info.number("maxmemory")?;
    let policy = info.get("maxmemory_policy")?;
    if policy == "noeviction" {
        return (limit == 0).then(|| {
            Finding::new(
                Severity::Note,
                about,
                "it has no memory limit (maxmemory 0)",
                "a growing queue is stopped by the operating system killing the server, not by an error to senders",
                "set maxmemory below the machine's memory; senders then get a clear refusal, consumers go on",
            )
        });
    }
    let severity = if limit == 0 { Severity::Warning } else { Severity::Critical };
    // The volatile policies only take keys with an expiry: deduplication and statistics, and lists that a foreign
    // producer gave one.
    let all = policy.starts_with("allkeys");
    let what = format!(
        "maxmemory-policy is {policy}{}",
        if limit == 0 { " (no maxmemory is set, so it rests)" } else { "" }
    );
    let why = if all {
        "at the memory limit the server deletes whole queues to make room"
    } else {
        "at the memory limit the server deletes keys with an expiry: deduplication forgets, and a list that a plain \
         producer gave an expiry goes with all its messages"
    };
    let severity = if all { severity } else { Severity::Warning };
    Some(Finding::new(
        severity,
        about,
        what,
        why,
        "CONFIG SET maxmemory-policy noeviction, and in the configuration file",
    ))
}

fn persistence(about: &str, info: &Info, fsync: &Known<String>, save: &Known<String>) -> Finding {
    if info.get("aof_enabled") == Some("1") {
        return match fsync.as_deref() {
            Ok("always") => Finding::new(
                Severity::Note,
                about,
                "persistence: append-only file, synced at every write",
                "what the server confirmed survives a power cut",
                "nothing to do",
            ),
            Ok("everysec") => Finding::new(
                Severity::Note,
                about,
                "persistence: append-only file, synced every second",
                "a power cut can take the last second or two; a crash of the server process takes nothing, or as much on a disk too slow for it",
                "appendfsync always, if confirmed sends must survive a power cut",
            ),
            Ok(other) => Finding::new(
                Severity::Warning,
                about,
                format!("persistence: append-only file with appendfsync {other}"),
                "the operating system decides when it is written: a power cut can take half a minute of messages",
                "CONFIG SET appendfsync everysec (or always)",
            ),
            Err(why) => Finding::unchecked(about, "how often the append-only file is synced", why),
        };
    }
    match save.as_deref() {
        Ok("") => Finding::new(
            Severity::Warning,
            about,
            "persistence: none",
            "all queues are gone when the server stops, for whatever reason",
            "appendonly yes (and appendfsync everysec or always), unless the queues may be lost",
        ),
        Ok(points) => Finding::new(
            Severity::Warning,
            about,
            format!("persistence: snapshots only (save {points})"),
            "all that happened since the last snapshot is undone when the server stops: messages are lost and settled \
             ones come back",
            "appendonly yes (and appendfsync everysec or always)",
        ),
        Err(why) => Finding::new(
            Severity::Warning,
            about,
            "persistence: no append-only file; whether there are snapshots could not be found out",
            format!(
                "at best, all that happened since the last snapshot is undone when the server stops ({why})"
            ),
            "appendonly yes (and appendfsync everysec or always)",
        ),
    }
}

/// Scripts that write twice or more are replayed from the append-only file as the user `default`.
fn replay_as_default(about: &str, info: &Info, user: &Known<DefaultUser>) -> Option<Finding> {
    if info.get("aof_enabled") != Some("1") || info.version().is_some_and(Version::replays_without_acl) {
        return None;
    }
    let version = info.version().map_or_else(|| "this version".to_owned(), |version| version.to_string());
    let remedy = "user default off resetpass ~* &* +@all (unreachable, but may replay), or upgrade to Valkey 8.0.11, \
                  8.1.10, 9.1.2 or later";
    match user {
        Ok(user) if user.all_keys && user.all_commands => None,
        Ok(_) => Some(Finding::new(
            Severity::Critical,
            about,
            format!(
                "the user `default` may not do everything, and {version} replays the append-only file as that user"
            ),
            "at the next restart, also a clean one, all that scripts wrote is silently dropped: sends, settlements, \
             dead letters",
            remedy,
        )),
        Err(why) => Some(Finding::new(
            Severity::Unchecked,
            about,
            format!(
                "could not find out what the user `default` may do, and {version} replays the append-only file as it"
            ),
            format!("if it is restricted, a restart silently drops all that scripts wrote ({why})"),
            format!("look at ACL GETUSER default; safe is: {remedy}"),
        )),
    }
}

/// Fixed in the same releases as the replay without access rules.
fn torn_transactions(about: &str, info: &Info) -> Option<Finding> {
    if info.get("aof_enabled") != Some("1") || info.version().is_some_and(Version::replays_without_acl) {
        return None;
    }
    Some(Finding::new(
        Severity::Note,
        about,
        "a power cut may leave half a script in the append-only file of this version",
        "the first start undoes it; but it stays in the file, and the next start loses or halves what was written since",
        "run BGREWRITEAOF after each start that followed a crash, or upgrade to Valkey 8.0.11, 8.1.10, 9.1.2 or later",
    ))
}

fn role(about: &str, info: &Info) -> Option<Finding> {
    (info.get("role") == Some("master") && info.number("connected_slaves") == Some(0)).then(|| {
        Finding::new(
            Severity::Note,
            about,
            "no replica is connected",
            "if this machine dies, its queues are as good as its last backup",
            "fine for one machine; else attach a replica, and know that a failover loses what it had not received",
        )
    })
}

// === impl Version ===

impl Version {
    /// Whether loading the append-only file leaves out the access rules of `default`.
    fn replays_without_acl(self) -> bool {
        self.valkey
            && match self.number {
                (8, 0, patch) => patch >= 11,
                (8, 1, patch) => patch >= 10,
                (9, 0, _) => false,
                (9, 1, patch) => patch >= 2,
                number => number > (9, 1, 2),
            }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor, patch) = self.number;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "valkey_version:8.1.10\nmaxmemory:1000\nmaxmemory_policy:noeviction\naof_enabled:1\n\
                        aof_last_write_status:ok\nrdb_last_bgsave_status:ok\nrole:master\nconnected_slaves:1\n";
    const FREE: DefaultUser = DefaultUser { on: true, nopass: false, all_keys: true, all_commands: true };
    const OFF: DefaultUser = DefaultUser { on: false, nopass: false, all_keys: false, all_commands: false };

    fn facts(changes: &[(&str, &str)]) -> Facts {
        let mut info = GOOD.to_owned();
        for (from, to) in changes {
            assert!(info.contains(from), "{from} is not in the template");
            info = info.replace(from, to);
        }
        Facts {
            server: "s".into(),
            refusal: None,
            info: Ok(Info::parse(&info)),
            cluster: None,
            min_replicas: Ok("0".into()),
            fsync: Ok("everysec".into()),
            save: Ok(String::new()),
            default_user: Ok(FREE),
            clock_ahead_ms: Ok(3),
        }
    }

    /// The findings that are more than a note.
    fn alarms(facts: &Facts) -> Vec<(Severity, String)> {
        let all = judge(facts).into_iter().filter(|finding| finding.severity != Severity::Note);
        all.map(|finding| (finding.severity, finding.what)).collect()
    }

    fn assert_alarm(facts: &Facts, severity: Severity, what: &str) {
        let alarms = alarms(facts);
        assert!(alarms.len() == 1 && alarms[0].0 == severity && alarms[0].1.contains(what), "{alarms:?}");
    }

    #[test]
    fn a_good_server_gives_no_alarm() {
        assert_eq!(alarms(&facts(&[])), []);
    }

    #[test]
    fn each_fault_is_found_alone() {
        assert_alarm(&facts(&[("8.1.10", "6.2.0")]), Severity::Critical, "too old");
        assert_alarm(&facts(&[("noeviction", "allkeys-lru")]), Severity::Critical, "allkeys-lru");
        assert_alarm(&facts(&[("noeviction", "volatile-ttl")]), Severity::Warning, "volatile-ttl");
        assert_alarm(
            &facts(&[("noeviction", "allkeys-lru"), ("maxmemory:1000", "maxmemory:0")]),
            Severity::Warning,
            "rests",
        );
        assert_alarm(&facts(&[("aof_enabled:1", "aof_enabled:0")]), Severity::Warning, "persistence: none");
        assert_alarm(
            &facts(&[("aof_last_write_status:ok", "aof_last_write_status:err")]),
            Severity::Critical,
            "append-only",
        );
        assert_alarm(&Facts { fsync: Ok("no".into()), ..facts(&[]) }, Severity::Warning, "appendfsync no");
        assert_alarm(&Facts { clock_ahead_ms: Ok(-5_000), ..facts(&[]) }, Severity::Warning, "5 s behind");
        let snapshots = Facts { save: Ok("3600 1".into()), ..facts(&[("aof_enabled:1", "aof_enabled:0")]) };
        assert_alarm(&snapshots, Severity::Warning, "snapshots only");
    }

    #[test]
    fn a_restricted_default_user_is_critical_until_the_fix() {
        for (version, affected) in [
            ("7.2.9", true),
            ("8.0.1", true),
            ("8.0.10", true),
            ("8.0.11", false),
            ("8.1.9", true),
            ("8.1.10", false),
            ("9.0.7", true),
            ("9.1.1", true),
            ("9.1.2", false),
            ("9.2.0", false),
            ("10.0.0", false),
        ] {
            let facts = Facts { default_user: Ok(OFF), ..facts(&[("8.1.10", version)]) };
            assert_eq!(!alarms(&facts).is_empty(), affected, "{version}");
            let torn = judge(&facts).iter().any(|finding| finding.what.contains("half a script"));
            assert_eq!(torn, affected, "{version}");
        }
        let redis =
            Facts { default_user: Ok(OFF), ..facts(&[("valkey_version:8.1.10", "redis_version:8.1.10")]) };
        assert_alarm(&redis, Severity::Critical, "default");
    }

    #[test]
    fn the_shipped_rule_is_safe_and_so_is_no_append_only_file() {
        let safe = DefaultUser { on: false, ..FREE };
        assert_eq!(alarms(&Facts { default_user: Ok(safe), ..facts(&[("8.1.10", "8.0.1")]) }), []);
        let no_aof = Facts {
            default_user: Ok(OFF),
            ..facts(&[("8.1.10", "8.0.1"), ("aof_enabled:1", "aof_enabled:0")])
        };
        assert_alarm(&no_aof, Severity::Warning, "persistence");
    }

    #[test]
    fn what_may_not_be_read_is_said() {
        let no = |what: &str| Err(format!("{what} denied"));
        let facts = Facts {
            server: "s".into(),
            refusal: None,
            info: Err("INFO denied".into()),
            cluster: None,
            min_replicas: no("CONFIG"),
            fsync: no("CONFIG"),
            save: no("CONFIG"),
            default_user: Err("ACL denied".into()),
            clock_ahead_ms: Err("TIME denied".into()),
        };
        let severities: Vec<_> = alarms(&facts).into_iter().map(|(severity, _)| severity).collect();
        assert_eq!(severities, [Severity::Unchecked, Severity::Unchecked]);

        let old = Facts { default_user: Err("ACL denied".into()), ..self::facts(&[("8.1.10", "8.0.1")]) };
        assert_alarm(&old, Severity::Unchecked, "default");
    }
}
