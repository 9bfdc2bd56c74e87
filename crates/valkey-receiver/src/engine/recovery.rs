//! After an answer that did not come: finding out what the server did.

use std::collections::HashMap;
use std::time::Instant;

use valkey_connection::{Command, Reply};

use super::Engine;
use crate::desk::Settle;
use crate::error::SettleError;
use crate::settling;
use crate::take::{Claim, Field, Settles, TakeReply};

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
    async fn survey(&mut self, unsure: &[Settle]) -> Result<HashMap<Field, Claim>, LeaseLost> {
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
                    self.lease.renew(sent, Instant::now());
                    self.desk.learn_clock(taken.now_ms);
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
                    continue;
                }
            }
            let read = Command::new("HGETALL")
                .key(self.keys.inflight(&self.epoch.cid))
                .timeout(self.lease.patience(Instant::now()));
            let Ok(pairs) = self.link.execute(read).await.and_then(Reply::into_pairs) else { continue };
            let mut present = HashMap::new();
            for (name, value) in pairs {
                let (Ok(name), Ok(value)) = (name.into_bytes(), value.into_bytes()) else { continue };
                if let Some(field) = Field::parse(&name) {
                    present.insert(field, Claim::from_hash(field, value));
                }
            }
            return Ok(present);
        }
    }

    /// Settles that are still in flight were not carried out: again. Claims that we do not know were made by the take
    /// whose answer was lost: delivered now.
    fn reconcile(&mut self, unsure: Vec<Settle>, mut present: HashMap<Field, Claim>) {
        let settling: Vec<Field> = unsure.iter().map(|settle| settle.claim.field).collect();
        let (again, gone): (Vec<_>, Vec<_>) =
            unsure.into_iter().partition(|settle| present.remove(&settle.claim.field).is_some());
        let rolled_back =
            self.held.fields().any(|field| !settling.contains(&field) && !present.contains_key(&field));
        if !gone.is_empty() || present.keys().any(|field| !self.held.contains(*field)) {
            // Only the answer was lost. Where takes themselves fail, again and again, the pauses grow.
            self.backoff.clear();
        }
        for settle in gone {
            self.held.remove(settle.claim.field);
            let result = if rolled_back { Err(SettleError::Uncertain) } else { Ok(()) };
            settling::answer(&self.desk, settle, result);
        }
        let waiting = std::mem::replace(&mut self.pending, again);
        self.pending.extend(waiting);
        let mut unknown: Vec<Claim> =
            present.into_values().filter(|claim| !self.held.contains(claim.field)).collect();
        unknown.sort_unstable_by_key(|claim| claim.field);
        self.deliver(unknown);
        self.outlook.knock = true;
    }
}
