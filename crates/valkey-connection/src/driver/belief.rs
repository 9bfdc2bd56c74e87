//! Who is believed to be the primary, and the links that lead there. They change together: who learns of another primary
//! finds the links to the former one shut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fred::types::config::Server;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::board::{Board, Primary, Word};

/// The way into a link.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    shut: Arc<AtomicBool>,
    /// The driver's task, which does all the writing.
    task: AbortHandle,
}

impl Gate {
    pub(super) fn new(task: AbortHandle) -> Self {
        Self { shut: Arc::default(), task }
    }

    /// Lets nothing more in, and lets nothing more be written of what is inside. Only where the driver's task is running on
    /// another thread at this very moment, it first comes to its next pause.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
        self.task.abort();
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }

    /// Whether the driver's task has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

/// What is believed by whom all Sentinels of a connection are asked for.
#[derive(Debug)]
pub(super) struct Belief(watch::Sender<Believed>);

/// The board, and the gates of the links to whom it names.
#[derive(Debug)]
pub(super) struct Believed {
    pub(super) board: Board,
    gates: Vec<Gate>,
}

impl Belief {
    pub(super) fn new(sentinels: Vec<Server>) -> Self {
        Self(watch::Sender::new(Believed { board: Board::new(sentinels), gates: Vec::new() }))
    }

    /// Writes down what Sentinel number `who` says. Should another primary be believed in from now on, the links to the
    /// former one are shut before anybody hears of it.
    pub(super) fn note(&self, service: &str, who: usize, word: Word) {
        self.0.send_if_modified(|believed| {
            let before = believed.board.primary().cloned();
            let switched = believed.board.note(who, word);
            if let (true, Some(primary)) = (switched, believed.board.primary()) {
                believed.gates.drain(..).for_each(|gate| gate.shut());
                let from = before.map(|known| known.address());
                tracing::info!(service, from, to = %primary.server, epoch = primary.epoch, "the Sentinels name a primary");
            }
            true
        });
    }

    /// Ties a link to this primary: it ends when another one is believed in. `false`, and ended already, if that is so.
    pub(super) fn tie(&self, primary: &Primary, gate: &Gate) -> bool {
        let mut in_time = false;
        // Under the lock under which beliefs change.
        self.0.send_if_modified(|believed| {
            in_time = believed.board.primary() == Some(primary);
            if in_time {
                believed.gates.retain(|other| !other.is_finished());
                believed.gates.push(gate.clone());
            } else {
                gate.shut();
            }
            false
        });
        in_time
    }

    /// Who is believed in.
    pub(super) fn primary(&self) -> Option<Primary> {
        self.0.borrow().board.primary().cloned()
    }

    /// Hears of each word.
    pub(super) fn subscribe(&self) -> watch::Receiver<Believed> {
        self.0.subscribe()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use valkey_testkit::TestServer;

    use super::super::link::{Link, Request, Returns};
    use super::super::{Dialer, endpoint};
    use super::*;
    use crate::arg::Arg;
    use crate::credentials::Credentials;
    use crate::error::Error;
    use crate::reply::Reply;
    use crate::settings::ConnectionSettings;

    async fn dial(server: &TestServer) -> (Primary, Link) {
        let settings = ConnectionSettings::from_url(&server.url()).unwrap();
        let credentials = Arc::new(Credentials::new(&settings));
        let origin = endpoint::origin(&settings);
        let (host, port) =
            server.address().rsplit_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
        let primary = Primary { server: Server::new(host, port.parse().unwrap()), epoch: 1 };
        let dialer = Dialer { settings, tls: None };
        let server = primary.server_config();
        let link = dialer.dial(server, None, &credentials, &origin, Returns::Never).await.unwrap();
        (primary, link)
    }

    async fn push(link: &Link, value: &'static str) -> Result<Reply, Error> {
        let args = vec![Arg::from_static("q"), Arg::from_static(value)];
        link.call(Request::internal("LPUSH", args, Duration::from_secs(3))).await
    }

    fn elsewhere() -> Word {
        Word::Says(Primary { server: Server::new("elsewhere", 6379), epoch: 2 })
    }

    #[tokio::test]
    async fn once_another_primary_is_named_nothing_more_is_written_to_the_former_one() {
        let server = TestServer::start().await.unwrap();
        let (primary, link) = dial(&server).await;
        let belief = Belief::new(vec![primary.server.clone()]);
        belief.note("orders", 0, Word::Says(primary.clone()));
        assert!(belief.tie(&primary, link.gate()));
        push(&link, "before").await.unwrap();

        // In the driver's hands, but its task has not run since; it is woken before anybody else is.
        let mut queued = pin!(push(&link, "queued"));
        assert!(futures::poll!(queued.as_mut()).is_pending());
        belief.note("orders", 0, elsewhere());
        let (queued, late) = tokio::join!(queued, push(&link, "late"));
        assert!(late.as_ref().is_err_and(Error::is_not_sent), "{late:?}");
        assert!(queued.as_ref().is_err_and(Error::outcome_unknown), "{queued:?}");
        link.over().await;
        assert!(!link.seems_connected());
        assert_eq!(server.cli(&["LRANGE", "q", "0", "-1"]).await.unwrap(), "before");
    }

    #[tokio::test]
    async fn a_link_that_was_made_too_late_is_shut_at_once() {
        let server = TestServer::start().await.unwrap();
        let (primary, link) = dial(&server).await;
        let belief = Belief::new(vec![primary.server.clone()]);
        belief.note("orders", 0, Word::Says(primary.clone()));
        belief.note("orders", 0, elsewhere());
        assert!(!belief.tie(&primary, link.gate()));
        assert!(push(&link, "late").await.is_err_and(|error| error.is_not_sent()));
        assert_eq!(server.cli(&["EXISTS", "q"]).await.unwrap(), "0");
    }
}
