//! What is seen while it runs: a bar on a terminal, plain lines elsewhere. On stderr, like all words.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use valkey_admin::QueueStats;

use super::books::Books;

/// Seconds between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Display {
    bar: Option<ProgressBar>,
    last_line: Option<Duration>,
    last_count: (Duration, u64),
    rate: f64,
}

// === impl Display ===

impl Display {
    pub(super) fn new(total: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{elapsed_precise} [{wide_bar}] {pos}/{len} settled\n{wide_msg}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style.progress_chars("=> "))
        });
        Self { bar, last_line: None, last_count: (Duration::ZERO, 0), rate: 0.0 }
    }

    pub(super) fn show(&mut self, stats: &QueueStats, books: &Books, elapsed: Duration) {
        let settled = books.acked() + stats.dead;
        let (then, before) = self.last_count;
        if elapsed.saturating_sub(then) >= LINE_EVERY {
            self.rate = settled.saturating_sub(before) as f64 / elapsed.saturating_sub(then).as_secs_f64();
            self.last_count = (elapsed, settled);
        }
        let live = stats.consumers.iter().filter(|consumer| consumer.lease.is_live()).count();
        let depths = format!(
            "{:.0}/s  ready {}  in flight {}  delayed {}  dead {}  consumers {live}",
            self.rate,
            stats.ready.total(),
            stats.in_flight,
            stats.delayed,
            stats.dead
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(settled);
                bar.set_message(depths);
            }
            None if self.last_line.is_none_or(|last| elapsed.saturating_sub(last) >= LINE_EVERY) => {
                self.last_line = Some(elapsed);
                self.say(&format!("{:>5.1}s  settled {settled}  {depths}", elapsed.as_secs_f64()));
            }
            None => {}
        }
    }

    /// A line that stays.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => drop(writeln!(io::stderr(), "{text}")),
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}
