//! From decisions on the desk to the groups of one take, and from its counts to the answers.

use valkey_envelope::{DeadMeta, DeadReason};

use crate::desk::{Desk, Settle};
use crate::error::SettleError;
use crate::outcome::Disposition;
use crate::take::Settles;
use crate::telemetry::Settled;

/// A take carries at most so many settles; `take.lua` refuses longer groups.
pub(crate) const MOST_SETTLES: usize = 512;

/// The groups of one take, in the order that `take.lua` wants them.
pub(crate) fn groups(settles: &[Settle], now_ms: u64) -> Settles {
    let mut groups = Settles::default();
    for Settle { claim, epoch, disposition, .. } in settles {
        let (field, frame) = (claim.field, &claim.frame);
        match disposition {
            Disposition::Ack => groups.acks.push(field),
            Disposition::HandBack => groups.backs.push(field),
            Disposition::Retry { delay, counted, .. } => {
                let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                groups.retries.push((field, delay_ms, *counted));
            }
            Disposition::Dead { reason, error } => {
                // No handler saw what could not be read or was too late: that was no attempt.
                let unseen = matches!(
                    reason,
                    DeadReason::Codec
                        | DeadReason::Expired
                        | DeadReason::Undecodable
                        | DeadReason::UnknownCodec
                        | DeadReason::UnknownKey
                        | DeadReason::UnsupportedVersion
                );
                let meta = DeadMeta {
                    attempts: frame.attempts.saturating_add(u32::from(!unseen)),
                    crashes: frame.crashes,
                    lane: Some(frame.lane),
                    error: error.clone(),
                    at_ms: Some(now_ms),
                    claimed_ms: Some(claim.claimed_ms),
                    consumer: Some(epoch.cid.clone()),
                    ..DeadMeta::new(reason.clone())
                };
                groups.deads.push((field, meta.encode()));
            }
        }
    }
    // Each goes to the head of the line, so the newest goes first.
    groups.backs.sort_unstable_by(|a, b| b.cmp(a));
    groups
}

/// Tells everybody what the server's counts mean. A short count means that state was rolled back or deleted under us:
/// which of the group was settled nobody knows.
pub(crate) fn confirm(desk: &Desk, settles: Vec<Settle>, acked: usize, others: usize) {
    let acks = settles.iter().filter(|settle| settle.disposition == Disposition::Ack).count();
    let all_acked = acked == acks;
    let all_others = others == settles.len() - acks;
    if !(all_acked && all_others) {
        tracing::warn!(
            queue = %desk.queue,
            asked = settles.len(),
            removed = acked + others,
            "the server no longer knew every message that was settled: its state was rolled back or deleted"
        );
    }
    for settle in settles {
        let certain = if settle.disposition == Disposition::Ack { all_acked } else { all_others };
        answer(desk, settle, if certain { Ok(()) } else { Err(SettleError::Uncertain) });
    }
}

/// Ends one settle: counts it, and answers whoever waits.
pub(crate) fn answer(desk: &Desk, settle: Settle, result: Result<(), SettleError>) {
    use std::sync::atomic::Ordering::Relaxed;
    let tally = &desk.tally;
    match result {
        Ok(()) => {
            let (counter, how) = match &settle.disposition {
                Disposition::Ack => (&tally.acked, Settled::Acked),
                Disposition::Dead { reason, .. } => {
                    desk.metrics.dead_lettered(reason, 1);
                    (&tally.dead, Settled::Dead)
                }
                Disposition::HandBack => (&tally.released, Settled::HandedBack),
                Disposition::Retry { counted: true, .. } => (&tally.retried, Settled::Retried),
                Disposition::Retry { counted: false, .. } => (&tally.retried, Settled::Snoozed),
            };
            counter.fetch_add(1, Relaxed);
            desk.metrics.settled(how, 1);
        }
        Err(error) => {
            tally.uncertain.fetch_add(1, Relaxed);
            let how = if error == SettleError::Uncertain { Settled::Uncertain } else { Settled::Stale };
            desk.metrics.settled(how, 1);
        }
    }
    if let Some(waiting) = settle.answer {
        // Whoever asked may have gone; the settle stands all the same.
        let _ = waiting.send(result);
    }
}
