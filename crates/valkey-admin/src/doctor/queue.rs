//! Judgements about queues.

use std::time::Duration;

use crate::{
    catalog::Catalog,
    doctor::{Finding, Severity, version},
    stats::{Lease, QueueStats},
    words::{agreed, counted},
};

/// After this long, what a living consumer should have reclaimed is overdue.
const RECLAIM_OVERDUE: Duration = Duration::from_secs(30);

/// A wait from which a queue counts as not keeping up.
const BACKLOG: Duration = Duration::from_mins(5);

/// What the doctor knows of one queue.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) stats: QueueStats,
    pub(super) died_last_hour: u64,
}

pub(super) fn judge_catalog(catalog: &Catalog) -> Vec<Finding> {
    let mut findings = Vec::new();
    if catalog.unnameable > 0 {
        findings.push(Finding::new(
            Severity::Note,
            "queues",
            format!(
                "{} {} like a queue's, but the queue name in it is not one we accept",
                counted(catalog.unnameable, "key"),
                agreed(catalog.unnameable, "begins", "begin"),
            ),
            "no sender and no consumer of ours can use these queues",
            "queue names are 1 to 200 characters out of A-Z a-z 0-9 _ . : -",
        ));
    }
    if catalog.one_of_cluster {
        findings.push(Finding::new(
            Severity::Warning,
            "queues",
            "the server is one node of a cluster, and only this one was looked at",
            "queues on the other nodes are missing here, and senders and consumers set like this are refused",
            "set the mode of the connection to `cluster` (VALKEY_MODE=cluster)",
        ));
    }
    if catalog.truncated {
        findings.push(Finding::new(
            Severity::Unchecked,
            "queues",
            "the server has too many keys to look at all of them",
            "there may be queues this report does not mention",
            "name the queues to look at",
        ));
    }
    findings
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut report = Report { about: format!("queue {}", facts.stats.queue), findings: Vec::new() };
    foreign_hands(facts, &mut report);
    report.findings.extend(version::judge(&report.about, &facts.stats));
    lost_consumers(facts, &mut report);
    waiting(facts, &mut report);
    dead_letters(facts, &mut report);
    report.findings
}

struct Report {
    about: String,
    findings: Vec<Finding>,
}

impl Report {
    fn say(&mut self, severity: Severity, what: String, why: &str, remedy: impl Into<String>) {
        self.findings.push(Finding::new(severity, &self.about, what, why, remedy));
    }
}

/// What others did to the keys.
fn foreign_hands(facts: &Facts, report: &mut Report) {
    let stats = &facts.stats;
    for squatter in &stats.squatters {
        report.say(
            Severity::Critical,
            format!("key {} holds a {}, the queue needs a {}", squatter.key, squatter.found, squatter.expected),
            "another program uses the key; senders and consumers of the queue stop with WRONGTYPE, nothing is deleted",
            format!("find out who writes {}, then rename or delete it", squatter.key),
        );
    }
    if let Some(left) = stats.list_expires_in {
        let key = stats.queue.keys();
        report.say(
            Severity::Warning,
            format!("{} expires in {} s", key.public(), left.as_secs()),
            "when it does, every message in it is gone; some plain producers set this with each push",
            format!("a running consumer of ours lifts it; by hand: PERSIST {}", key.public()),
        );
    }
}

/// Messages whose consumer is gone.
fn lost_consumers(facts: &Facts, report: &mut Report) {
    let (stats, queue) = (&facts.stats, &facts.stats.queue);
    for stray in &stats.strays {
        let held = stray.in_flight;
        report.say(
            Severity::Critical,
            format!(
                "{} {} in flight with consumer {}, which is not registered",
                counted(held, "message"),
                agreed(held, "is", "are"),
                stray.consumer
            ),
            "nobody's lease runs out for them, so nobody will ever reclaim them",
            format!("valkit queue hand-back {queue} --only in-flight"),
        );
    }
    let live = has_live(stats);
    let overdue = stats.consumers.iter().filter(|consumer| match consumer.lease {
        Lease::Expired { ago } => consumer.in_flight > 0 && (!live || ago > RECLAIM_OVERDUE),
        Lease::Fenced => consumer.in_flight > 0 && !live,
        Lease::Live { .. } => false,
    });
    for consumer in overdue {
        report.say(
            Severity::Warning,
            format!(
                "consumer {} lost its lease and holds {}",
                consumer.id,
                counted(consumer.in_flight, "message")
            ),
            "they wait until another consumer of the queue reclaims them",
            if live {
                "look at the logs of the living consumers: they should have done so within a second"
                    .to_owned()
            } else {
                format!("start a consumer, or valkit queue hand-back {queue} for plain ones")
            },
        );
    }
}

/// Messages that nobody takes.
fn waiting(facts: &Facts, report: &mut Report) {
    let (stats, queue) = (&facts.stats, &facts.stats.queue);
    let ready = stats.ready.total();
    if !has_live(stats) && (ready > 0 || stats.next_due_in == Some(Duration::ZERO)) {
        report.say(
            Severity::Warning,
            format!(
                "{} {} ready and no consumer is there",
                counted(ready, "message"),
                agreed(ready, "is", "are")
            ),
            "no consumer of ours is registered; plain BRPOP consumers cannot be seen from here",
            "start a consumer",
        );
    } else if let Some(age) = stats.oldest.ready
        && age > BACKLOG
        && !stats.paused
    {
        report.say(
            Severity::Warning,
            format!(
                "the oldest of {} was sent {} ago",
                counted(ready, "ready message"),
                counted(age.as_secs() / 60, "minute")
            ),
            "the consumers do not keep up, or are held back by a limit",
            format!(
                "valkit queue show {queue}: look at the limits and at what consumers hold; add consumers"
            ),
        );
    }
    if stats.paused {
        report.say(
            Severity::Note,
            format!("it is paused, with {} ready", counted(ready, "message")),
            "consumers claim nothing until it is resumed",
            format!("valkit queue resume {queue}"),
        );
    }
    let waiting = ready + stats.delayed;
    if let Some(limit) = stats.limits.max_length
        && waiting >= limit
    {
        report.say(
            Severity::Warning,
            format!(
                "it is full: {} {}, the limit is {limit}",
                counted(waiting, "message"),
                agreed(waiting, "waits", "wait")
            ),
            "senders are blocked or refused",
            format!("add consumers, or raise the limit: valkit queue limit {queue} --max-length N"),
        );
    }
    for odd in &stats.odd_limits {
        let option = odd.field.replace('_', "-");
        report.say(
            Severity::Warning,
            format!("its limit {} is {:?}: {}", odd.field, odd.value, odd.effect),
            "no tool of ours writes such a number",
            format!("valkit queue limit {queue} --{option} none, or the number that was meant"),
        );
    }
}

/// Messages that were given up.
fn dead_letters(facts: &Facts, report: &mut Report) {
    let (stats, queue) = (&facts.stats, &facts.stats.queue);
    if facts.died_last_hour > 0 {
        report.say(
            Severity::Warning,
            format!(
                "{} of {} died within the last hour",
                facts.died_last_hour,
                counted(stats.dead, "dead letter")
            ),
            "they will not be tried again unless somebody replays them",
            format!("valkit dead ls {queue}, then valkit dead replay {queue} --all or valkit dead purge {queue} --all"),
        );
    } else if stats.dead > 0 {
        report.say(
            Severity::Note,
            format!("{} {} kept", counted(stats.dead, "dead letter"), agreed(stats.dead, "is", "are")),
            "they take memory until they are replayed or purged",
            format!("valkit dead ls {queue}"),
        );
    }
    if stats.dead != stats.dead_bodies && stats.squatters.is_empty() {
        let keys = queue.keys();
        report.say(
            Severity::Warning,
            format!(
                "{} {} listed, {} {} stored",
                counted(stats.dead, "dead letter"),
                agreed(stats.dead, "is", "are"),
                stats.dead_bodies,
                agreed(stats.dead_bodies, "is", "are"),
            ),
            "something else wrote to these keys: some letters cannot be read, or are not listed",
            format!("compare ZRANGE {} 0 -1 with HKEYS {}", keys.dead(), keys.dead_body()),
        );
    }
}

fn has_live(stats: &QueueStats) -> bool {
    stats.consumers.iter().any(|consumer| consumer.lease.is_live())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        control::{Limits, OddLimit},
        stats::{ConsumerStats, Oldest, Ready, Squatter},
        strays::Stray,
    };

    fn facts() -> Facts {
        let stats = QueueStats {
            queue: "q".parse().unwrap(),
            at_ms: 1_000_000,
            ready: Ready::default(),
            delayed: 0,
            next_due_in: None,
            in_flight: 0,
            dead: 0,
            dead_bodies: 0,
            consumers: Vec::new(),
            consumer_count: 0,
            strays: Vec::new(),
            oldest: Oldest::default(),
            paused: false,
            limits: Limits::default(),
            odd_limits: Vec::new(),
            format: None,
            list_expires_in: None,
            squatters: Vec::new(),
            exists: true,
        };
        Facts { stats, died_last_hour: 0 }
    }

    fn consumer(lease: Lease, in_flight: u64) -> ConsumerStats {
        ConsumerStats { id: "c".into(), lease, in_flight, oldest: None }
    }

    fn assert_one(facts: &Facts, severity: Severity, what: &str) {
        let findings = judge(facts);
        assert!(findings.len() == 1, "{findings:#?}");
        assert!(findings[0].severity == severity && findings[0].what.contains(what), "{findings:#?}");
    }

    #[test]
    fn a_quiet_queue_gives_nothing_to_say() {
        assert_eq!(judge(&facts()), []);
    }

    #[test]
    fn each_fault_is_found_alone() {
        let with = |change: &dyn Fn(&mut Facts)| {
            let mut facts = facts();
            change(&mut facts);
            facts
        };
        let live = || consumer(Lease::Live { left: Duration::from_secs(9) }, 3);
        let squatter = || Squatter { key: "k".into(), expected: "list", found: "string".into() };
        assert_one(
            &with(&|f| f.stats.squatters.push(squatter())),
            Severity::Critical,
            "key k holds a string",
        );
        let stray = || Stray { consumer: "x".into(), in_flight: 1 };
        assert_one(
            &with(&|f| f.stats.strays.push(stray())),
            Severity::Critical,
            "1 message is in flight with consumer x, which is not registered",
        );
        let odd = || OddLimit { field: "rate", value: "abc".into(), effect: "it is ignored" };
        assert_one(&with(&|f| f.stats.odd_limits.push(odd())), Severity::Warning, "rate is \"abc\"");
        assert_one(&with(&|f| f.stats.ready.public = 3), Severity::Warning, "no consumer is there");
        assert_one(&with(&|f| f.stats.paused = true), Severity::Note, "paused");
        assert_one(
            &with(&|f| f.stats.list_expires_in = Some(Duration::from_secs(7))),
            Severity::Warning,
            "expires in 7 s",
        );
        assert_one(
            &with(&|f| (f.stats.dead, f.stats.dead_bodies) = (2, 2)),
            Severity::Note,
            "2 dead letters",
        );
        assert_one(
            &with(&|f| (f.stats.dead, f.stats.dead_bodies, f.died_last_hour) = (2, 2, 1)),
            Severity::Warning,
            "1 of 2",
        );
        assert_one(
            &with(&|f| f.stats.dead_bodies = 1),
            Severity::Warning,
            "0 dead letters are listed, 1 is stored",
        );
        assert_one(
            &with(&|f| {
                f.stats.consumers.push(live());
                f.stats.ready.public = 1;
                f.stats.oldest.ready = Some(Duration::from_mins(10));
            }),
            Severity::Warning,
            "10 minutes ago",
        );
        assert_one(
            &with(&|f| {
                f.stats.consumers.push(live());
                f.stats.ready.public = 5;
                f.stats.limits.max_length = Some(5);
            }),
            Severity::Warning,
            "full",
        );
    }

    #[test]
    fn a_lost_lease_is_the_others_business_for_a_while() {
        let expired = |secs| consumer(Lease::Expired { ago: Duration::from_secs(secs) }, 3);
        let live = consumer(Lease::Live { left: Duration::from_secs(9) }, 0);
        let mut facts = facts();
        facts.stats.consumers = vec![expired(1), live.clone()];
        assert_eq!(judge(&facts), []);
        facts.stats.consumers = vec![expired(60), live];
        assert_one(&facts, Severity::Warning, "lost its lease");
        facts.stats.consumers = vec![expired(1)];
        assert_one(&facts, Severity::Warning, "lost its lease");
        facts.stats.consumers = vec![consumer(Lease::Fenced, 1)];
        assert_one(&facts, Severity::Warning, "lost its lease");
        facts.stats.consumers = vec![consumer(Lease::Fenced, 0)];
        assert_eq!(judge(&facts), []);
    }
}
