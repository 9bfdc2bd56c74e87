//! What is seen while it runs: a bar on a terminal, plain lines elsewhere. On stderr, like all words.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::world::Backlog;
use crate::run;

/// Between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The bar, or nothing where nobody looks.
#[derive(Debug)]
pub(crate) struct Display {
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Display {
    pub(crate) fn new(registrations: usize) -> Self {
        let watched = std::io::stderr().is_terminal() && !run::on_ci();
        let bar = watched.then(|| {
            let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len}  {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(registrations as u64).with_style(style.progress_chars("=> "))
        });
        Self { bar, last_line: Instant::now() }
    }

    /// How far it has come: registrations that were sent, and what is in the queue.
    pub(crate) fn show(&mut self, sent: usize, backlog: Backlog, killed: u64) {
        let Backlog { ready, delayed, in_flight, dead } = backlog;
        let text =
            format!("ready {ready}  in flight {in_flight}  delayed {delayed}  dead {dead}  killed {killed}");
        match &self.bar {
            Some(bar) => {
                bar.set_position((sent as u64).saturating_sub(backlog.open()));
                bar.set_message(text);
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                eprintln!("        sent {sent}  {text}");
            }
            None => {}
        }
    }

    /// A line that stays.
    pub(crate) fn step(&self, text: impl std::fmt::Display) {
        match &self.bar {
            Some(bar) => bar.suspend(|| run::step(text)),
            None => run::step(text),
        }
    }

    pub(crate) fn end(&self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}
