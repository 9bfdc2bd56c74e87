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
            // On the testkit's clock: the test's own may be paused.
            Err(_) => runtime::run(tokio::time::sleep(PAUSE)).await,
        }
    }
}

/// Like [`tokio::time::timeout`], on the testkit's clock.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let late = runtime::run(tokio::time::sleep(limit));
    tokio::select! {
        done = work => Some(done),
        () = late => None,
    }
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
    fn fields_of_info_are_found_by_their_whole_name() {
        let info = "role:slave\r\nslave_repl_offset:7\r\n";
        assert_eq!((field(info, "role"), field(info, "repl_offset")), ("slave", ""));
    }
}
