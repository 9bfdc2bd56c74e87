//! The commands that senders, receivers and operators need.

use super::Severity;

/// What somebody does with a queue, and the commands it takes. Words that name a key of the queue stand for it.
pub(super) struct Role {
    pub(super) verb: &'static str,
    pub(super) severity: Severity,
    pub(super) why: &'static str,
    pub(super) commands: &'static [&'static str],
}

/// Scripts are the only commands that tell a right to a key from one to a command: who asks by `EVAL` has that one.
pub(super) const KEYS: [&str; 2] = ["eval - 1 public", "eval - 1 control"];

/// Only what is needed: who may not ring the bell, or count for statistics, is served all the same.
pub(super) const ROLES: [Role; 3] = [
    Role {
        verb: "send",
        severity: Severity::Critical,
        why: "sends that need it are refused with NOPERM; only plain pushes (VALKEY_BOUNDED=false) go without scripts",
        commands: &[
            "evalsha - 0",
            "lpush public x",
            "hget control x",
            "persist public",
            "llen public",
            "time",
            "zadd delayed 0 x",
            "zcard delayed",
            "zrange delayed 0 0",
            "smismember dedup x",
            "sadd dedup x",
            "pexpireat dedup 0",
        ],
    },
    Role {
        verb: "receive",
        severity: Severity::Critical,
        why: "receivers that run as this user do not start, and those at work lose their lease (NOPERM)",
        commands: &[
            "evalsha - 0",
            "blmove public woken right left 0",
            "del inflight",
            "exists inflight",
            "hdel inflight x",
            "hget control x",
            "hgetall control",
            "hkeys inflight",
            "hlen inflight",
            "hmget control x",
            "hrandfield inflight",
            "hset inflight x x",
            "info",
            "lindex redo 0",
            "llen public",
            "lpush redo x",
            "lrange redo 0 0",
            "persist public",
            "rpop public",
            "rpush public x",
            "time",
            "zadd consumers 0 x",
            "zcard consumers",
            "zrange consumers 0 0",
            "zrangebyscore delayed 0 0",
            "zrem delayed x",
            "zscore consumers x",
        ],
    },
    Role {
        verb: "operate queues",
        severity: Severity::Warning,
        why: "the verbs of `valkit queue` and `valkit dead` that need it are refused (NOPERM), some of them half-way",
        commands: &[
            "evalsha - 0",
            "del inflight",
            "hdel dead-body x",
            "hexists inflight x",
            "hget control x",
            "hgetall control",
            "hkeys control",
            "hlen dead-body",
            "hset control x x",
            "lindex public 0",
            "llen public",
            "lmove redo public left right",
            "lpop public",
            "lpush public x",
            "lrange public 0 0",
            "ltrim public 0 0",
            "persist public",
            "pttl public",
            "rpush public x",
            "scan 0",
            "time",
            "type public",
            "unlink public",
            "zadd delayed 0 x",
            "zcard dead",
            "zcount dead 0 0",
            "zrange dead 0 0",
            "zrem dead x",
            "zscore dead x",
        ],
    },
];

/// Whether no rule for keys is about it.
pub(super) fn is_keyless(command: &str) -> bool {
    ["evalsha - 0", "info", "scan 0", "time"].contains(&command)
}

#[cfg(test)]
mod tests {
    use super::ROLES;

    /// The receiver asks by name when it joins; what it needs there is what we say it needs.
    #[test]
    fn what_a_receiver_is_said_to_need_is_what_its_join_asks_for() {
        let join = concat!(env!("CARGO_MANIFEST_DIR"), "/../valkey-receiver/lua/join.lua");
        let Ok(join) = std::fs::read_to_string(join) else { return };
        let list = join.split("local NEEDED = {").nth(1).and_then(|rest| rest.split('}').next());
        let list = list.unwrap_or_default();
        let mut needed: Vec<&str> =
            list.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.trim())).collect();
        assert!(needed.len() > 20, "{list}");
        needed.extend(["evalsha", "blmove"]);
        needed.sort_unstable();
        let mut ours: Vec<&str> =
            ROLES[1].commands.iter().filter_map(|command| command.split(' ').next()).collect();
        ours.sort_unstable();
        assert_eq!(ours, needed);
    }
}
