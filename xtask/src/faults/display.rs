//! What is seen while the tests run: a bar on a terminal, plain lines elsewhere. On stderr, like all words.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::places::Program;
use super::report::Line;
use crate::run;

/// The bar, or nothing where nobody looks.
#[derive(Debug)]
pub(crate) struct Display {
    bar: Option<ProgressBar>,
    rows: usize,
    told: usize,
}

impl Display {
    pub(crate) fn new(tests: usize, rows: usize) -> Self {
        let watched = std::io::stderr().is_terminal() && !run::on_ci();
        let bar = watched.then(|| {
            let style =
                ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} tests  {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(tests as u64).with_style(style.progress_chars("=> "))
        });
        Self { bar, rows, told: 0 }
    }

    /// The program whose tests run now.
    pub(crate) fn program(&self, program: &Program) {
        match &self.bar {
            Some(bar) => bar.set_message(program.to_string()),
            None => run::step(program),
        }
    }

    /// One test has ended.
    pub(crate) fn ended(&self) {
        self.bar.iter().for_each(|bar| bar.inc(1));
    }

    /// All tests of a row have ended.
    pub(crate) fn row(&mut self, line: &Line) {
        self.told += 1;
        let mut text = format!("[{}/{}] {} {}", self.told, self.rows, line.result.shown(), line.row);
        for (name, value) in [("sent", line.sent), ("lost", line.lost), ("twice", line.twice)] {
            if let Some(value) = value {
                let _ = write!(text, "  {name} {value}");
            }
        }
        if let Some(ms) = line.recovery_ms {
            let _ = write!(text, "  recovery {ms} ms");
        }
        self.say(&text);
    }

    /// What a long test says of itself.
    pub(crate) fn progress(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => eprintln!("    {text}"),
        }
    }

    /// Nothing was heard for so long: a log then shows where a run hangs.
    pub(crate) fn silence(&self, time: Duration) {
        self.say(&format!("silent for {} min", time.as_secs() / 60));
    }

    pub(crate) fn tick(&self) {
        self.bar.iter().for_each(ProgressBar::tick);
    }

    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    pub(crate) fn end(&self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}
