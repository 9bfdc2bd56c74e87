//! Hints on a shard channel, on a socket that heals by itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fred::interfaces::{EventInterface, PubsubInterface};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::driver::{Driver, Link};
use crate::error::{Error, ErrorKind};
use crate::telemetry;

/// How often a subscription is renewed. Renewing is idempotent, proves that the socket lives, and finds the channel
/// again after its slot has moved to another node (the old one drops the subscription without a word to us).
const RENEW: Duration = Duration::from_secs(5);
/// Hints that wait to be received. More of them say nothing new.
const WAITING: usize = 16;

/// A hint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bell {
    /// Somebody rang.
    Rang,
    /// The connection was away: somebody may have rung meanwhile.
    MaybeMissed,
}

/// Receives the hints of one shard channel.
///
/// Hints are lossy by nature; this adds that none is lost silently: after every gap there is one
/// [`MaybeMissed`](Bell::MaybeMissed). What a hint stands for has to be looked up elsewhere.
pub struct Listener {
    bells: mpsc::Receiver<Bell>,
    channel: Arc<str>,
    /// Ends the task and its socket.
    _guard: DropGuard,
}

impl Listener {
    pub(crate) async fn start(
        driver: Arc<Driver>,
        channel: &str,
        closed: &CancellationToken,
    ) -> Result<Self, Error> {
        let channel: Arc<str> = channel.into();
        let subscription = Subscription::open(&driver, &channel).await?;
        let (sender, bells) = mpsc::channel(WAITING);
        let stop = closed.child_token();
        let guard = stop.clone().drop_guard();
        let name = Arc::clone(&channel);
        tokio::spawn(async move {
            let listening = Box::pin(listen(driver, name, subscription, sender));
            stop.run_until_cancelled(listening).await;
        });
        Ok(Self { bells, channel, _guard: guard })
    }

    /// Waits for the next hint; for ever once the connection was closed.
    ///
    /// # Cancel safety
    /// Cancel safe: no hint is lost when the future is dropped.
    pub async fn recv(&mut self) -> Bell {
        match self.bells.recv().await {
            Some(bell) => bell,
            // The connection was closed, or the runtime of the task ended: nobody will ring any more.
            None => std::future::pending().await,
        }
    }

    /// The channel listened to.
    pub fn channel(&self) -> &str {
        &self.channel
    }
}

/// One subscribed socket.
struct Subscription {
    link: Link,
    messages: broadcast::Receiver<fred::types::Message>,
    reconnects: broadcast::Receiver<fred::types::config::Server>,
}

impl Subscription {
    async fn open(driver: &Driver, channel: &Arc<str>) -> Result<Self, Error> {
        let link = driver.connect().await?;
        let (messages, reconnects) = (link.client().message_rx(), link.reconnects());
        let subscription = Self { link, messages, reconnects };
        subscription.renew(driver, channel).await?;
        Ok(subscription)
    }

    async fn renew(&self, driver: &Driver, channel: &Arc<str>) -> Result<(), Error> {
        let limit = driver.settings().read_timeout;
        let result = match timeout(limit, self.link.client().ssubscribe(channel.to_string())).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => driver.connect_error(&error),
            Err(_elapsed) => Error::new(
                ErrorKind::Timeout,
                crate::error::Progress::Unknown,
                format!("no reply within {limit:?}"),
            ),
        };
        Err(result.with_operation("SSUBSCRIBE").with_origin(driver.origin()))
    }
}

async fn listen(
    driver: Arc<Driver>,
    channel: Arc<str>,
    mut current: Subscription,
    bells: mpsc::Sender<Bell>,
) {
    loop {
        let error = relay(&driver, &channel, &mut current, &bells).await;
        tracing::debug!(%error, channel = &*channel, "listening has to start again");
        let mut pause = Duration::from_millis(100);
        current = loop {
            let believed = driver.believed();
            match Subscription::open(&driver, &channel).await {
                Ok(subscription) => break subscription,
                Err(error) => {
                    telemetry::store_error(&error);
                    tokio::select! {
                        () = sleep(pause.mul_f64(rand::random_range(0.8..1.2))) => {
                            pause = (pause * 2).min(Duration::from_secs(5));
                        }
                        () = driver.until_elsewhere(believed) => {}
                    }
                }
            }
        };
        telemetry::reconnected("listener");
        ring(&bells, Bell::MaybeMissed);
    }
}

/// Passes hints on until the subscription is broken.
async fn relay(
    driver: &Driver,
    channel: &Arc<str>,
    current: &mut Subscription,
    bells: &mpsc::Sender<Bell>,
) -> Error {
    let mut renewal = Instant::now() + RENEW;
    loop {
        tokio::select! {
            message = current.messages.recv() => match message {
                Ok(_) => ring(bells, Bell::Rang),
                Err(broadcast::error::RecvError::Lagged(_)) => ring(bells, Bell::MaybeMissed),
                Err(broadcast::error::RecvError::Closed) => {
                    return Error::new(ErrorKind::Disconnected, crate::error::Progress::Unknown, "closed");
                }
            },
            // The driver is connected again, but it does not subscribe by itself.
            event = current.reconnects.recv() => {
                if let Err(broadcast::error::RecvError::Closed) = event {
                    return Error::new(ErrorKind::Disconnected, crate::error::Progress::Unknown, "closed");
                }
                if let Err(error) = current.renew(driver, channel).await {
                    return error;
                }
                ring(bells, Bell::MaybeMissed);
            }
            () = current.link.over() => {
                return Error::new(ErrorKind::Disconnected, crate::error::Progress::Unknown, "closed");
            }
            () = tokio::time::sleep_until(renewal) => {
                if let Err(error) = current.renew(driver, channel).await {
                    return error;
                }
                renewal = Instant::now() + RENEW;
            }
        }
    }
}

/// A full queue rings by itself.
fn ring(bells: &mpsc::Sender<Bell>, bell: Bell) {
    let _ = bells.try_send(bell);
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("channel", &self.channel).finish_non_exhaustive()
    }
}
