//! Where a connection is to be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::watch;

use super::resp::Side;

/// A place to cut a connection at: after so many bytes of what the client says, or before one of the server's.
///
/// ```
/// use valkey_testkit::{Cut, Target};
///
/// let half_a_header = Cut::request_after(7); // of the next connection
/// let reply_withheld = Cut::reply_before(0).on(Target::Current);
/// let push_executed_but_not_confirmed = Cut::reply_before(0).of_command("LPUSH");
/// ```
#[derive(Debug, Clone)]
#[must_use = "a cut does nothing until a proxy is armed with it"]
pub struct Cut {
    pub(crate) side: Side,
    pub(crate) bytes: u64,
    pub(crate) target: Target,
    pub(crate) command: Option<Bytes>,
}

/// Which connections of a proxy a [`Cut`] lies in wait on. All but [`Every`](Target::Every) are cut once.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Whichever gets there first, of those there are and those to come.
    Any,
    /// Whichever gets there first, of those there are. Bytes count from now.
    Current,
    /// Each that is made from now on.
    Every,
    /// The next one made. Each cut takes one connection, in the order in which they were armed.
    Next,
    /// The one with this [number](crate::ConnectionReport::number), if it is yet to come.
    Nth(u64),
}

/// What became of a [`Cut`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutOutcome {
    /// It cut the connection of this number. The server has done all that it will do with what it got.
    Cut {
        /// The connection's number.
        connection: u64,
    },
    /// It never will: the connections it lay in wait on are closed, the command it was for was shorter, or it was
    /// disarmed.
    Missed,
}

/// A [`Cut`] that lies in wait. Dropping this does not disarm it.
#[derive(Debug)]
pub struct ArmedCut {
    pub(crate) shot: std::sync::Weak<Shot>,
    pub(crate) outcome: watch::Receiver<Option<CutOutcome>>,
}

impl Cut {
    /// The server gets the first `bytes` bytes of the client's and not one more, then both sides are closed.
    ///
    /// With 0 it gets none. With all bytes of a command it gets the command, and the reply has nowhere to go.
    pub fn request_after(bytes: u64) -> Self {
        Self { side: Side::Request, bytes, target: Target::Next, command: None }
    }

    /// The client gets the first `bytes` bytes of the server's, and when there is one more, both sides are closed.
    ///
    /// With 0 it gets none: the server has carried out what it was asked, and nobody hears of it.
    pub fn reply_before(bytes: u64) -> Self {
        Self { side: Side::Reply, bytes, target: Target::Next, command: None }
    }

    /// Says on which connections. [`Target::Next`] if not called, or [`Target::Any`] with a command.
    pub fn on(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Counts only the bytes of the first command that contains `bytes`, be it its name, a key or anything else,
    /// or of the reply to it.
    ///
    /// So a test can cut one command at each of its bytes, whatever else the connection carries, until the cut is
    /// [missed](CutOutcome::Missed): a request has one place more than it has bytes, a reply as many as bytes.
    /// Not for encrypted connections, nor for those that subscribe, where replies do not answer commands in turn.
    pub fn of_command(mut self, bytes: impl Into<Bytes>) -> Self {
        self.command = Some(bytes.into());
        if self.target == Target::Next {
            self.target = Target::Any;
        }
        self
    }
}

impl ArmedCut {
    /// What became of it, or `None` while it lies in wait.
    pub fn outcome(&self) -> Option<CutOutcome> {
        *self.outcome.borrow()
    }

    /// Waits until it is known what becomes of it: for ever, if the bytes it waits for never come.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait(&mut self) -> CutOutcome {
        let outcome = self.outcome.wait_for(Option::is_some).await;
        // Without a sender it lay in wait on nothing any more.
        outcome.ok().and_then(|outcome| *outcome).unwrap_or(CutOutcome::Missed)
    }

    /// Takes it back. One that has begun to cut goes on.
    pub fn disarm(self) {
        if let Some(shot) = self.shot.upgrade() {
            shot.disarm();
        }
    }
}

/// One armed cut, held by everything that may still carry it out. When nothing holds it any more, it was missed.
#[derive(Debug)]
pub(crate) struct Shot {
    repeats: bool,
    claimed: AtomicBool,
    outcome: watch::Sender<Option<CutOutcome>>,
}

impl Shot {
    pub(crate) fn arm(cut: &Cut) -> (Arc<Self>, ArmedCut) {
        let (outcome, receiver) = watch::channel(None);
        let repeats = cut.target == Target::Every;
        let shot = Arc::new(Self { repeats, claimed: AtomicBool::new(false), outcome });
        let armed = ArmedCut { shot: Arc::downgrade(&shot), outcome: receiver };
        (shot, armed)
    }

    /// Whether the caller may carry it out: only the first one may, unless it repeats.
    pub(crate) fn claim(&self) -> bool {
        if self.repeats { !self.is_spent() } else { !self.claimed.swap(true, Ordering::AcqRel) }
    }

    /// Whether somebody else has claimed it, or it was disarmed.
    pub(crate) fn is_spent(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }

    pub(crate) fn fired(&self, connection: u64) {
        self.outcome.send_replace(Some(CutOutcome::Cut { connection }));
    }

    pub(crate) fn missed(&self) {
        if !self.repeats {
            self.outcome.send_replace(Some(CutOutcome::Missed));
        }
    }

    pub(crate) fn disarm(&self) {
        if !self.claimed.swap(true, Ordering::AcqRel) {
            self.outcome.send_if_modified(|outcome| outcome.replace(CutOutcome::Missed).is_none());
        }
    }
}

impl Drop for Shot {
    fn drop(&mut self) {
        self.outcome.send_if_modified(|outcome| {
            let undecided = outcome.is_none();
            outcome.get_or_insert(CutOutcome::Missed);
            undecided
        });
    }
}
