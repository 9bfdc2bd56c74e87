//! Options of a sender.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, util::option_layer};
use valkey_connection::Connection;
use valkey_envelope::{Codec, Limits, PayloadCodec, PayloadCodecs, PayloadForm, QueueName, TraceParent};

use crate::dispatcher::{Dispatcher, TraceContext};
use crate::durability::Durability;
use crate::limit::{GlobalConcurrencyLimitLayer, SharedRateLimitLayer};
use crate::links::Links;
use crate::on_full::OnFull;
use crate::outlet::Outlet;
use crate::progress::RetryRules;
use crate::pusher::PushOptions;
use crate::routes::Routes;
use crate::sender::{Gates, Sender};
use crate::service::Unlimited;
use crate::settings::{MIN_DEDUP_WINDOW, SenderSettings};

/// Collects the options of a [`Sender`].
///
/// ```no_run
/// use std::time::Duration;
/// use valkey_sender::{OnFull, Sender};
///
/// # fn run(connection: valkey_connection::Connection) -> Result<(), Box<dyn std::error::Error>> {
/// let sender = Sender::builder(connection, "orders".parse()?)
///     .bounded()
///     .on_full(OnFull::Block { timeout: Some(Duration::from_secs(2)) })
///     .dedup(Duration::from_secs(600))
///     .build();
/// # Ok(())
/// # }
/// ```
#[must_use = "options do nothing until `build`"]
pub struct SenderBuilder {
    connection: Connection,
    queue: QueueName,
    options: PushOptions,
    rules: RetryRules,
    rate: Option<(NonZeroU32, NonZeroU32)>,
    max_in_flight: Option<NonZeroU32>,
    ttl: Option<Duration>,
    codec: Codec,
    limits: Limits,
    codecs: PayloadCodecs,
    routes: Routes,
    trace_context: Option<TraceContext>,
    durability: Durability,
    durability_timeout: Duration,
}

impl SenderBuilder {
    pub(crate) fn new(connection: Connection, queue: QueueName) -> Self {
        let rules =
            RetryRules { max_retries: 0, delay: Duration::ZERO, on_full: OnFull::Error, deduplicated: false };
        Self {
            connection,
            queue,
            options: PushOptions::default(),
            rules,
            rate: None,
            max_in_flight: None,
            ttl: None,
            codec: Codec::new(),
            limits: Limits::default(),
            codecs: PayloadCodecs::new(),
            routes: Routes::new(),
            trace_context: None,
            durability: Durability::Fast,
            durability_timeout: Duration::ZERO,
        }
        .settings(&SenderSettings::default())
    }

    /// Takes over all settings but the queue, in place of what was set before.
    pub fn settings(mut self, settings: &SenderSettings) -> Self {
        self = self.retries(settings.max_retries, settings.retry_delay).on_full(settings.on_full_policy());
        self.options.bounded = settings.bounded;
        self.options.max_length = settings.max_length;
        self.options.dedup = settings.dedup_window.map(|window| window.max(MIN_DEDUP_WINDOW));
        self.rate =
            settings.rate_limit_requests.map(|rate| (rate, settings.rate_limit_burst.unwrap_or(rate)));
        self.max_in_flight = settings.max_in_flight;
        self.ttl = settings.message_ttl;
        // Inline is what an envelope does by itself; saying so would undo the form a forwarded message came in.
        self.codec = match settings.payload_form.0 {
            PayloadForm::Inline => Codec::new(),
            form @ PayloadForm::Base64 => Codec::new().payload_form(form),
        };
        self.durability(settings.durability)
            .durability_timeout(settings.durability_timeout)
            .max_message_bytes(settings.max_message_bytes)
    }

    /// Asks for room with every push, so that the queue's max length is never exceeded by this sender.
    pub fn bounded(mut self) -> Self {
        self.options.bounded = true;
        self
    }

    /// Calls the queue full at so many waiting messages, if its own max length is not lower. Implies
    /// [`bounded`](Self::bounded).
    ///
    /// Waiting are all that no consumer holds: ready in any lane, due later, or to be delivered again.
    pub fn max_length(mut self, messages: u64) -> Self {
        self.options.max_length = Some(messages);
        self
    }

    /// What to do when the queue is full.
    pub fn on_full(mut self, policy: OnFull) -> Self {
        self.rules.on_full = policy;
        self
    }

    /// Remembers ids for at least `window` (and at most twice as long), and queues the same id once within it.
    ///
    /// All senders of a queue need the same window. Less than a second counts as a second. Messages of one id are
    /// never sent twice by retries then, so sends of unknown outcome are retried, too.
    pub fn dedup(mut self, window: Duration) -> Self {
        self.options.dedup = Some(window.max(MIN_DEDUP_WINDOW));
        self
    }

    /// How often a send is tried again after a transient failure, and the pause before the first retry; it doubles
    /// with each one.
    pub fn retries(mut self, max: u32, delay: Duration) -> Self {
        self.rules.max_retries = max;
        self.rules.delay = delay;
        self
    }

    /// Messages a second that all clones of the sender may send together, and how many of them at once.
    pub fn rate_limit(mut self, requests: NonZeroU32, burst: NonZeroU32) -> Self {
        self.rate = Some((requests, burst));
        self
    }

    /// How many sends of all clones may be under way at once; a [`Sender::send_all`] counts as one.
    pub fn max_in_flight(mut self, sends: NonZeroU32) -> Self {
        self.max_in_flight = Some(sends);
        self
    }

    /// Time to live for messages that have none.
    pub fn message_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Bytes of an encoded message; larger ones are refused. Receivers have a limit, too (1 MiB unless set).
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.limits = Limits::default().max_size(bytes);
        self
    }

    /// How safe a message is to be before its send is answered; [`Sender::with_durability`] chooses per send.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How long to wait until a message is confirmed to be that safe, at least a millisecond; then its outcome is
    /// unknown ([`SendError::Unknown`](crate::SendError::Unknown)).
    pub fn durability_timeout(mut self, timeout: Duration) -> Self {
        self.durability_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// The form of payloads on the wire.
    pub fn payload_form(mut self, form: PayloadForm) -> Self {
        self.codec = self.codec.payload_form(form);
        self
    }

    /// Passes every payload through a codec, such as compression; several apply in the order they are added. The
    /// receivers need the same ones.
    pub fn codec(mut self, codec: Arc<dyn PayloadCodec>) -> Self {
        self.codecs = self.codecs.with(codec);
        self
    }

    /// Chooses the queue of each message by rules; what no rule wants goes to the queue of the builder, unless the
    /// routes have a default of their own.
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// Where to find the caller's trace context, for messages without a `traceparent` header of their own.
    ///
    /// `tracing` has no trace ids; a bridge to a system that has some (OpenTelemetry) is asked here, in the task that
    /// sends.
    pub fn trace_context<F>(mut self, current: F) -> Self
    where
        F: Fn() -> Option<TraceParent> + Send + Sync + 'static,
    {
        self.trace_context = Some(Arc::new(current));
        self
    }

    /// The sender.
    pub fn build(self) -> Sender {
        let mut queues = vec![self.queue];
        for queue in self.routes.queues() {
            if !queues.contains(queue) {
                queues.push(queue.clone());
            }
        }
        let links = Arc::new(Links::new(self.connection.clone(), self.durability_timeout));
        let outlets = queues
            .into_iter()
            .map(|queue| Outlet::new(self.connection.clone(), queue, self.options, Arc::clone(&links)))
            .collect();
        let dispatcher = Arc::new(Dispatcher {
            outlets,
            routes: self.routes,
            rules: RetryRules { deduplicated: self.options.dedup.is_some(), ..self.rules },
            ttl: self.ttl,
            codec: self.codec.limits(self.limits),
            codecs: self.codecs,
            trace_context: self.trace_context,
        });
        let rate =
            self.rate.map(|(requests, burst)| SharedRateLimitLayer::with_burst(requests.get(), burst.get()));
        let slots = self.max_in_flight.map(|sends| Arc::new(Semaphore::new(sends.get() as usize)));
        let gates = Gates { turns: rate.as_ref().map(|rate| rate.turns().clone()), slots: slots.clone() };
        let limited = (rate.is_some() || slots.is_some()).then(|| {
            // The rate first: who waits for a turn must not hold a place.
            let service = ServiceBuilder::new()
                .layer(option_layer(rate))
                .layer(option_layer(slots.map(GlobalConcurrencyLimitLayer::with_semaphore)))
                .service(Unlimited(Arc::clone(&dispatcher)));
            BoxCloneSyncService::new(service)
        });
        Sender { dispatcher, durability: self.durability, gates, limited }
    }
}

impl fmt::Debug for SenderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderBuilder")
            .field("queue", &self.queue)
            .field("options", &self.options)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
