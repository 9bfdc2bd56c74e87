//! Why a server would refuse each send, as things stand.

use super::{
    Finding, Severity,
    facts::{Facts, Info, Known},
};

/// Slots of a cluster, all of which somebody has to serve.
const SLOTS: u64 = 16_384;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let about = facts.server.as_str();
    let refusal = facts.refusal.as_deref().unwrap_or_default();
    let mut findings: Vec<Finding> = busy(about, refusal).into_iter().collect();
    if let Ok(info) = &facts.info {
        findings.extend(replica(about, info));
        findings.extend(memory(about, info, refusal));
        findings.extend(too_few_replicas(about, info, &facts.min_replicas, refusal));
        findings.extend(failing(about, info));
    }
    match &facts.cluster {
        Some(Ok(info)) => findings.extend(cluster(about, info)),
        Some(Err(why)) => findings.push(Finding::unchecked(about, "how its cluster stands", why)),
        None => {}
    }
    if !refusal.is_empty() && !refuses(&findings) {
        findings.push(Finding::new(
            Severity::Critical,
            about,
            format!("it refuses sends: {refusal}"),
            "each send is refused in these words until that is over",
            "look at INFO persistence and INFO replication on the server, and at its log",
        ));
    }
    findings
}

/// Whether any of these findings means that nothing can be promised to a sender.
pub(super) fn refuses(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Critical)
}

fn critical(about: &str, what: String, why: &str, remedy: impl Into<String>) -> Finding {
    Finding::new(Severity::Critical, about, what, why, remedy)
}

fn busy(about: &str, refusal: &str) -> Option<Finding> {
    if !refusal.starts_with("BUSY ") {
        return None;
    }
    let kill = if refusal.contains("FUNCTION KILL") { "FUNCTION KILL" } else { "SCRIPT KILL" };
    Some(critical(
        about,
        format!("it does nothing but run a script: {refusal}"),
        "each send, take and settle is refused until the script ends; leases run out meanwhile",
        format!(
            "find out whose script it is and wait for its end, or {kill}: it stops a script that has not written yet. \
             One that has written is stopped by SHUTDOWN NOSAVE alone, and that loses all that is not on disk"
        ),
    ))
}

fn replica(about: &str, info: &Info) -> Option<Finding> {
    if info.get("role") != Some("slave") {
        return None;
    }
    let told = |name: &str| info.get(name).unwrap_or("?").to_owned();
    let primary = format!("{}:{}", told("master_host"), told("master_port"));
    let up = info.get("master_link_status") == Some("up");
    let link = match (up, info.number("master_link_down_since_seconds")) {
        (true, _) => "up".to_owned(),
        (false, Some(seconds)) => format!("down for {seconds} s"),
        (false, None) => "down".to_owned(),
    };
    let why = if info.get("slave_read_only") == Some("0") {
        "it takes writes all the same (replica-read-only no), and they are gone when it next copies its primary"
    } else {
        "each send, take and settle is refused with READONLY"
    };
    let name = "point VALKEY_URL at the primary, or at the Sentinels (VALKEY_MODE=sentinel) or the cluster \
                (VALKEY_MODE=cluster) that know it";
    let remedy = if up {
        name.to_owned()
    } else {
        format!(
            "{name}; if the primary is gone for good and no other server has taken its place: REPLICAOF NO ONE here, \
             which gives up what this one had not received"
        )
    };
    Some(critical(about, format!("it is a replica of {primary}, and its link to it is {link}"), why, remedy))
}

fn memory(about: &str, info: &Info, refusal: &str) -> Option<Finding> {
    let limit = info.number("maxmemory").filter(|limit| *limit > 0)?;
    let policy = info.get("maxmemory_policy").unwrap_or("?");
    // The limit is not about the buffers of replicas and of the append-only file.
    let uncounted = info.number("mem_not_counted_for_evict").unwrap_or(0);
    let used = info.number("used_memory")?.saturating_sub(uncounted);
    let remedy = "let consumers drain the queues, purge dead letters, or raise it: CONFIG SET maxmemory BYTES, and in the \
                  configuration file";
    let state = format!("{used} of {limit} bytes (used_memory, maxmemory) with policy {policy}");
    if refusal.starts_with("OOM ") || (policy == "noeviction" && used > limit) {
        return Some(critical(
            about,
            format!("its memory is full: {state}"),
            "each send is refused with OOM; takes and settles go on",
            remedy,
        ));
    }
    (used > limit / 10 * 9 && !policy.starts_with("allkeys")).then(|| {
        Finding::new(
            Severity::Warning,
            about,
            format!("its memory is nearly full: {state}"),
            "when it is, each send is refused with OOM",
            remedy,
        )
    })
}

fn too_few_replicas(about: &str, info: &Info, needed: &Known<String>, refusal: &str) -> Option<Finding> {
    // Told only where replicas are asked for.
    let good = info.number("min_slaves_good_slaves");
    let needed = needed.as_ref().ok().and_then(|needed| needed.parse::<u64>().ok());
    let few = matches!((good, needed), (Some(good), Some(needed)) if good < needed);
    if !(few || refusal.starts_with("NOREPLICAS ")) || info.get("role") != Some("master") {
        return None;
    }
    let told = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    Some(critical(
        about,
        format!("{} good replicas, and min-replicas-to-write is {}", told(good), told(needed)),
        "each send, take and settle is refused with NOREPLICAS until enough replicas keep up",
        "attach replicas, or look why they are away or lag by more than min-replicas-max-lag; CONFIG SET \
         min-replicas-to-write 0 lets it write without them, and a failover may then lose what it confirmed",
    ))
}

fn cluster(about: &str, info: &Info) -> Option<Finding> {
    let state = info.get("cluster_state").unwrap_or("?");
    let number = |name: &str| info.number(name).unwrap_or(0);
    let (assigned, ok) = (number("cluster_slots_assigned"), number("cluster_slots_ok"));
    let what = format!(
        "the cluster is {state} (cluster_state): of {SLOTS} slots {assigned} are assigned, {ok} are served"
    );
    let remedy = if assigned < SLOTS {
        "give every slot to a node (valkey-cli --cluster create or --cluster fix); a server that is to stand alone needs \
         cluster-enabled no"
    } else {
        "bring back the nodes that CLUSTER NODES calls failed, or promote their replicas (CLUSTER FAILOVER)"
    };
    if state != "ok" || ok == 0 {
        return Some(critical(about, what, "each send, take and settle is refused with CLUSTERDOWN", remedy));
    }
    (ok < SLOTS).then(|| {
        let why = "queues in the other slots are refused with CLUSTERDOWN";
        Finding::new(Severity::Warning, about, what, why, remedy)
    })
}

fn failing(about: &str, info: &Info) -> Option<Finding> {
    let failing = |name: &str| info.get(name).is_some_and(|status| status != "ok");
    let what = if failing("aof_last_write_status") {
        "the last write of the append-only file failed"
    } else if failing("rdb_last_bgsave_status") {
        "the last snapshot failed"
    } else {
        return None;
    };
    Some(Finding::new(
        Severity::Critical,
        about,
        what,
        "the server refuses writes (MISCONF), or what it accepts is not kept",
        "look at the server's log; mostly the disk is full or not writable",
    ))
}
