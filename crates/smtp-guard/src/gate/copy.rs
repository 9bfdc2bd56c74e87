//! Carries bytes both ways between a client and the mail server.
//!
//! Nothing is kept while nothing is said: bytes pass through a buffer of the thread, and only what the other side does not
//! take at once is kept apart.

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// What one turn carries at most.
const TURN: usize = 16 * 1_024;
/// How long a client may take to close when the mail server has closed.
const LINGER: Duration = Duration::from_secs(2);
/// Longer than any process runs.
const FOREVER: Duration = Duration::from_hours(24 * 365 * 30);

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; TURN].into());
}

/// How long a connection may last, and how long it may say nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    session: Duration,
    idle: Duration,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Both sides have closed.
    Closed,
    /// It broke on one side.
    Broken,
    /// It said nothing for too long.
    Idle,
    /// It lasted too long.
    Overdue,
    /// This node ends.
    Cut,
}

/// When something was last carried.
struct Activity {
    begun: Instant,
    /// Milliseconds later.
    last: AtomicU64,
}

enum Turn {
    Carried,
    /// This is left.
    Rest(Vec<u8>),
    /// There was nothing after all.
    Nothing,
    End,
}

impl Patience {
    /// Zero stands for as long as it likes.
    pub(super) fn new(session: Duration, idle: Duration) -> Self {
        let unless_zero = |time: Duration| if time.is_zero() { FOREVER } else { time.min(FOREVER) };
        Self { session: unless_zero(session), idle: unless_zero(idle) }
    }
}

/// Carries until there is nothing more to carry, or nobody wants it to go on.
pub(super) async fn run(
    client: &mut TcpStream,
    backend: &mut TcpStream,
    patience: Patience,
    cut: &CancellationToken,
) -> Ending {
    let begun = Instant::now();
    let activity = Activity { begun, last: AtomicU64::new(0) };
    let (from_client, to_client) = client.split();
    let (from_backend, to_backend) = backend.split();
    let mut up = pin!(one_way(from_client, to_backend, &activity));
    let mut down = pin!(one_way(from_backend, to_client, &activity));
    let mut timer = pin!(sleep_until(begun));
    let (mut is_up, mut is_down) = (true, true);
    let overdue = begun + patience.session;
    let mut linger = None;
    while is_up || is_down {
        let ended = tokio::select! {
            ended = &mut up, if is_up => {
                is_up = false;
                ended
            }
            ended = &mut down, if is_down => {
                (is_down, linger) = (false, Some(Instant::now() + LINGER));
                timer.as_mut().reset(Instant::now());
                ended
            }
            () = &mut timer => {
                let (now, idle) = (Instant::now(), activity.last() + patience.idle);
                if linger.is_some_and(|linger| linger <= now) {
                    return Ending::Closed;
                } else if overdue <= now {
                    return Ending::Overdue;
                } else if idle <= now {
                    return Ending::Idle;
                }
                timer.as_mut().reset(idle.min(overdue).min(linger.unwrap_or(idle)));
                Ok(())
            }
            () = cut.cancelled() => return Ending::Cut,
        };
        if ended.is_err() {
            return Ending::Broken;
        }
    }
    Ending::Closed
}

/// Carries until one side ends; its end is told to the other.
async fn one_way(from: ReadHalf<'_>, mut to: WriteHalf<'_>, activity: &Activity) -> io::Result<()> {
    loop {
        from.readable().await?;
        match turn(&from, &to)? {
            Turn::Nothing => continue,
            Turn::Carried => {}
            Turn::Rest(rest) => {
                let mut left = &rest[..];
                while !left.is_empty() {
                    to.writable().await?;
                    match to.try_write(left) {
                        Ok(written) => {
                            left = &left[written..];
                            activity.note();
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Turn::End => return to.shutdown().await,
        }
        activity.note();
        // One that never runs dry must not keep the thread from the others.
        tokio::task::coop::consume_budget().await;
    }
}

/// Carries what is there and what the other side takes. Not async, so that the buffer is nobody's in between.
fn turn(from: &ReadHalf<'_>, to: &WriteHalf<'_>) -> io::Result<Turn> {
    BUFFER.with_borrow_mut(|buffer| {
        let read = match from.try_read(buffer) {
            Ok(0) => return Ok(Turn::End),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Turn::Nothing),
            Err(error) => return Err(error),
        };
        let written = match to.try_write(&buffer[..read]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        Ok(if written == read { Turn::Carried } else { Turn::Rest(buffer[written..read].to_vec()) })
    })
}

impl Activity {
    fn note(&self) {
        self.last.store(self.begun.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}
