//! When our connections learnt of another primary, by their own log.

use std::io::Write;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

/// What a connection logs when it believes in another primary. By then its links to the former one are shut.
const NAMED: &str = "the Sentinels name a primary";

static HEARD: Mutex<Vec<(Instant, String)>> = Mutex::new(Vec::new());

#[derive(Clone, Copy)]
struct Lines;

/// One line is one write.
impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);

        if line.contains(NAMED) {
            HEARD.lock().unwrap().push((Instant::now(), line.into_owned()));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// From now on it is written down, for all tests of the process.
pub(crate) fn listen() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let log = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::INFO);
        log.with_ansi(false).with_writer(|| Lines).init();
    });
}

/// When each connection was told that `new` is the primary and no longer `old`, the first one first.
pub(crate) fn heard(old: &str, new: &str) -> Vec<Instant> {
    let (from, to) = (format!("from=\"{old}\" "), format!("to={new} "));
    let heard = HEARD.lock().unwrap();
    let mut times: Vec<Instant> = heard
        .iter()
        .filter(|(_, line)| line.contains(&from) && line.contains(&to))
        .map(|(at, _)| *at)
        .collect();
    times.sort_unstable();
    times
}
