//! What became of the mail: by the word of the nodes, in the mailboxes, in Valkey, in the metrics.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::fleet::{Fleet, NODES};
use super::mail::{self, Verdict};
use super::metrics;
use crate::books::Books;
use crate::http;
use crate::interrupt::interrupted;

/// What all keys of limits begin with.
const PREFIX: &str = "elemta:ratelimit:";

/// How long mail that was taken may be on its way to its mailbox.
const DELIVERY_LIMIT: Duration = Duration::from_secs(15);

/// Enters how many were taken and refused, and that refusals say why; gives those that were taken.
pub(crate) fn verdicts(
    scene: &'static str,
    books: &mut Books,
    outcome: &[(String, Verdict)],
    taken: usize,
    (refused, reply): (usize, &str),
) -> BTreeSet<String> {
    for (id, verdict) in outcome {
        if let Verdict::Failed(why) = verdict {
            eprintln!("    {id}: {why}");
        }
    }
    let found: BTreeSet<String> =
        outcome.iter().filter(|(_, verdict)| *verdict == Verdict::Taken).map(|(id, _)| id.clone()).collect();
    let rejections: Vec<_> =
        outcome.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Refused(..))).collect();
    let proper = rejections
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Refused(text) if text.starts_with(reply)));
    books.equal(scene, "messages taken", &taken, &found.len());
    books.equal(scene, &format!("refused with {reply}"), &refused, &proper.count());
    if let Some((_, Verdict::Refused(text))) = rejections.first() {
        eprintln!("        such as {text}");
    }
    found
}

/// Waits for what was taken to arrive, enters whether just that is there, and gives how many each node has.
pub(crate) fn delivered(
    scene: &'static str,
    fleet: &dyn Fleet,
    books: &mut Books,
    taken: &BTreeSet<String>,
) -> Result<[usize; NODES]> {
    let own = format!("{}{}", mail::HEADER, scene.replace(' ', "-"));
    let started = Instant::now();
    loop {
        let mut per_node = [0; NODES];
        let mut found = Vec::new();
        for (node, count) in per_node.iter_mut().enumerate() {
            let lines = fleet.mailbox(node, &own)?;
            let ids = lines
                .lines()
                .filter_map(|line| line.trim().strip_prefix(mail::HEADER))
                .map(ToOwned::to_owned);
            let before = found.len();
            found.extend(ids);
            *count = found.len() - before;
        }
        if found.len() >= taken.len() || started.elapsed() > DELIVERY_LIMIT {
            // A list, so that one which came twice is seen.
            found.sort();
            let same = found.iter().eq(taken.iter());
            books.holds(
                scene,
                "in the mailboxes",
                "just those taken, once each",
                format_args!("{} messages", found.len()),
                same,
            );
            return Ok(per_node);
        }
        if interrupted() {
            bail!("interrupted");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Members of all sorted sets of the per-address limit: one for each connection that was counted.
pub(crate) fn counted(fleet: &dyn Fleet) -> Result<u64> {
    let keys = fleet.valkey(&["--scan", "--pattern", &format!("{PREFIX}ip:*")])?;
    keys.lines()
        .filter(|key| !key.trim().is_empty())
        .map(|key| -> Result<u64> {
            let members = fleet.valkey(&["zcard", key.trim()])?;
            members.trim().parse().with_context(|| format!("ZCARD {key} is {members}"))
        })
        .sum()
}

/// How many connections passed because the limit of their address could not be asked, on all nodes.
pub(crate) fn fallbacks(fleet: &dyn Fleet) -> Result<f64> {
    (0..NODES)
        .map(|node| {
            let page = http::get(fleet.metrics(node), "/metrics")?;
            Ok(metrics::sum(&page, "valkit_smtp_fallbacks_total", &["limit=\"rate\""]))
        })
        .sum()
}
