//! The signals that ask a verb to end.

use std::{
    io::{self, Write},
    process, thread,
    time::Duration,
};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{exit::Exit, failure::Failure};

/// How long what is decided may take to be carried out once the end is wished for.
const GRACE: Duration = Duration::from_secs(5);
/// How long a verb may take to end after the second signal.
const LAST: Duration = Duration::from_secs(3);
/// How long the last words may take: whoever should read them may be what everything waits for.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Cancelled by the first SIGINT or SIGTERM; the second one cancels the other token, and after a while, or a third one,
/// the process is gone whatever it waits for.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    /// Take nothing new, finish what is held.
    pub(crate) drain: CancellationToken,
    /// Finish nothing more.
    pub(crate) now: CancellationToken,
}

/// Both signals, which mean the same.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

// === impl Stop ===

impl Stop {
    /// Listens from here on.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let wrong = |error| Failure::io("listening for signals", error);
        let stop = Self { drain: CancellationToken::new(), now: CancellationToken::new() };
        let (ready, listening) = std::sync::mpsc::channel();
        let heard = stop.clone();
        // A thread and a runtime of its own: the second signal is heard though all others be blocked.
        let work = move || {
            let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async {
                match Signals::new() {
                    Ok(signals) => {
                        let _ = ready.send(Ok(()));
                        heard.hear(signals).await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        };
        thread::Builder::new().name("signals".to_owned()).spawn(work).map_err(wrong)?;
        let listens = listening.recv().unwrap_or_else(|_| Err(io::Error::other("its thread has ended")));
        listens.map_err(wrong)?;
        Ok(stop)
    }

    async fn hear(&self, mut signals: Signals) {
        signals.next().await;
        self.drain.cancel();
        signals.next().await;
        self.now.cancel();
        let _ = timeout(LAST, signals.next()).await;
        let (told, heard) = oneshot::channel();
        // Without a thread nothing is said.
        let _ = thread::Builder::new().spawn(move || {
            let _ = writeln!(
                io::stderr(),
                "error: ended by force; what was held is delivered again after its lease"
            );
            told.send(())
        });
        let _ = timeout(LAST_WORDS, heard).await;
        #[expect(clippy::disallowed_methods, reason = "whatever would return to main does not")]
        process::exit(Exit::Partial.code().into());
    }

    /// Ends a while after the wish to end: when both it and this call are that old.
    pub(crate) async fn overdue(&self) {
        self.drain.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }
}

// === impl Signals ===

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
