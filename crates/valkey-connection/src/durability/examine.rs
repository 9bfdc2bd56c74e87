//! Asking a server, and trying it.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::facts::{CONFIG, INFO};
use super::judge::TRIAL_WRITES;
use super::{DurabilityRefusal, SyncFacts, SyncPolicy, Trial};
use crate::acknowledged::{Acknowledgement, Call};
use crate::command::Command;
use crate::connection::Connection;
use crate::dedicated::DedicatedConnection;
use crate::error::{Error, ErrorKind};
use crate::node::Node;
use crate::settings::Mode;

/// The trial's key goes by itself, should its removal be lost.
const TRIAL_TTL_MS: u32 = 10_000;

impl Connection {
    /// What a server says about its disk and its replicas. Reads only, so there is no trial in it.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); what the user may not ask is left open in the facts instead.
    pub async fn sync_facts(&self, node: &Node) -> Result<SyncFacts, Error> {
        let info = self.execute_on(node, Command::new(INFO)).await;
        let config = self.execute_on(node, Command::new(CONFIG.0).args(CONFIG.1)).await;
        Ok(SyncFacts::read(answered(info)?, answered(config)?))
    }
}

impl DedicatedConnection {
    /// Finds out whether the server of `key` may be believed when it says that a write is on its disk: asks for its
    /// settings, and makes trial writes to `key`, which is removed afterwards. Takes some milliseconds, and up to four
    /// seconds and `within` where the policy is `everysec`.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use valkey_connection::{Acknowledgement, Command};
    ///
    /// # async fn example(connection: valkey_connection::Connection) -> Result<(), Box<dyn std::error::Error>> {
    /// let within = Duration::from_secs(1);
    /// let mut dedicated = connection.dedicated().await?;
    /// let policy = dedicated.examine_sync("{orders}:trial", within).await??;
    /// let push = Command::new("LPUSH").key("orders").arg("{}");
    /// for answer in dedicated.run_acknowledged(vec![push.into()], Acknowledgement::Synced { policy, within }).await {
    ///     println!("{} waiting, on the disk: {}", answer.reply?.as_int()?, answer.confirmed.is_ok());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The outer: it could not be found out. The inner: it may not be believed.
    ///
    /// # Cancel safety
    /// A dropped call may leave the key behind, for ten seconds.
    pub async fn examine_sync(
        &mut self,
        key: &str,
        within: Duration,
    ) -> Result<Result<SyncPolicy, DurabilityRefusal>, Error> {
        let mut facts = self.facts(key).await?;
        let policy = match facts.judge() {
            Ok(policy) => policy,
            // In a cluster another node may take the slot over, unnoticed, that was never tried.
            Err(refusal) if self.shared().settings().mode == Mode::Cluster => return Ok(Err(refusal)),
            // The one doubt that a trial can settle.
            Err(DurabilityRefusal::Untried) => SyncPolicy::EverySecond,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let writes = if policy == SyncPolicy::Always { 1 } else { TRIAL_WRITES };
        facts.trial = Some(self.trial(key, writes, Acknowledgement::Synced { policy, within }).await?);
        Ok(facts.judge())
    }

    /// Finds out whether so many replicas of the server of `key` answer: counts them, and makes a trial write to `key`,
    /// which is removed afterwards.
    ///
    /// # Errors
    /// As [`examine_sync`](Self::examine_sync).
    ///
    /// # Cancel safety
    /// As [`examine_sync`](Self::examine_sync).
    pub async fn examine_replicas(
        &mut self,
        key: &str,
        count: NonZeroU32,
        within: Duration,
    ) -> Result<Result<(), DurabilityRefusal>, Error> {
        if let Err(refusal) = self.facts(key).await?.judge_replicas(count) {
            return Ok(Err(refusal));
        }
        Ok(match self.trial(key, 1, Acknowledgement::Replicas { count, within }).await? {
            Trial::NotInTime { why } => Err(DurabilityRefusal::NotAnswered { why }),
            Trial::Acknowledged { .. } | Trial::Unsupported => Ok(()),
        })
    }

    async fn facts(&mut self, key: &str) -> Result<SyncFacts, Error> {
        let info = self.execute_at(key, Command::new(INFO)).await;
        let config = self.execute_at(key, Command::new(CONFIG.0).args(CONFIG.1)).await;
        Ok(SyncFacts::read(answered(info)?, answered(config)?))
    }

    async fn trial(&mut self, key: &str, writes: u32, wanted: Acknowledgement) -> Result<Trial, Error> {
        self.note_trial();
        let started = Instant::now();
        let mut outcome = Ok(None);
        for number in 0..writes {
            outcome = self.trial_write(key, number, wanted).await;
            if !matches!(outcome, Ok(None)) {
                break;
            }
        }
        let took = started.elapsed();
        // It goes by itself if this fails.
        let _ = self.execute(Command::new("DEL").key(key)).await;
        Ok(outcome?.unwrap_or(Trial::Acknowledged { writes, took }))
    }

    /// What ends the trial, if anything does.
    async fn trial_write(
        &mut self,
        key: &str,
        number: u32,
        wanted: Acknowledgement,
    ) -> Result<Option<Trial>, Error> {
        let write = Command::new("SET").key(key).arg(number).arg("PX").arg(TRIAL_TTL_MS);
        let Some(answer) = self.run_acknowledged(vec![Call::from(write)], wanted).await.pop() else {
            return Ok(None);
        };
        answer.reply?;
        match answer.confirmed {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == ErrorKind::Unconfirmed => {
                Ok(Some(Trial::NotInTime { why: error.detail().to_owned() }))
            }
            Err(error) if is_unknown_command(&error) => Ok(Some(Trial::Unsupported)),
            Err(error) => Err(error),
        }
    }
}

/// A refusal is an answer, too; only a broken connection is not.
fn answered<T>(result: Result<T, Error>) -> Result<Result<T, Error>, Error> {
    match result {
        Err(error) if error.server_message().is_none() => Err(error),
        result => Ok(result),
    }
}

fn is_unknown_command(error: &Error) -> bool {
    error.server_message().is_some_and(|message| message.starts_with("ERR unknown command"))
}
