//! Breaking a server, and bringing it back.

use std::sync::Arc;

use super::{Inner, Own};
use crate::supervisor::Signal;
use crate::{TestServer, TestkitError, runtime};

/// The incremental file with the highest number is the one that is written to.
const LOSE_TAIL: &str = r#"
set -e
file=$(ls "$1"/appendonlydir/*.incr.aof | sort -t . -k 3n | tail -n 1)
size=$(wc -c <"$file")
if [ "$size" -lt "$2" ]; then
    echo "$file has only $size bytes" >&2
    exit 1
fi
head -c "$((size - $2))" "$file" >"$file.new"
mv "$file.new" "$file"
"#;

/// Breaking it.
impl TestServer {
    /// Ends the server's process by `SIGKILL` and waits until it is gone: its clients are cut off, new ones are
    /// refused. Does nothing for a server that does not run.
    ///
    /// # Errors
    /// [`TestkitError::NeedsOwnServer`] for the server of `VALKIT_TEST_URL`.
    pub async fn kill(&self) -> Result<(), TestkitError> {
        self.own("kills it", |own| async move { own.supervisor.end(Signal::Kill).await }).await
    }

    /// Ends the server as an operator does, by `SIGTERM`, and waits until it is gone.
    ///
    /// # Errors
    /// [`TestkitError::NeedsOwnServer`] for the server of `VALKIT_TEST_URL`.
    pub async fn stop(&self) -> Result<(), TestkitError> {
        self.own("stops it", |own| async move { own.supervisor.end(Signal::Terminate).await }).await
    }

    /// Starts the server again under the same address, after [`kill`](Self::kill), [`stop`](Self::stop) or, if it
    /// still runs, a stop of its own. It finds the data that its persistence kept.
    ///
    /// # Errors
    /// [`TestkitError::NeedsOwnServer`] for the server of `VALKIT_TEST_URL`, [`TestkitError::Start`] when it does
    /// not come up.
    pub async fn restart(&self) -> Result<(), TestkitError> {
        self.own("restarts it", |own| async move {
            own.supervisor.end(Signal::Terminate).await?;
            own.supervisor.start().await
        })
        .await
    }

    /// Freezes the server (`SIGSTOP`): connections stay open and new ones are accepted by the kernel, but nothing
    /// is answered until [`resume`](Self::resume).
    ///
    /// # Errors
    /// [`TestkitError::NeedsOwnServer`] for the server of `VALKIT_TEST_URL`, [`TestkitError::State`].
    pub async fn pause(&self) -> Result<(), TestkitError> {
        self.own("pauses it", |own| async move { own.supervisor.pause(true).await }).await
    }

    /// Lets a paused server go on, with everything that was sent to it meanwhile.
    ///
    /// # Errors
    /// [`TestkitError::NeedsOwnServer`] for the server of `VALKIT_TEST_URL`, [`TestkitError::State`].
    pub async fn resume(&self) -> Result<(), TestkitError> {
        self.own("resumes it", |own| async move { own.supervisor.pause(false).await }).await
    }

    /// Takes the last `bytes` bytes off the append-only file of a server that does not run: what a machine that loses
    /// power may have lost. (A killed process loses nothing that it has written; the kernel keeps it.)
    ///
    /// # Errors
    /// [`TestkitError::State`] when it runs: kill or stop it first.
    /// [`TestkitError::Invalid`] when there is no such file, or it is shorter.
    pub async fn lose_append_only_tail(&self, bytes: u64) -> Result<(), TestkitError> {
        self.own("cuts its append-only file", move |own| async move {
            if own.supervisor.is_running() {
                let what = "kill it before its append-only file is cut";
                return Err(TestkitError::State { what, state: "running" });
            }
            let data = own.place.directories().1;
            let finished = own.place.shell(LOSE_TAIL, &[data, &bytes.to_string()]).await?;
            if finished.code == 0 {
                return Ok(());
            }
            Err(TestkitError::Invalid(String::from_utf8_lossy(&finished.stderr).trim().to_owned()))
        })
        .await
    }

    /// Whether its process exists, paused or not. The server of `VALKIT_TEST_URL` is taken to run.
    pub fn is_running(&self) -> bool {
        match &self.inner {
            Inner::Given(_) => true,
            Inner::Own(own) => own.supervisor.is_running(),
        }
    }

    /// The last lines of its log, over all its runs. Empty for the server of `VALKIT_TEST_URL`.
    pub fn log(&self) -> String {
        match &self.inner {
            Inner::Given(_) => String::new(),
            Inner::Own(own) => own.supervisor.log(),
        }
    }

    pub(super) async fn own<F, T>(
        &self,
        what: &'static str,
        act: impl FnOnce(Arc<Own>) -> F,
    ) -> Result<T, TestkitError>
    where
        F: Future<Output = Result<T, TestkitError>> + Send + 'static,
        T: Send + 'static,
    {
        match &self.inner {
            Inner::Given(_) => Err(TestkitError::NeedsOwnServer { what }),
            Inner::Own(own) => runtime::run(act(Arc::clone(own))).await,
        }
    }
}
