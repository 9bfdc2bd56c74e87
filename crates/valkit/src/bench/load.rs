//! Ways of sending and receiving: ours, and what the same client can do at most.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use valkey_connection::Command;
use valkey_receiver::{Message, Receiver, ReceiverSettings, Serve};
use valkey_sender::{Receipt, SendError};

use super::{counters::Counters, lab::Lab};
use crate::failure::Failure;

/// No load takes longer, or something is wrong.
const LIMIT: Duration = Duration::from_mins(2);

/// How messages go in or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    RawSend,
    Send,
    /// All in one call, however many.
    SendMany,
    SendSingly,
    RawReceive,
    Receive,
    MoveAndRemove,
    EndToEnd,
}

/// So many messages, by so many producers or consumers at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) way: Way,
    pub(crate) hands: usize,
    pub(crate) messages: usize,
    /// So many more lie in the queue all the time.
    pub(crate) waiting: usize,
}

/// What a load took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) messages: usize,
    pub(crate) time: Duration,
    pub(crate) counters: Counters,
}

// === impl Way ===

impl Way {
    const fn takes_out(self) -> bool {
        matches!(self, Self::RawReceive | Self::Receive | Self::MoveAndRemove)
    }
}

// === impl Load ===

impl Load {
    /// Runs it on a clean queue.
    pub(crate) async fn measure(self, lab: &Lab) -> Result<Measured, Failure> {
        let Self { way, hands, messages, waiting } = self;
        lab.clear().await?;
        lab.fill(waiting + if way.takes_out() { messages } else { 0 }).await?;
        let before = Counters::read(&lab.connection).await?;
        let started = Instant::now();
        let work = async {
            match way {
                Way::RawSend => raw_send(lab, messages, hands).await,
                Way::Send => send(lab, messages, hands, lab.batch).await,
                Way::SendMany => send(lab, messages, hands, messages).await,
                Way::SendSingly => send_singly(lab, messages, hands).await,
                Way::RawReceive => raw_receive(lab, messages, hands).await,
                Way::Receive => receive(lab, messages, hands, false).await,
                Way::MoveAndRemove => move_and_remove(lab, messages).await,
                Way::EndToEnd => receive(lab, messages, hands, true).await,
            }
        };
        tokio::time::timeout(LIMIT, work)
            .await
            .map_err(|_| Failure::Failed(format!("{way:?} did not end within {LIMIT:?}")))??;
        let time = started.elapsed();
        let counters = Counters::read(&lab.connection).await?.since(before);
        lab.clear().await?;
        Ok(Measured { messages, time, counters })
    }
}

async fn raw_send(lab: &Lab, messages: usize, hands: usize) -> Result<(), Failure> {
    let message = lab.encoded()?;
    let tasks = shares(messages, hands).map(|share| {
        let (connection, message, batch) = (lab.connection.clone(), message.clone(), lab.batch);
        let key = lab.queue.keys().public().to_owned();
        async move {
            for count in batches(share, batch) {
                let push = Command::new("LPUSH").key(key.as_str());
                connection.execute(push.args(std::iter::repeat_n(message.clone(), count))).await?;
            }
            Ok(())
        }
    });
    all(tasks.collect()).await
}

async fn send(lab: &Lab, messages: usize, hands: usize, batch: usize) -> Result<(), Failure> {
    let tasks = shares(messages, hands).map(|share| {
        let (sender, envelope) = (lab.sender.clone(), lab.envelope());
        async move {
            for count in batches(share, batch) {
                let fresh = (0..count).map(|_| envelope.clone().with_id(valkey_envelope::MessageId::new()));
                for receipt in sender.send_all(fresh).await {
                    accepted(receipt)?;
                }
            }
            Ok(())
        }
    });
    all(tasks.collect()).await
}

async fn send_singly(lab: &Lab, messages: usize, hands: usize) -> Result<(), Failure> {
    let tasks = shares(messages, hands).map(|share| {
        let (sender, envelope) = (lab.sender.clone(), lab.envelope());
        async move {
            for _ in 0..share {
                let fresh = envelope.clone().with_id(valkey_envelope::MessageId::new());
                accepted(sender.send(fresh).await)?;
            }
            Ok(())
        }
    });
    all(tasks.collect()).await
}

fn accepted(receipt: Result<Receipt, SendError>) -> Result<(), Failure> {
    match receipt {
        Ok(receipt) if receipt.is_accepted() => Ok(()),
        Ok(receipt) => Err(Failure::Failed(format!("not sent: {receipt:?}"))),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

async fn raw_receive(lab: &Lab, messages: usize, hands: usize) -> Result<(), Failure> {
    let mut tasks = JoinSet::new();
    for share in shares(messages, hands) {
        let (key, batch) = (lab.queue.keys().public().to_owned(), lab.batch);
        let mut link = lab.connection.dedicated().await?;
        tasks.spawn(async move {
            for count in batches(share, batch) {
                link.execute(Command::new("RPOP").key(key.as_str()).arg(count)).await?;
            }
            link.close().await;
            Ok::<(), Failure>(())
        });
    }
    all(tasks).await
}

async fn move_and_remove(lab: &Lab, messages: usize) -> Result<(), Failure> {
    let mut link = lab.connection.dedicated().await?;
    let keys = lab.queue.keys();
    for _ in 0..messages {
        let Some(raw) = link.blocking_move(keys.public(), &lab.processing, Duration::from_secs(1)).await?
        else {
            break;
        };
        valkey_envelope::Envelope::decode(&raw).map_err(|error| Failure::Failed(error.to_string()))?;
        link.execute(Command::new("LREM").key(lab.processing.as_str()).arg(1).arg(raw)).await?;
    }
    link.close().await;
    Ok(())
}

/// Also sends them meanwhile, if `sending`.
async fn receive(lab: &Lab, messages: usize, hands: usize, sending: bool) -> Result<(), Failure> {
    let handled = Arc::new(AtomicUsize::new(0));
    let done = CancellationToken::new();
    let mut services = JoinSet::new();
    for _ in 0..hands {
        let service = service(lab, &handled, &done, messages).await?;
        services.spawn(async move {
            let report = service.await.map_err(|error| Failure::Failed(error.to_string()))?;
            if report.is_clean() { Ok(()) } else { Err(Failure::Failed(format!("not clean: {report}"))) }
        });
    }
    if sending {
        send(lab, messages, 1, lab.batch).await?;
    }
    all(services).await
}

async fn service(
    lab: &Lab,
    handled: &Arc<AtomicUsize>,
    done: &CancellationToken,
    messages: usize,
) -> Result<Serve<impl valkey_receiver::Work + use<>>, Failure> {
    let batch = NonZeroUsize::new(lab.batch).unwrap_or(NonZeroUsize::MIN);
    let settings = ReceiverSettings::default()
        .batch(batch)
        .prefetch(batch.saturating_mul(NonZeroUsize::new(4).unwrap_or(batch)));
    let receiver = Receiver::builder(&lab.connection)
        .queue(lab.queue.clone())
        .settings(settings)
        .start()
        .await
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let (count, finished, stop) = (Arc::clone(handled), done.clone(), done.clone());
    let work = move |_: Message| {
        if count.fetch_add(1, Ordering::Relaxed) + 1 == messages {
            finished.cancel();
        }
        async {}
    };
    let stopped = async move { stop.cancelled().await };
    Ok(receiver.serve(work).with_graceful_shutdown(stopped))
}

/// `messages` dealt out to `hands`, as evenly as can be.
fn shares(messages: usize, hands: usize) -> impl Iterator<Item = usize> {
    (0..hands).map(move |hand| messages / hands + usize::from(hand < messages % hands))
}

/// `messages` in batches; the last may be smaller.
fn batches(messages: usize, batch: usize) -> impl Iterator<Item = usize> {
    (0..messages.div_ceil(batch)).map(move |number| batch.min(messages - number * batch))
}

async fn all(mut tasks: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Failure::Failed(error.to_string()))??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_over() {
        for (messages, parts) in [(100, 7), (3, 8), (64, 64), (0, 5)] {
            assert_eq!(shares(messages, parts).sum::<usize>(), messages);
            assert_eq!(batches(messages, parts).sum::<usize>(), messages);
            assert!(batches(messages, parts).all(|batch| batch > 0 && batch <= parts));
        }
    }
}
