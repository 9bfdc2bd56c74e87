//! All of it as one thing that binds, runs and drains.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use freeipa_client::Client;
use tokio::task::JoinSet;
use tokio::time::sleep;
use valkey_admin::Admin;
use valkey_connection::Connection;
use valkey_envelope::{PayloadCodec, QueueName};
use valkey_receiver::{DrainReport, ReceiveError, Receiver};
use valkit_service::Shutdown;
use valkit_service::http::Http;

use crate::check::{self, Checkup};
use crate::directory;
use crate::flow::{Office, Policy, Registrar};
use crate::http::{self, ConsumerSite};
use crate::lockout::Lockout;
use crate::park::{Park, Trouble, TroubleKind, watch_over};
use crate::reporting;
use crate::retention;
use crate::settings::Settings;
use crate::state::{Records, Turns};
use crate::status::{StatusReporter, TelegramError};
use crate::telemetry;
use crate::text::TextError;

/// The pauses between tries to join the queue while the store is away: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A consumer of registrations.
///
/// Any number of them may work on one queue, in one process or many.
///
/// ```no_run
/// use freeipa_consumer::{Consumer, Settings, Shutdown};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let (settings, _) = Settings::load(Some("/etc/freeipa-consumer.toml".into()), std::env::vars_os())?;
/// let consumer = Consumer::bind(settings).await?;
/// let shutdown = Shutdown::new();
/// let running = tokio::spawn(consumer.run(shutdown.clone()));
/// tokio::signal::ctrl_c().await?;
/// shutdown.drain();
/// println!("{}", running.await??);
/// # Ok(())
/// # }
/// ```
pub struct Consumer {
    settings: Settings,
    connection: Connection,
    client: Client,
    reporter: Arc<dyn StatusReporter>,
    park: Park,
    http: Option<Http<ConsumerSite>>,
    codecs: Vec<Arc<dyn PayloadCodec>>,
}

/// Puts a [`Consumer`] together whose payloads are coded, or that tells applicants in a way of the program's own.
#[derive(Debug)]
#[must_use = "nothing is received before `bind` and `run`"]
pub struct ConsumerBuilder {
    settings: Settings,
    codecs: Vec<Arc<dyn PayloadCodec>>,
    reporter: Option<Arc<dyn StatusReporter>>,
}

/// Why a consumer does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// A part of it ended before its time. The rest was drained: half a consumer is none.
    #[error("a part ended by itself, which is a mistake of this program: {0}")]
    Broken(String),
    /// The CA file cannot be read.
    #[error(
        "freeipa.ca_file: cannot read {file}: {source}; it is /etc/ipa/ca.crt on the servers of the directory"
    )]
    CaFile {
        /// Which.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// The settings of the directory are wrong.
    #[error("[freeipa]: {0}")]
    Directory(#[source] freeipa_client::InvalidSettings),
    /// This program cannot log in with a keytab.
    #[error("freeipa.keytab: {reason}")]
    Keytab {
        /// Why not, and what helps.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("consumer.http_listen: cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The queue cannot be received from.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// A server of the directory is none.
    #[error("freeipa.servers: {0}")]
    Server(#[source] freeipa_client::InvalidServer),
    /// The settings of the connection are wrong.
    #[error(transparent)]
    Store(#[from] valkey_connection::Error),
    /// The settings of Telegram are wrong.
    #[error("[report]: {0}")]
    Telegram(#[from] TelegramError),
    /// The texts are wrong; there is at least one reason.
    #[error("the texts for applicants:\n  {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))]
    Texts(Vec<TextError>),
}

// === impl ConsumerBuilder ===

impl ConsumerBuilder {
    /// Knows how to undo this codec of payloads, and codes those of the status queue with it; several calls name several.
    pub fn codec(mut self, codec: Arc<dyn PayloadCodec>) -> Self {
        self.codecs.push(codec);
        self
    }

    /// Tells applicants so, whatever the settings say.
    pub fn reporter(mut self, reporter: Arc<dyn StatusReporter>) -> Self {
        self.reporter = Some(reporter);
        self
    }

    /// Listens for scrapers, and connects to the store in the background: that it is there is no condition.
    ///
    /// # Errors
    /// [`ConsumerError`]: something in the settings is wrong.
    pub async fn bind(self) -> Result<Consumer, ConsumerError> {
        let Self { settings, codecs, reporter } = self;
        let connection = Connection::connect_later(&settings.connection)?;
        let lockout = Lockout::new(connection.clone(), settings.consumer.key_prefix.as_str());
        let client = directory::client(&settings.freeipa, lockout)?;
        let reporter = match reporter {
            Some(reporter) => reporter,
            None => reporting::reporter(&settings.report, &connection, &codecs)?,
        };
        let park = Park::new(settings.consumer.trouble_interval);
        let http = match settings.consumer.http_listen {
            Some(address) => Some(http::bind(address, park.clone(), client.clone()).await?),
            None => None,
        };
        // The receiver starts only when the store is there.
        settings.receiver.default_queues.iter().for_each(valkey_receiver::telemetry::begin);
        Ok(Consumer { settings, connection, client, reporter, park, http, codecs })
    }
}

// === impl Consumer ===

impl Consumer {
    /// Begins to put one together.
    pub fn builder(settings: Settings) -> ConsumerBuilder {
        ConsumerBuilder { settings, codecs: Vec::new(), reporter: None }
    }

    /// One that goes by the settings alone.
    ///
    /// # Errors
    /// As [`ConsumerBuilder::bind`].
    pub async fn bind(settings: Settings) -> Result<Self, ConsumerError> {
        Self::builder(settings).bind().await
    }

    /// Looks at everything that a consumer with these settings depends on, and says what is wrong with it. Nobody is registered,
    /// nobody is told anything, and nothing listens; the service account is logged in once, unless its password was refused in the last
    /// ten minutes.
    ///
    /// # Errors
    /// [`ConsumerError`]: the settings are wrong already.
    pub async fn check(settings: &Settings) -> Result<Checkup, ConsumerError> {
        check::run(settings, false).await
    }

    /// The same, and the service account is logged in also if its password was refused: for who has made it right in the directory.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn check_login_anew(settings: &Settings) -> Result<Checkup, ConsumerError> {
        check::run(settings, true).await
    }

    /// Where metrics and health are served, if they are.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(Http::address)
    }

    /// The queues that it receives from.
    pub fn queues(&self) -> Vec<QueueName> {
        self.settings.receiver.default_queues.iter().cloned().collect()
    }

    /// Runs until it is told to end, and everything has ended. Gives the books of the receiver.
    ///
    /// While the store is away, it waits for it; while the directory or the bot is, it is parked.
    ///
    /// # Errors
    /// [`ConsumerError`]: the queue cannot be joined for a reason that people have to remove, or a part of it broke.
    ///
    /// # Cancel safety
    /// Dropped, it ends at once. What was in hand goes back and may be done twice, as after a crash.
    pub async fn run(self, shutdown: Shutdown) -> Result<DrainReport, ConsumerError> {
        let queues = self.queues();
        let Self { settings, connection, client, reporter, park, http, codecs } = self;
        let consumer = &settings.consumer;
        let prefix = consumer.key_prefix.as_str();
        let mut watched = JoinSet::new();
        if let Some(http) = http {
            watched.spawn(http.run(shutdown.clone()));
        }
        let office = Arc::new(Office {
            client: client.clone(),
            reporter,
            records: Records::new(connection.clone(), prefix, consumer.record_retention),
            turns: Turns::new(connection.clone(), prefix, consumer.applicant_lease),
            park: park.clone(),
            shutdown: shutdown.clone(),
            policy: Policy::of(&settings),
            domain: crate::flow::KnownDomain::default(),
            blame: std::sync::Mutex::default(),
        });
        let served = match join(&settings, &connection, &codecs, &park, &shutdown).await {
            Ok(Some(receiver)) => {
                park.attach(receiver.handle());
                let mut parts = JoinSet::new();
                parts.spawn(watch_over(park.clone(), Arc::clone(&office)));
                parts.spawn(look_after(Arc::clone(&office), settings.clone()));
                if !consumer.dead_letter_retention.is_zero() {
                    let admin = Admin::new(connection.clone());
                    parts.spawn(retention::purge(admin, queues, consumer.dead_letter_retention));
                }
                let ended = serve(receiver, Registrar::new(office), &mut parts, &shutdown).await;
                parts.shutdown().await;
                ended
            }
            Ok(None) => Ok(DrainReport::default()),
            Err(error) => Err(error),
        };
        client.close().await;
        connection.close().await;
        // Last: a consumer that drains is watched.
        watched.shutdown().await;
        served
    }
}

/// Joins the queue, and waits for the store for as long as it takes; `None` if it is to end before.
async fn join(
    settings: &Settings,
    connection: &Connection,
    codecs: &[Arc<dyn PayloadCodec>],
    park: &Park,
    shutdown: &Shutdown,
) -> Result<Option<Receiver>, ConsumerError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let builder = Receiver::builder(connection).settings(settings.receiver.clone());
        let builder = codecs.iter().cloned().fold(builder, valkey_receiver::ReceiverBuilder::codec);
        let started = tokio::select! {
            started = builder.start() => started,
            () = shutdown.draining() => return Ok(None),
        };
        let error = match started {
            Ok(receiver) => return Ok(Some(receiver)),
            Err(error) => error,
        };
        match &error {
            ReceiveError::Join { source, .. } if source.is_transient() => {
                tracing::warn!(%error, "waiting for the store");
                park.still(Trouble { kind: TroubleKind::Store, reason: error.to_string() });
            }
            _ => return Err(error.into()),
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.draining() => return Ok(None),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Serves until it is to end, or a part breaks.
async fn serve(
    receiver: Receiver,
    registrar: Registrar,
    parts: &mut JoinSet<()>,
    shutdown: &Shutdown,
) -> Result<DrainReport, ConsumerError> {
    let reins = receiver.handle();
    let wish = shutdown.clone();
    let serving = receiver.serve(registrar).with_graceful_shutdown(async move { wish.draining().await });
    let mut serving = std::pin::pin!(serving.into_future());
    let mut broken = None;
    let report = loop {
        tokio::select! {
            report = &mut serving => break report?,
            // What is in hand goes back with the receiver.
            () = shutdown.ending() => break DrainReport::default(),
            Some(ended) = parts.join_next(), if broken.is_none() => {
                broken = Some(ended.err().map_or_else(|| "it had nothing left to do".to_owned(), |error| error.to_string()));
                reins.drain();
            }
        }
    };
    match broken {
        None => Ok(report),
        Some(broken) => Err(ConsumerError::Broken(broken)),
    }
}

/// Checks, now and then, what is depended on: what will be wrong is better known before somebody registers.
async fn look_after(office: Arc<Office>, settings: Settings) {
    let every = settings.consumer.check_interval;
    loop {
        // As long as it is parked, somebody looks anyway.
        office.park.open().await;
        let findings = check::directory(&office.client, &settings).await;
        let faults: Vec<_> = findings.iter().filter(|finding| finding.is_bad()).collect();
        for finding in &faults {
            tracing::warn!(%finding, "a check found something wrong");
        }
        telemetry::faults_found(faults.len());
        if every.is_zero() {
            return std::future::pending().await;
        }
        sleep(every).await;
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("queues", &self.queues())
            .field("http", &self.http_address())
            .finish_non_exhaustive()
    }
}
