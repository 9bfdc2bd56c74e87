//! Dead letters back into a queue.

use valkey_connection::{Command, ErrorKind};
use valkey_envelope::{Lane, QueueName};

use crate::{
    admin::{Admin, Execution},
    dead::{DeadLetter, DeadSelection, Walk},
    error::Error,
    place::Place,
    scripts::{DEAD_REMOVE, REPLAY},
    tally::Tally,
};

/// Where replayed messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayTo {
    /// The queue they died in.
    Source,
    /// Another queue.
    Queue(QueueName),
}

/// Letters replayed in one call, which bounds the bytes it moves.
const BATCH: usize = 64;

// === impl Admin ===

impl Admin {
    /// Puts dead letters back as the bytes they were, into the lane they came from, oldest first, with a fresh count
    /// of attempts. Deduplication is bypassed. In slices; after each, `on_progress` gets the number replayed so far.
    ///
    /// A letter is pushed only in the very script run that removes it, so two replays at the same time never double
    /// one. The one exception: into another queue of a cluster it is added first and then removed, and an abort in
    /// between leaves it in both (at least once).
    ///
    /// # Errors
    /// [`Error::Connection`] if nothing was replayed. An error after that is in [`Tally::failed`].
    ///
    /// # Cancel safety
    /// Dropping the future stops after the current slice.
    pub async fn replay(
        &self,
        queue: &QueueName,
        selection: &DeadSelection,
        to: &ReplayTo,
        execution: Execution,
        mut on_progress: impl FnMut(u64) + Send,
    ) -> Result<Tally, Error> {
        let keys = queue.keys();
        let target = match to {
            ReplayTo::Source => queue,
            ReplayTo::Queue(other) => other,
        };
        self.knows_format(queue).await?;
        if target != queue {
            self.knows_format(target).await?;
        }
        let mut tally = Tally::default();
        let result = async {
            let across = target != queue && self.connection.primaries().await?.len() > 1;
            let mut walk = Walk::new(self, &keys, selection).await?;
            while let Some(letters) = walk.next(self, &keys, &mut tally).await? {
                for letters in letters.chunks(BATCH) {
                    if execution == Execution::DryRun {
                        let readable = letters.iter().filter(|letter| letter.length.is_some()).count() as u64;
                        tally.add(Place::Dead, readable);
                        tally.unreadable += letters.len() as u64 - readable;
                    } else if across {
                        self.replay_across(queue, target, letters, &mut tally).await?;
                    } else {
                        self.replay_batch(queue, target, letters, &mut tally).await?;
                    }
                    on_progress(tally.done());
                }
            }
            Ok(())
        }
        .await;
        tally.close(result)
    }

    async fn replay_batch(
        &self,
        queue: &QueueName,
        target: &QueueName,
        letters: &[DeadLetter],
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let (from, to) = (queue.keys(), target.keys());
        let mut call = REPLAY.call().keys([
            from.dead(),
            from.dead_body(),
            to.public(),
            to.lane(Lane::High),
            to.lane(Lane::Low),
            to.bell(),
        ]);
        for letter in letters {
            call = call.arg(letter.id.as_str()).arg(lane(letter).as_char().to_string());
        }
        let fates = match self.connection.invoke(call).await {
            Ok(reply) => reply.into_string()?,
            // A cluster of a single node is still a cluster.
            Err(error) if target != queue && error.kind() == ErrorKind::CrossSlot => {
                return self.replay_across(queue, target, letters, tally).await;
            }
            Err(error) => return Err(error.into()),
        };
        for fate in fates.chars() {
            match fate {
                'r' => tally.add(Place::Dead, 1),
                'a' => tally.absent += 1,
                _ => tally.unreadable += 1,
            }
        }
        Ok(())
    }

    /// One letter at a time: add, then remove. Who dies in between leaves it in both queues.
    async fn replay_across(
        &self,
        queue: &QueueName,
        target: &QueueName,
        letters: &[DeadLetter],
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let (from, to) = (queue.keys(), target.keys());
        for letter in letters {
            let letter = match self.dead_letter(queue, &letter.id).await {
                Ok(letter) => letter,
                Err(Error::NoDeadLetter { .. }) => {
                    tally.absent += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if letter.length.is_none() {
                tally.unreadable += 1;
                continue;
            }
            let push = Command::new("LPUSH").key(to.lane(lane(&letter))).arg(letter.bytes.clone());
            self.connection.execute(push).await?;
            self.connection.execute(Command::new("SPUBLISH").key(to.bell()).arg("replay")).await.ok();
            let remove = DEAD_REMOVE.call().keys([from.dead(), from.dead_body()]).arg(letter.id.as_str());
            self.connection.invoke(remove).await?;
            tally.add(Place::Dead, 1);
        }
        Ok(())
    }
}

fn lane(letter: &DeadLetter) -> Lane {
    letter.meta.as_ref().and_then(|meta| meta.lane).unwrap_or_default()
}
