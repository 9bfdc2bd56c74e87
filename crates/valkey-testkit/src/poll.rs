//! Asking servers until what they say is right.

use std::time::{Duration, Instant};

use crate::{TestServer, TestkitError, runtime};

const PAUSE: Duration = Duration::from_millis(50);
/// One that does not answer in this time has been paused or cut off meanwhile, and is not counted.
const ANSWER: Duration = Duration::from_secs(2);

/// What a server answers to this, if it does.
pub(crate) async fn ask(server: &TestServer, command: &[&str]) -> Option<String> {
    if !server.answers() {
        return None;
    }
    within(ANSWER, server.cli(command)).await?.ok()
}

/// Asks again until it is fine, or says what was wrong last.
pub(crate) async fn wait<T>(
    limit: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, TestkitError> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt().await {
            Ok(found) => return Ok(found),
            Err(last) if Instant::now() >= deadline => {
                return Err(TestkitError::Timeout { what: what.to_owned(), waited: limit, last });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Like [`tokio::time::timeout`], on the testkit's clock.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = sleep(limit) => None,
    }
}

/// On the testkit's clock: the test's own may be paused, and end before this does.
async fn sleep(time: Duration) {
    // Made inside: a sleep belongs to the runtime on which it is made, not to the one on which it is awaited.
    runtime::run(async move { tokio::time::sleep(time).await }).await;
}

/// The value of a field of `INFO`; empty when it is not there.
pub(crate) fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    info.lines().find_map(value).unwrap_or_default().trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_bound_to_the_runtime_of_the_test() {
        // Made where there is no clock at all; the testkit's own has one.
        let bare = tokio::runtime::Builder::new_current_thread().build().expect("needs nothing");
        let work = async { std::future::ready(7).await };
        assert_eq!(bare.block_on(within(Duration::from_mins(1), work)), Some(7));
        assert_eq!(bare.block_on(within(Duration::from_millis(1), std::future::pending::<()>())), None);
    }

    #[test]
    fn fields_of_info_are_found_by_their_whole_name() {
        let info = "role:slave\r\nslave_repl_offset:7\r\n";
        assert_eq!((field(info, "role"), field(info, "repl_offset")), ("slave", ""));
    }
}
