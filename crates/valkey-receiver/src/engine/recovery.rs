//! After an answer that did not come: finding out what the server did.

use std::collections::HashSet;
use std::time::Instant;

use valkey_connection::{Command, Error};

use super::Engine;
use crate::desk::Settle;
use crate::error::SettleError;
use crate::settling;
use crate::take::{Claim, Field, Settles, TakeReply};

/// What the server holds in flight for us.
#[derive(Debug)]
struct Present {
    fields: HashSet<Field>,
    /// Those that we do not hold, oldest first.
    unknown: Vec<Claim>,
    /// How many fields have no name of a claim; the number of the last take not counted.
    strangers: usize,
}

/// Why the engine must start a new life.
#[derive(Debug)]
struct LeaseLost;

impl Engine {
    /// After an answer that did not come: finds out what the server did, and goes on from there.
    pub(super) async fn recover(&mut self, unsure: Vec<Settle>) {
        match self.survey(&unsure).await {
            Ok(present) => self.reconcile(unsure, present),
            Err(LeaseLost) => self.start_over(unsure).await,
        }
    }

    /// What the server holds in flight for us, after every earlier take has been voided by a later number.
    async fn survey(&mut self, unsure: &[Settle]) -> Result<Present, LeaseLost> {
        tracing::debug!(queue = %self.desk.queue, unsure = unsure.len(), "asking the server what it did");
        loop {
            if self.lease.is_spent(Instant::now()) || self.must_give_up() {
                return Err(LeaseLost);
            }
            let pause = self.backoff.next().min(self.lease.length() / 10);
            tokio::time::sleep(pause).await;
            let sent = Instant::now();
            match self.call_take(0, &Settles::default()).await {
                Ok(TakeReply::Taken(taken)) => {
                    let answered = Instant::now();
                    self.lease.renew(sent, answered);
                    self.lease.hear_clock(taken.now_ms, sent, answered);
                    self.desk.learn_clock(taken.now_ms);
                    self.desk.serves();
                }
                Ok(TakeReply::Fenced { known }) => {
                    self.note_fence(known);
                    return Err(LeaseLost);
                }
                Ok(TakeReply::Stale(last)) => {
                    self.take_number = self.take_number.max(last);
                    continue;
                }
                Err(error) => {
                    tracing::debug!(queue = %self.desk.queue, %error, "no answer yet");
                    self.note_refusal(error);
                    continue;
                }
            }
            let Ok(present) = self.present().await else { continue };
            return Ok(present);
        }
    }

    /// The names of all that is in flight, and the messages of those we do not know: what we hold may be large.
    async fn present(&mut self) -> Result<Present, Error> {
        let inflight = self.keys.inflight(&self.epoch.cid);
        let names = Command::new("HKEYS").key(inflight.as_str()).timeout(self.lease.patience(Instant::now()));
        let names = self.link.execute(names).await?.into_array()?;
        let others = names.len();
        let fields: HashSet<Field> =
            names.into_iter().filter_map(|name| Field::parse(&name.into_bytes().ok()?)).collect();
        let strangers = others.saturating_sub(fields.len() + 1);
        let mut unknown: Vec<Field> =
            fields.iter().copied().filter(|field| !self.held.contains(*field)).collect();
        unknown.sort_unstable();
        let mut claims = Vec::with_capacity(unknown.len());
        if !unknown.is_empty() {
            let read = Command::new("HMGET")
                .key(inflight)
                .args(unknown.iter().copied())
                .timeout(self.lease.patience(Instant::now()));
            let values = self.link.execute(read).await?.into_array()?;
            for (field, value) in unknown.into_iter().zip(values) {
                // One that has gone meanwhile belongs to others: the next take will say so.
                if let Some(value) = value.into_optional_bytes()? {
                    claims.push(Claim::from_hash(field, value));
                }
            }
        }
        Ok(Present { fields, unknown: claims, strangers })
    }

    /// Settles that are still in flight were not carried out: again. Claims that we do not know were made by the take
    /// whose answer was lost: delivered now.
    fn reconcile(&mut self, unsure: Vec<Settle>, present: Present) {
        let Present { fields, unknown, strangers } = present;
        let settling: Vec<Field> = unsure.iter().map(|settle| settle.claim.field).collect();
        let (again, gone): (Vec<_>, Vec<_>) =
            unsure.into_iter().partition(|settle| fields.contains(&settle.claim.field));
        let rolled_back =
            self.held.fields().any(|field| !settling.contains(&field) && !fields.contains(&field));
        if !gone.is_empty() || !unknown.is_empty() {
            // Only the answer was lost. Where takes themselves fail, again and again, the pauses grow.
            self.backoff.clear();
        }
        for settle in gone {
            self.held.remove(settle.claim.field);
            let result = if rolled_back { Err(SettleError::Uncertain) } else { Ok(()) };
            settling::answer(&self.desk, settle, result);
        }
        // Their handlers go on, and hear `Uncertain`; the messages are back where they came from.
        self.held.retain(|field| fields.contains(&field));
        self.strangers = strangers;
        let waiting = std::mem::replace(&mut self.pending, again);
        self.pending.extend(waiting);
        self.deliver(unknown);
        self.outlook.knock = true;
    }
}
