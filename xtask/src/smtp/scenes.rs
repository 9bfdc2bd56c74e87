//! What the nodes must show, one scene after another: real mail, and what became of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::fleet::{self, Fleet, NODES, until};
use super::found::{counted, delivered, fallbacks, verdicts};
use super::mail::{self, Session, Verdict};
use super::settings;
use crate::books::Books;
use crate::interrupt::interrupted;
use crate::{http, run};

/// The settings that scenes change.
#[cfg(test)]
pub(crate) const CHANGED: &[&str] = &[
    "resources.max_requests_per_window",
    "gate.lease",
    "gate.check_timeout",
    "gate.trusted_proxies",
    "gate.backend",
    "gate.backend_proxy",
    "policy.listen",
    "policy.limits.sender.per",
    "policy.limits.sender.quota",
];

/// What the gate says to whom it does not let pass.
const GATE: &str = "421 4.7.0";

/// Connections that one client may hold in the whole cluster, as guard.toml has it.
const PER_IP: usize = 50;

/// 30 messages through the balancer: a third lands on each node, and Valkey counts all of them.
pub(crate) fn even(fleet: &mut dyn Fleet, books: &mut Books) -> Result<()> {
    const SCENE: &str = "even";
    run::step("30 messages through the balancer, one after another");
    begin(fleet, &exact(&[])?)?;
    let letters = letters(SCENE, 30, |_| fleet.balancer());
    let outcome: Vec<_> = letters.into_iter().map(|(to, id)| (id.clone(), mail::send(to, &id))).collect();
    let taken = verdicts(SCENE, books, &outcome, 30, (0, GATE));
    let per_node = delivered(SCENE, fleet, books, &taken)?;
    books.equal(SCENE, "messages on node 1, 2, 3", &[10, 10, 10], &per_node);
    books.equal(SCENE, "connections counted in Valkey", &30, &counted(fleet)?);
    Ok(())
}

/// A limit of 20: exactly 20 of 30 messages pass, whichever nodes they hit, and also when all arrive at once.
pub(crate) fn limit(fleet: &mut dyn Fleet, books: &mut Books) -> Result<()> {
    let settings = exact(&[("resources.max_requests_per_window", "20")])?;

    run::step("limit 20: 30 messages, one after another, to whatever node");
    begin(fleet, &settings)?;
    // Most of them on one node.
    let uneven = letters("one by one", 30, |i| fleet.node([0, 0, 0, 1, 2][i % 5]));
    let outcome: Vec<_> = uneven.into_iter().map(|(to, id)| (id.clone(), mail::send(to, &id))).collect();
    twenty("one by one", fleet, books, &outcome)?;

    run::step("limit 20: 30 messages at once, 10 to each node");
    begin(fleet, &settings)?;
    let outcome = mail::send_at_once(letters("at once", 30, |i| fleet.node(i % NODES)));
    twenty("at once", fleet, books, &outcome)?;

    run::step("limit 20: 30 messages at once through the balancer");
    begin(fleet, &settings)?;
    let outcome = mail::send_at_once(letters("balanced", 30, |_| fleet.balancer()));
    twenty("balanced", fleet, books, &outcome)
}

fn twenty(
    scene: &'static str,
    fleet: &dyn Fleet,
    books: &mut Books,
    outcome: &[(String, Verdict)],
) -> Result<()> {
    let taken = verdicts(scene, books, outcome, 20, (10, GATE));
    delivered(scene, fleet, books, &taken)?;
    books.equal(scene, "connections counted in Valkey", &20, &counted(fleet)?);
    Ok(())
}

/// A sender may have 20 messages a minute, by the policy service: Postfix itself refuses the others.
pub(crate) fn policy(fleet: &mut dyn Fleet, books: &mut Books) -> Result<()> {
    const SCENE: &str = "sender";
    run::step("20 messages a minute for a sender: 30 at once, 10 to each node");
    begin(fleet, &exact(&[UNHURRIED[0], ("policy.limits.sender.quota", "\"20/1m\"")])?)?;
    let outcome = mail::send_at_once(letters(SCENE, 30, |i| fleet.node(i % NODES)));
    let taken = verdicts(SCENE, books, &outcome, 20, (10, "450 4.7.1"));
    delivered(SCENE, fleet, books, &taken)?;
    Ok(())
}

/// A client that holds 50 connections gets no more, on any node, until it gives one back.
pub(crate) fn held(fleet: &mut dyn Fleet, books: &mut Books) -> Result<()> {
    const SCENE: &str = "held";
    run::step("one client holds 50 connections");
    begin(fleet, &exact(&UNHURRIED)?)?;
    let mut sessions = hold(SCENE, fleet, books)?;
    let refused = refusals(fleet)?;
    books.equal(SCENE, "the next one on node 1, 2, 3, balancer", &vec![421; NODES + 1], &refused);
    if let Some(session) = sessions.pop() {
        session.quit();
    }
    let again = until(Duration::from_secs(5), || admitted(fleet.node(0)));
    books.equal(SCENE, "one given back: the next one passes", &true, &again.is_ok());
    Ok(())
}

/// A node is killed: what it held is free again within the lease, and mail goes through the others meanwhile.
pub(crate) fn killed(fleet: &mut dyn Fleet, books: &mut Books) -> Result<()> {
    const SCENE: &str = "killed node";
    const LEASE: Duration = Duration::from_secs(5);
    run::step("one client holds 50 connections, and node 2 is killed");
    begin(fleet, &exact(&[UNHURRIED[0], ("gate.lease", "\"5s\"")])?)?;
    let sessions = hold(SCENE, fleet, books)?;
    let lost = (0..PER_IP).filter(|i| i % NODES == 1).count();
    fleet.kill_guard(1)?;
    let since = Instant::now();
    let at_once = Session::open(fleet.node(0), b"")?;
    books.equal(SCENE, "right after it, one more on node 1", &421, &at_once.code);
    let first = until(LEASE * 3, || admitted(fleet.node(0)))?;
    let freed = since.elapsed();
    books.holds(
        SCENE,
        "its connections are free again",
        "<= lease 5 s + 1 s",
        format_args!("{:.1} s", freed.as_secs_f64()),
        freed <= LEASE + Duration::from_secs(1),
    );
    // As many as it held, and no more.
    let mut more = vec![first];
    while more.len() <= lost {
        let session = Session::open(fleet.node([0, 2][more.len() % 2]), b"")?;
        if !session.admitted() {
            break;
        }
        more.push(session);
    }
    books.equal(SCENE, "connections that became free", &lost, &more.len());
    for session in more.into_iter().chain(sessions) {
        session.quit();
    }
    let outcome = letters(SCENE, 9, |_| fleet.balancer())
        .into_iter()
        .map(|(to, id)| (id.clone(), mail::send(to, &id)))
        .collect::<Vec<_>>();
    let taken = verdicts(SCENE, books, &outcome, 9, (0, GATE));
    let per_node = delivered(SCENE, fleet, books, &taken)?;
    books.equal(SCENE, "of those on the dead node", &0, &per_node[1]);
    fleet.start_guard(1)?;
    fleet::ready(fleet, 1)
}

/// Valkey is killed: mail flows and is counted as such. It comes back: so do the limits.
pub(crate) fn away(fleet: &mut dyn Fleet, books: &mut Books) -> Result<()> {
    const SCENE: &str = "Valkey away";
    run::step("limit 20, and Valkey is killed: 30 messages");
    begin(fleet, &settings::with(&settings::base()?, &[("resources.max_requests_per_window", "20")])?)?;
    let before = fallbacks(fleet)?;
    fleet.kill_valkey()?;
    let mut slowest = Duration::ZERO;
    let outcome: Vec<_> = letters(SCENE, 30, |i| fleet.node(i % NODES))
        .into_iter()
        .map(|(to, id)| {
            let started = Instant::now();
            let verdict = mail::send(to, &id);
            slowest = slowest.max(started.elapsed());
            (id, verdict)
        })
        .collect();
    let taken = verdicts(SCENE, books, &outcome, 30, (0, GATE));
    delivered(SCENE, fleet, books, &taken)?;
    let passed = fallbacks(fleet)? - before;
    books.equal(SCENE, "counted as passed without the limit", &30, &(passed as i64));
    books.figure("Valkey away: slowest message", slowest.as_secs_f64() * 1e3, "ms");

    run::step("Valkey comes back");
    fleet.start_valkey()?;
    fleet::valkey_answers(fleet)?;
    let since = Instant::now();
    let mut passed = 0;
    loop {
        let session = Session::open(fleet.node(passed % NODES), b"")?;
        if !session.admitted() {
            break;
        }
        session.quit();
        passed += 1;
        if since.elapsed() > Duration::from_secs(30) || interrupted() {
            break;
        }
    }
    let back = since.elapsed();
    books.holds(
        SCENE,
        "limits apply again",
        "<= 5 s after Valkey",
        format_args!("{:.1} s", back.as_secs_f64()),
        back <= Duration::from_secs(5),
    );
    books.figure("Valkey back: connections until the first refusal (limit 20)", passed as f64, "");
    Ok(())
}

/// Restarts the guards with these settings, and waits until the balancer sends to all of them.
pub(crate) fn begin(fleet: &mut dyn Fleet, settings: &str) -> Result<()> {
    fleet::begin(fleet, settings)?;
    until(Duration::from_secs(20), || {
        let page = http::get(fleet.balancer_page(), "/;csv")?;
        let up = page.lines().filter(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            fields[0] == "nodes" && fields.get(1) != Some(&"BACKEND") && fields.get(17) == Some(&"UP")
        });
        match up.count() {
            NODES => Ok(()),
            up => bail!("the balancer sees {up} of {NODES} nodes"),
        }
    })
}

/// So many a minute that only connections held at the same time matter.
const UNHURRIED: [(&str, &str); 1] = [("resources.max_requests_per_window", "10000")];

/// With these changes, and patience: on a busy machine an answer may be late, the client passes, and that is right, but not
/// what is looked at here.
fn exact(changes: &[(&str, &str)]) -> Result<String> {
    let patience = [("gate.check_timeout", "\"3s\"")];
    settings::with(&settings::base()?, &[&patience, changes].concat())
}

fn letters(scene: &str, count: usize, to: impl Fn(usize) -> SocketAddr) -> Vec<(SocketAddr, String)> {
    let scene = scene.replace(' ', "-");
    (0..count).map(|i| (to(i), format!("{scene}-{i:02}"))).collect()
}

/// Opens as many connections as one client may hold, over all nodes.
fn hold(scene: &'static str, fleet: &dyn Fleet, books: &mut Books) -> Result<Vec<Session>> {
    let sessions =
        (0..PER_IP).map(|i| Session::open(fleet.node(i % NODES), b"")).collect::<Result<Vec<_>>>()?;
    let admitted = sessions.iter().filter(|session| session.admitted()).count();
    books.equal(scene, "connections held", &PER_IP, &admitted);
    Ok(sessions)
}

/// The codes that one more connection gets on each node and from the balancer.
fn refusals(fleet: &dyn Fleet) -> Result<Vec<u16>> {
    let everywhere = (0..NODES).map(|node| fleet.node(node)).chain([fleet.balancer()]);
    everywhere
        .map(|to| {
            let session = Session::open(to, b"")?;
            if session.admitted() {
                session.quit();
                return Ok(220);
            }
            eprintln!("        {}", session.text);
            Ok(session.code)
        })
        .collect()
}

/// A session that was admitted.
fn admitted(server: SocketAddr) -> Result<Session> {
    let session = Session::open(server, b"")?;
    if !session.admitted() {
        bail!("{}", session.text);
    }
    Ok(session)
}
