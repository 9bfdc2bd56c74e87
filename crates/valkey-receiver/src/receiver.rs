//! The receiver: starts the engines, hands out deliveries, serves handlers.

use std::sync::Arc;
use std::thread;

use futures::Stream;
use futures::stream;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use valkey_connection::Connection;
use valkey_envelope::{Codec, PayloadCodec, PayloadCodecs, QueueName};

use crate::delivery::Delivery;
use crate::desk::{Claimed, Desk};
use crate::engine::{Candidate, Engine, Rules};
use crate::error::ReceiveError;
use crate::handle::{EngineHandle, ReceiverHandle};
use crate::report::DrainReport;
use crate::serve::Serve;
use crate::settings::ReceiverSettings;
use crate::source::{Reading, Source};
use crate::unreadable::Unreadable;
use crate::work::Work;

/// Receives from one or more queues.
///
/// Dropped without [`drain`](Self::drain) or [`serve`](Self::serve) it stops in the background: what was prefetched
/// goes back.
#[derive(Debug)]
#[must_use = "a receiver that is not served or asked holds messages back"]
pub struct Receiver {
    source: Source,
    engine: EngineHandle,
    settings: Arc<ReceiverSettings>,
}

/// Puts a [`Receiver`] together.
#[derive(Clone, Debug)]
#[must_use = "nothing is received before `start`"]
pub struct ReceiverBuilder {
    connection: Connection,
    queues: Vec<QueueName>,
    settings: ReceiverSettings,
    envelope_codec: Codec,
    codecs: PayloadCodecs,
}

// === impl ReceiverBuilder ===

impl ReceiverBuilder {
    /// Receives from this queue; several calls name several. Without any, the settings' `default_queues` count.
    pub fn queue(mut self, queue: QueueName) -> Self {
        if !self.queues.contains(&queue) {
            self.queues.push(queue);
        }
        self
    }

    /// Goes by these settings instead of the defaults.
    pub fn settings(mut self, settings: ReceiverSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Reads envelopes with this codec: its limits, and what a string payload means.
    pub fn envelope_codec(mut self, codec: Codec) -> Self {
        self.envelope_codec = codec;
        self
    }

    /// Knows how to undo this payload codec; several calls name several. A coded message whose codec is not among them
    /// is left to other consumers for a while and then becomes a dead letter `unknown_codec`. Without any, coded payloads reach the handler as they are.
    pub fn codec(mut self, codec: Arc<dyn PayloadCodec>) -> Self {
        self.codecs = self.codecs.with(codec);
        self
    }

    /// Joins the queues and begins to take.
    ///
    /// One queue that the server refuses (a right is missing, a foreign key squats on one of its keys, its format is newer)
    /// does not keep the others from being served: it is named in a warning and by [`ReceiverHandle::unserved`], and
    /// served as soon as the server lets it.
    ///
    /// # Errors
    /// [`ReceiveError`] if the settings contradict themselves, no queue is named, the server is away or refuses the
    /// credentials, or none of the queues can be joined. Once started, a receiver outlives all of that and goes on by
    /// itself when it is over.
    pub async fn start(self) -> Result<Receiver, ReceiveError> {
        let Self { connection, mut queues, settings, envelope_codec, codecs } = self;
        check(&settings)?;
        if queues.is_empty() {
            queues = settings.default_queues.iter().cloned().collect();
        }
        if queues.is_empty() {
            return Err(ReceiveError::NoQueue);
        }
        let policy = settings.retry_policy().map_err(|error| ReceiveError::Settings(error.to_string()))?;
        let rules = Rules::of(&settings);
        let desks: Arc<[Arc<Desk>]> =
            queues.into_iter().map(|queue| Arc::new(Desk::new(queue, rules.batch))).collect();
        // Bounded by the prefetch of each engine, not by the channel.
        let (sink, claims) = async_channel::unbounded();
        let ended = run_engines(connection, Arc::clone(&desks), rules, (sink, claims.clone())).await?;
        let engine = EngineHandle::new(desks, ended, CancellationToken::new());
        let reading = Reading {
            envelope_codec,
            codecs,
            policy: Arc::new(policy),
            on_expired: settings.on_expired,
            message_ttl: settings.message_ttl,
            unreadable: Unreadable::new(settings.unreadable_wait),
        };
        let source = Source::new(claims, engine.clone(), reading);
        Ok(Receiver { source, engine, settings: Arc::new(settings) })
    }
}

fn check(settings: &ReceiverSettings) -> Result<(), ReceiveError> {
    use valkey_config::Validate;
    let found = settings.validate();
    if found.is_empty() {
        return Ok(());
    }
    let all: Vec<String> =
        found.iter().map(|wrong| format!("{}: {}", wrong.fields().join(", "), wrong.message())).collect();
    Err(ReceiveError::Settings(all.join("; ")))
}

/// One thread with a runtime of its own for all engines: whatever handlers do to theirs, leases are renewed.
async fn run_engines(
    connection: Connection,
    desks: Arc<[Arc<Desk>]>,
    rules: Rules,
    channel: (async_channel::Sender<Claimed>, async_channel::Receiver<Claimed>),
) -> Result<watch::Receiver<bool>, ReceiveError> {
    let (report_end, ended) = watch::channel(false);
    let (report_start, started) = oneshot::channel();
    let work = async move {
        let (engines, waiting) = match join_all(&connection, &desks, &rules, &channel).await {
            Ok(joined) => joined,
            Err(error) => {
                let _ = report_start.send(Err(error));
                return;
            }
        };
        let _ = report_start.send(Ok(()));
        drop(channel);
        let running = engines.into_iter().map(|engine| tokio::spawn(engine.run()));
        let waiting = waiting.into_iter().map(|candidate| tokio::spawn(candidate.run_when_let_in()));
        for engine in running.chain(waiting).collect::<Vec<_>>() {
            if let Err(died) = engine.await {
                tracing::error!(%died, "an engine has died; others reclaim what it held after its lease");
                return;
            }
        }
        // Whoever waits for the end may have gone.
        let _ = report_end.send(true);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ReceiveError::Thread(error.to_string()))?;
    thread::Builder::new()
        .name("valkey-receiver".to_owned())
        .spawn(move || runtime.block_on(work))
        .map_err(|error| ReceiveError::Thread(error.to_string()))?;
    started.await.map_err(|_| ReceiveError::Thread("it ended while starting".to_owned()))??;
    Ok(ended)
}

/// Joins each queue. Those that the server refuses wait, as long as it lets any be served.
async fn join_all(
    connection: &Connection,
    desks: &[Arc<Desk>],
    rules: &Rules,
    channel: &(async_channel::Sender<Claimed>, async_channel::Receiver<Claimed>),
) -> Result<(Vec<Engine>, Vec<Candidate>), ReceiveError> {
    let (mut engines, mut refused) = (Vec::with_capacity(desks.len()), Vec::new());
    let mut failed = None;
    for desk in desks {
        let joining = async {
            let candidate = Candidate::connect(connection, Arc::clone(desk), rules.clone(), channel.clone());
            let mut candidate = candidate.await?;
            match candidate.join().await {
                Ok(life) => engines.push(candidate.into_engine(life)),
                Err(refusal) if refusal.is_about_the_queue() => refused.push((candidate, refusal)),
                Err(failure) => return Err(failure),
            }
            Ok(())
        };
        if let Err(failure) = joining.await {
            failed = Some(failure.of(desk.queue.clone()));
            break;
        }
    }
    if failed.is_none() && engines.is_empty() {
        failed =
            refused.drain(..).next().map(|(candidate, refusal)| refusal.of(candidate.desk().queue.clone()));
    }
    if let Some(failure) = failed {
        for engine in engines {
            engine.leave().await;
        }
        return Err(failure);
    }
    let waiting = refused.into_iter().map(|(candidate, refusal)| {
        candidate.note(refusal);
        candidate
    });
    Ok((engines, waiting.collect()))
}

// === impl Receiver ===

impl Receiver {
    /// Begins to put a receiver together, on a connection that others may share.
    pub fn builder(connection: &Connection) -> ReceiverBuilder {
        ReceiverBuilder {
            connection: connection.clone(),
            queues: Vec::new(),
            settings: ReceiverSettings::default(),
            envelope_codec: Codec::default(),
            codecs: PayloadCodecs::new(),
        }
    }

    /// The reins: pause, resume, drain from elsewhere.
    pub fn handle(&self) -> ReceiverHandle {
        ReceiverHandle::new(self.engine.clone())
    }

    /// Calls `work` (a handler, a [`Router`](crate::Router), a [`Batch`](crate::Batch)) for every message, as many at a
    /// time as the settings say, until a shutdown signal or [`ReceiverHandle::drain`].
    pub fn serve<W: Work>(self, work: W) -> Serve<W> {
        Serve::new(self.source, self.engine, self.settings, work)
    }

    /// The next message, for those who loop themselves; `None` when the receiver drains.
    ///
    /// # Cancel safety
    /// Cancel safe: a message that was not returned stays.
    pub async fn recv(&self) -> Option<Delivery> {
        self.source.next().await
    }

    /// The messages as a stream, which ends when the receiver drains. Dropping the stream stops the receiver.
    pub fn into_stream(self) -> impl Stream<Item = Delivery> + Send {
        stream::unfold(self, |receiver| async move {
            let delivery = receiver.recv().await?;
            Some((delivery, receiver))
        })
    }

    /// Stops: takes nothing more, gives back what nobody has fetched, waits until what was fetched is settled, at most
    /// for the settings' `drain_timeout`; what is still unsettled then goes back uncounted.
    ///
    /// # Errors
    /// If the receiver's own thread had died.
    pub async fn drain(self) -> Result<DrainReport, ReceiveError> {
        let started = tokio::time::Instant::now();
        self.engine.begin_drain();
        let idle = tokio::time::timeout(self.settings.drain_timeout, self.engine.idle()).await.is_ok();
        let open = if idle { 0 } else { self.engine.held() };
        let books = self.engine.finish().await?;
        Ok(DrainReport {
            acked: books.acked,
            retried: books.retried,
            dead: books.dead,
            handed_back: books.released,
            aborted: open,
            uncertain: books.uncertain,
            duration: started.elapsed(),
        })
    }
}
