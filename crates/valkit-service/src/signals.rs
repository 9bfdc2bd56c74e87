//! The signals that ask a program to end.

use std::io::{self, Write as _};
use std::time::Duration;
use std::{process, thread};

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::exit::Exit;
use crate::shutdown::Shutdown;

/// How long the program may take to end after the second signal.
const LAST: Duration = Duration::from_secs(3);

/// The first SIGINT or SIGTERM drains, the second ends at once; after a while, or a third one, the process is gone whatever
/// it waits for, with these last words on stderr and [`Exit::Partial`].
///
/// # Errors
/// The system gives no thread or no signals.
pub fn listen(shutdown: Shutdown, last_words: &'static str) -> io::Result<()> {
    let (ready, listening) = std::sync::mpsc::channel();
    // A thread and a runtime of its own: the second signal is heard though all others be blocked.
    let work = move || {
        let heard = || -> io::Result<_> {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let signals = {
                let _inside = runtime.enter();
                [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]
            };
            Ok((runtime, signals))
        };
        match heard() {
            Ok((runtime, signals)) => {
                let _ = ready.send(Ok(()));
                runtime.block_on(hear(signals, &shutdown, last_words));
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(work)?;
    listening.recv().unwrap_or_else(|_| Err(io::Error::other("its thread has ended")))
}

async fn hear(mut signals: [Signal; 2], shutdown: &Shutdown, last_words: &'static str) {
    next(&mut signals).await;
    shutdown.drain();
    next(&mut signals).await;
    shutdown.now();
    let _ = timeout(LAST, next(&mut signals)).await;
    // Whoever should read it may be what everything waits for.
    let _ = thread::Builder::new().spawn(move || {
        let _ = writeln!(io::stderr(), "error: ended by force; {last_words}");
    });
    thread::sleep(Duration::from_millis(100));
    #[expect(clippy::disallowed_methods, reason = "whatever would return to main does not")]
    process::exit(Exit::Partial.code().into());
}

async fn next(signals: &mut [Signal; 2]) {
    let [interrupt, terminate] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
