//! Which durability a server can promise to a sender, and what stands in the way of the others.

use valkey_connection::{DurabilityRefusal, SyncFacts, SyncPolicy};

use super::{Finding, Severity};

/// One note: `durable` and `replicated` are there for those who ask for them.
pub(super) fn judge(about: &str, facts: &SyncFacts) -> Finding {
    let disk = facts.judge();
    let (replicated, replicas_missing) = match facts.replicas {
        Some(0) => ("no `replicated` (no replica is connected)".to_owned(), true),
        Some(count) => (format!("`replicated` up to {count}"), false),
        None => ("`replicated` for as many replicas as answer".to_owned(), false),
    };
    let (durable, why) = match &disk {
        Ok(SyncPolicy::Always) => {
            ("`durable`".to_owned(), "it syncs its append-only file before it answers".to_owned())
        }
        Ok(policy) => (format!("`durable` under appendfsync {policy}"), "it was tried".to_owned()),
        Err(refusal) => (format!("no `durable` ({})", short(refusal)), refusal.to_string()),
    };
    let why = if replicas_missing {
        format!("{why}; a replica in sync would let sends wait until it has them")
    } else {
        why
    };
    let remedy = match (&disk, replicas_missing) {
        (Ok(_), false) => "nothing to do",
        (Ok(_), true) => "attach a replica, if confirmed sends must survive this machine",
        (Err(refusal), _) => refusal.remedy(),
    };
    Finding::new(
        Severity::Note,
        about,
        format!("senders can be promised `fast`, {durable}, {replicated}"),
        why,
        format!("{remedy}; what cannot be promised is refused to the sender that asks for it"),
    )
}

fn short(refusal: &DurabilityRefusal) -> &'static str {
    match refusal {
        DurabilityRefusal::NeverSynced => "appendfsync is `no`",
        DurabilityRefusal::NoAppendOnlyFile => "no append-only file",
        DurabilityRefusal::NotTold { .. } => "appendfsync may not be read",
        DurabilityRefusal::Unsupported { .. } => "no WAITAOF",
        DurabilityRefusal::Untried => "appendfsync is `everysec`",
        _ => "it failed a trial",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> SyncFacts {
        SyncFacts {
            append_only: Some(true),
            policy: Ok(SyncPolicy::Always),
            hz: Some(10),
            version: Some("valkey 8.0.1".into()),
            can_wait: true,
            replicas: Some(2),
            trial: None,
        }
    }

    #[test]
    fn each_server_is_told_what_it_can_promise() {
        let good = judge("s", &facts());
        assert_eq!(good.what, "senders can be promised `fast`, `durable`, `replicated` up to 2");
        assert!(good.remedy.starts_with("nothing to do"));
        for (facts, what, remedy) in [
            (SyncFacts { replicas: Some(0), ..facts() }, "no `replicated`", "attach a replica"),
            (SyncFacts { policy: Ok(SyncPolicy::EverySecond), ..facts() }, "is `everysec`", "to `always`"),
            (SyncFacts { policy: Ok(SyncPolicy::Never), ..facts() }, "is `no`", "to `always`"),
            (SyncFacts { append_only: Some(false), ..facts() }, "no append-only file", "appendonly to `yes`"),
            (SyncFacts { policy: Err("NOPERM".into()), ..facts() }, "may not be read", "+config|get"),
            (SyncFacts { can_wait: false, ..facts() }, "no WAITAOF", "7.2"),
        ] {
            let finding = judge("s", &facts);
            assert_eq!(finding.severity, Severity::Note);
            assert!(finding.what.contains(what) && finding.remedy.contains(remedy), "{finding:?}");
        }
    }
}
