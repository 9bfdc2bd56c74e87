//! Where the primary is: what the Sentinels say, asked all the time.
//!
//! Each Sentinel has a task of its own that stays connected to it, so that one that is dead, paused or cut off holds up
//! nobody, and a failover is heard of when it happens, not when a socket breaks. The driver's own Sentinel mode asks one
//! after the other, and only when a socket has broken (docs/adr/0002-fred-behind-one-crate.md).

use std::sync::Arc;
use std::time::Duration;

use fred::interfaces::{EventInterface, PubsubInterface};
use fred::types::Message;
use fred::types::config::{Server, ServerConfig};
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::belief::{Belief, Gate};
use super::board::{Primary, Word};
use super::link::Returns;
use super::{Dialer, Link, Request};
use crate::arg::Arg;
use crate::credentials::Credentials;
use crate::error::{Error, ErrorKind, Origin, Progress};
use crate::reply::Reply;
use crate::settings::ConnectionSettings;

/// Where Sentinels tell of a failover.
const NEWS: &str = "+switch-master";
/// How long the first to answer waits for the others: it may be the one that was cut off and knows nothing new.
const COMPANY: Duration = Duration::from_millis(300);
/// Between two tries to reach a Sentinel.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The Sentinels of one connection.
pub(crate) struct Sentinels {
    service: String,
    /// All of them together, and who we are to them.
    origin: Arc<Origin>,
    belief: Arc<Belief>,
    _askers: Vec<AbortOnDropHandle<()>>,
}

/// What the task of one Sentinel needs.
struct Asker {
    dialer: Arc<Dialer>,
    host: Server,
    service: String,
    who: usize,
    belief: Arc<Belief>,
    origin: Arc<Origin>,
    credentials: Arc<Credentials>,
}

/// A connection to a Sentinel, what it tells unasked, and its first answer.
type Begun = (Link, Receiver<Message>, Result<Primary, Error>);

impl Sentinels {
    /// Starts to ask, on the current runtime, until this is dropped.
    pub(super) fn start(dialer: &Arc<Dialer>, hosts: Vec<Server>, service: &str, origin: &Origin) -> Self {
        let settings = &dialer.settings;
        let credentials = Arc::new(Credentials::of_sentinels(settings));
        let user = settings.sentinel_username.as_deref().unwrap_or("default");
        let belief = Arc::new(Belief::new(hosts.clone()));
        let askers = hosts.into_iter().enumerate().map(|(who, host)| {
            let asker = Asker {
                dialer: Arc::clone(dialer),
                service: service.to_owned(),
                who,
                belief: Arc::clone(&belief),
                origin: Arc::new(Origin {
                    server: format!("Sentinel {host}"),
                    user: user.to_owned(),
                    fixed: false,
                }),
                credentials: Arc::clone(&credentials),
                host,
            };
            AbortOnDropHandle::new(tokio::spawn(asker.run()))
        });
        let askers = askers.collect();
        let origin = Arc::new(Origin { server: origin.server.clone(), user: user.to_owned(), fixed: false });
        Self { service: service.to_owned(), origin, belief, _askers: askers }
    }

    /// Where the primary is.
    ///
    /// # Errors
    /// No Sentinel that can be reached names one, and why.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn primary(&self, deadline: Instant) -> Result<Primary, Error> {
        let mut news = self.belief.subscribe();
        let mut company = None;
        loop {
            let until = {
                let believed = news.borrow_and_update();
                let board = &believed.board;
                match board.vouched() {
                    Some(primary) => {
                        let company = *company.get_or_insert_with(|| Instant::now() + COMPANY);
                        if board.has_majority() || board.is_complete() || Instant::now() >= company {
                            return Ok(primary.clone());
                        }
                        company
                    }
                    None if board.is_complete() || Instant::now() >= deadline => {
                        return Err(board.why_not(&self.service).with_origin(&self.origin));
                    }
                    None => deadline,
                }
            };
            let _ = timeout_at(until, news.changed()).await;
        }
    }

    /// Waits until somebody else than `primary` is believed in; for ever when nobody asks any more.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) fn until_not(&self, primary: Option<Primary>) -> impl Future<Output = ()> + Send + use<> {
        let mut news = self.belief.subscribe();
        async move {
            if news.wait_for(|believed| believed.board.primary() != primary.as_ref()).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ties a link to this primary: it ends when another one is believed in. `false`, and ended already, if that is so.
    pub(super) fn tie(&self, primary: &Primary, gate: &Gate) -> bool {
        self.belief.tie(primary, gate)
    }

    /// Who is believed in.
    pub(super) fn believed(&self) -> Option<Primary> {
        self.belief.primary()
    }
}

impl Asker {
    async fn run(self) {
        let mut pause = PAUSE;
        loop {
            let started = Instant::now();
            let error = self.attend().await;
            tracing::debug!(sentinel = %self.host, %error, "a Sentinel cannot be asked");
            self.note(Word::Failed(error));
            if started.elapsed() > LONGEST_PAUSE {
                pause = PAUSE;
            }
            sleep(pause.mul_f64(rand::random_range(0.8..1.2))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks again and again over one connection; returns why that has come to an end.
    async fn attend(&self) -> Error {
        let (link, mut news, mut answer) = match self.begin().await {
            Ok(begun) => begun,
            Err(error) => return error,
        };
        let settings = &self.dialer.settings;
        loop {
            match answer {
                Ok(primary) => self.note(Word::Says(primary)),
                // It is there, and has nothing to say.
                Err(error) if error.progress() == Progress::Answered => self.note(Word::Failed(error)),
                Err(error) => return error,
            }
            tokio::select! {
                () = link.over() => {
                    let lost = Error::new(ErrorKind::Disconnected, Progress::NotSent, "the connection was lost");
                    return lost.with_origin(&self.origin);
                }
                _ = news.recv() => {}
                () = sleep(settings.probe_interval.mul_f64(rand::random_range(0.8..1.2))) => {}
            }
            answer = self.ask(&link, settings).await;
        }
    }

    /// A connection, the news that come over it, and the first answer.
    ///
    /// The driver does not wait for the answer to a subscription: it takes a refusal for the answer to the question that
    /// follows, and then each answer for that of the question before. So a refusal is the end of the connection. The next
    /// one does without: who may not listen hears of another primary a little later, by asking.
    async fn begin(&self) -> Result<Begun, Error> {
        let begun = self.begin_with(true).await?;
        match &begun.2 {
            Err(error) if error.kind() == ErrorKind::Denied => self.begin_with(false).await,
            _ => Ok(begun),
        }
    }

    async fn begin_with(&self, subscription: bool) -> Result<Begun, Error> {
        let settings = &self.dialer.settings;
        let link = self.connect().await?;
        let news = link.client().message_rx();
        if subscription {
            let _ = timeout(settings.probe_timeout, link.client().subscribe(NEWS)).await;
        }
        let answer = self.ask(&link, settings).await;
        Ok((link, news, answer))
    }

    async fn connect(&self) -> Result<Link, Error> {
        let server = ServerConfig::Centralized { server: self.host.clone() };
        self.dialer.dial(server, None, &self.credentials, &self.origin, Returns::Never).await
    }

    /// What this Sentinel believes. Its epoch is read before and after the address: the two belong together.
    async fn ask(&self, link: &Link, settings: &ConnectionSettings) -> Result<Primary, Error> {
        loop {
            let epoch = self.epoch(link, settings).await?;
            let server = self.address(link, settings).await?;
            if self.epoch(link, settings).await? == epoch {
                return Ok(Primary { server, epoch });
            }
        }
    }

    async fn epoch(&self, link: &Link, settings: &ConnectionSettings) -> Result<u64, Error> {
        let args = vec![Arg::from_static("MASTER"), Arg::from(&self.service)];
        let reply = link.call(Request::internal("SENTINEL MASTER", args, settings.probe_timeout)).await;
        for (name, value) in reply.map_err(|error| self.explain(error))?.into_pairs()? {
            if name.into_string()? == "config-epoch" {
                return value.into_string()?.parse().map_err(|_| Error::unexpected("an epoch", "no number"));
            }
        }
        Err(Error::unexpected("a primary with an epoch", "without one"))
    }

    async fn address(&self, link: &Link, settings: &ConnectionSettings) -> Result<Server, Error> {
        let args = vec![Arg::from_static("GET-MASTER-ADDR-BY-NAME"), Arg::from(&self.service)];
        let request = Request::internal("SENTINEL GET-MASTER-ADDR-BY-NAME", args, settings.probe_timeout);
        let reply = link.call(request).await.map_err(|error| self.explain(error))?;
        let parts: [Reply; 2] = reply
            .into_array()?
            .try_into()
            .map_err(|_| Error::unexpected("host and port", "something else"))?;
        let [host, port] = parts;
        let port = port.into_string()?.parse().map_err(|_| Error::unexpected("a port", "no number"))?;
        let mut server = Server::new(host.into_string()?, port);
        server.tls_server_name.clone_from(&self.host.tls_server_name);
        Ok(server)
    }

    fn explain(&self, error: Error) -> Error {
        let Some(message) = error.server_message() else { return error };
        let remedy = if message.contains("No such master") {
            "it watches no primary of that name: set sentinel_service to one that `SENTINEL MASTERS` lists"
        } else if message.contains("unknown command") {
            "it is no Sentinel: give the addresses of the Sentinels, or set mode to `standalone`"
        } else {
            return error;
        };
        Error::new(ErrorKind::Configuration, Progress::Answered, remedy).with_origin(&self.origin)
    }

    fn note(&self, word: Word) {
        self.belief.note(&self.service, self.who, word);
    }
}
