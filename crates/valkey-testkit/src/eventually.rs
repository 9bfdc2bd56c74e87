//! Waiting for what has to come.

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::runtime;

/// Longer than anything takes that works, on a busy machine, too: a wait of this length is a failure.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks again and again until there is an answer.
///
/// For what happens by itself after some time that a test has no say in. How long that may be is not judged here: a test of
/// a promised time measures it.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let mut looks = 0;
/// let found = valkey_testkit::eventually("a third look", async || {
///     looks += 1;
///     (looks == 3).then_some("here it is")
/// });
/// assert_eq!(found.await, "here it is");
/// # });
/// ```
///
/// # Panics
/// When nothing has come for half a minute: with `what` was waited for, and where.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    soon(what, async move {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(PAUSE).await;
        }
    })
}

/// Waits for what a test cannot go on without.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let (sender, receiver) = tokio::sync::oneshot::channel();
/// sender.send("a message").unwrap();
/// assert_eq!(valkey_testkit::soon("a message", receiver).await, Ok("a message"));
/// # });
/// ```
///
/// # Panics
/// When it has not come for half a minute: with `what` was waited for, and where.
#[track_caller]
pub fn soon<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    within(PATIENCE, what, Location::caller(), future)
}

async fn within<F: Future>(limit: Duration, what: &str, asked: &Location<'_>, future: F) -> F::Output {
    tokio::select! {
        // What has come is not late, however busy the machine was meanwhile.
        biased;
        done = future => done,
        () = sleep(limit) => panic!("waited in vain for {what} ({asked})"),
    }
}

/// On the testkit's clock: the test's own may be paused.
async fn sleep(time: Duration) {
    let mut alarm = Alarm(runtime::handle().spawn(async move { tokio::time::sleep(time).await }));
    // It is aborted by nobody but its own drop.
    let _ = (&mut alarm.0).await;
}

/// Nobody waits for it any more once it is dropped.
struct Alarm(JoinHandle<()>);

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Without a clock of its own.
    fn bare() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("needs nothing")
    }

    #[test]
    fn waiting_needs_no_clock_of_the_test() {
        let mut looks = 0;
        let found = eventually("a third look", async || {
            looks += 1;
            (looks == 3).then_some(7)
        });
        assert_eq!(bare().block_on(found), 7);
        assert_eq!(bare().block_on(soon("an answer", async { 8 })), 8);
    }

    #[test]
    fn who_waits_in_vain_is_told_for_what_and_where() {
        let asked = Location::caller();
        let waiting = within(Duration::from_millis(1), "a miracle", asked, std::future::pending::<()>());
        let panic = catch_unwind(AssertUnwindSafe(|| bare().block_on(waiting))).expect_err("none happens");
        let told = panic.downcast_ref::<String>().expect("a text with values in it");
        assert!(
            told.starts_with("waited in vain for a miracle (") && told.contains("eventually.rs:"),
            "{told}"
        );
    }
}
