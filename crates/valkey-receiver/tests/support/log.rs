//! What this process logs, for tests that promise it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Write;
use std::sync::{Mutex, OnceLock};

use crate::support::until;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

#[derive(Clone, Copy)]
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// From now on everything is kept, of all threads.
pub(crate) fn keep() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        tracing::subscriber::set_global_default(log.with_writer(|| Lines).finish()).unwrap();
    });
}

/// All lines that contain each of `parts`.
pub(crate) fn lines_with(parts: &[&str]) -> Vec<String> {
    let all = String::from_utf8_lossy(&LINES.lock().unwrap()).into_owned();
    all.lines().filter(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned).collect()
}

/// Waits for such a line.
pub(crate) async fn until_line(parts: &[&str]) {
    until(&format!("a line with {parts:?}"), async || (!lines_with(parts).is_empty()).then_some(())).await;
}
