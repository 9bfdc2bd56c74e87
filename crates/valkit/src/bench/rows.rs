//! The rows: one way of sending or receiving each.

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
use valkey_sender::{Receipt, SendError, Sender};

use super::{counters::Counters, lab::Lab};
use crate::failure::Failure;

/// No row takes longer, or something is wrong.
const LIMIT: Duration = Duration::from_mins(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    RawSend,
    Send,
    SendSingly,
    RawPop,
    Receive,
    RawPopFour,
    ReceiveFour,
    MoveAndRemove,
    EndToEnd,
}

/// One row of one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) messages: usize,
    pub(crate) time: Duration,
    pub(crate) counters: Counters,
}

// === impl Row ===

impl Row {
    pub(crate) const ALL: [Self; 9] = [
        Self::RawSend,
        Self::Send,
        Self::SendSingly,
        Self::RawPop,
        Self::Receive,
        Self::RawPopFour,
        Self::ReceiveFour,
        Self::MoveAndRemove,
        Self::EndToEnd,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RawSend => "raw send: LPUSH of encoded batches",
            Self::Send => "send_all, batches",
            Self::SendSingly => "send, 64 tasks",
            Self::RawPop => "raw receive: RPOP of batches",
            Self::Receive => "receive and ack",
            Self::RawPopFour => "raw receive, four consumers",
            Self::ReceiveFour => "receive and ack, four consumers",
            Self::MoveAndRemove => "BLMOVE and LREM, one by one",
            Self::EndToEnd => "send, receive and ack at once",
        }
    }

    /// One by one is slow, and as telling with fewer.
    const fn share(self, messages: usize) -> usize {
        match self {
            Self::MoveAndRemove => messages / 20,
            Self::SendSingly => messages / 4,
            _ => messages,
        }
    }
}

/// Runs one row on a clean queue.
pub(crate) async fn measure(lab: &Lab, row: Row, messages: usize) -> Result<Measured, Failure> {
    let messages = row.share(messages);
    lab.clear().await?;
    if !matches!(row, Row::RawSend | Row::Send | Row::SendSingly | Row::EndToEnd) {
        lab.fill(messages).await?;
    }
    let before = Counters::read(&lab.connection).await?;
    let started = Instant::now();
    let work = async {
        match row {
            Row::RawSend => raw_send(lab, messages).await,
            Row::Send => send(lab, messages).await,
            Row::SendSingly => send_singly(lab, messages).await,
            Row::RawPop => raw_pop(lab, 1).await,
            Row::RawPopFour => raw_pop(lab, 4).await,
            Row::Receive => receive(lab, messages, 1, false).await,
            Row::ReceiveFour => receive(lab, messages, 4, false).await,
            Row::MoveAndRemove => move_and_remove(lab, messages).await,
            Row::EndToEnd => receive(lab, messages, 1, true).await,
        }
    };
    tokio::time::timeout(LIMIT, work)
        .await
        .map_err(|_| Failure::Failed(format!("{} did not end within {LIMIT:?}", row.name())))??;
    let time = started.elapsed();
    let counters = Counters::read(&lab.connection).await?.since(before);
    lab.clear().await?;
    Ok(Measured { messages, time, counters })
}

async fn raw_send(lab: &Lab, messages: usize) -> Result<(), Failure> {
    let message = lab.encoded()?;
    let mut left = messages;
    while left > 0 {
        let count = left.min(lab.batch);
        let push = Command::new("LPUSH").key(lab.queue.keys().public());
        lab.connection.execute(push.args(std::iter::repeat_n(message.clone(), count))).await?;
        left -= count;
    }
    Ok(())
}

async fn send(lab: &Lab, messages: usize) -> Result<(), Failure> {
    let sender = Sender::new(lab.connection.clone(), lab.queue.clone());
    let mut left = messages;
    while left > 0 {
        let count = left.min(lab.batch);
        for receipt in sender.send_all((0..count).map(|_| lab.envelope())).await {
            accepted(receipt)?;
        }
        left -= count;
    }
    Ok(())
}

fn accepted(receipt: Result<Receipt, SendError>) -> Result<(), Failure> {
    match receipt {
        Ok(receipt) if receipt.is_accepted() => Ok(()),
        Ok(receipt) => Err(Failure::Failed(format!("not sent: {receipt:?}"))),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

async fn send_singly(lab: &Lab, messages: usize) -> Result<(), Failure> {
    const TASKS: usize = 64;
    let sender = Sender::new(lab.connection.clone(), lab.queue.clone());
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (sender, envelope) = (sender.clone(), lab.envelope());
        let count = messages / TASKS + usize::from(task < messages % TASKS);
        tasks.spawn(async move {
            for _ in 0..count {
                let fresh = envelope.clone().with_id(valkey_envelope::MessageId::new());
                accepted(sender.send(fresh).await)?;
            }
            Ok::<(), Failure>(())
        });
    }
    all(tasks).await
}

async fn raw_pop(lab: &Lab, consumers: usize) -> Result<(), Failure> {
    let mut tasks = JoinSet::new();
    for _ in 0..consumers {
        let (key, batch) = (lab.queue.keys().public().to_owned(), lab.batch);
        let mut link = lab.connection.dedicated().await?;
        tasks.spawn(async move {
            while !link.execute(Command::new("RPOP").key(key.as_str()).arg(batch)).await?.is_nil() {}
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
async fn receive(lab: &Lab, messages: usize, consumers: usize, sending: bool) -> Result<(), Failure> {
    let handled = Arc::new(AtomicUsize::new(0));
    let done = CancellationToken::new();
    let mut services = JoinSet::new();
    for _ in 0..consumers {
        let service = service(lab, &handled, &done, messages).await?;
        services.spawn(async move {
            let report = service.await.map_err(|error| Failure::Failed(error.to_string()))?;
            if report.is_clean() { Ok(()) } else { Err(Failure::Failed(format!("not clean: {report}"))) }
        });
    }
    if sending {
        send(lab, messages).await?;
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

async fn all(mut tasks: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| Failure::Failed(error.to_string()))??;
    }
    Ok(())
}
