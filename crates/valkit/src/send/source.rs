//! Where the messages come from: a file or a pipe, whole or line by line.

use std::io::{BufRead, BufReader, Read};

use crate::{failure::Failure, input::Input, text::bytes};

/// Lines sent in one round trip.
const BATCH: usize = 256;
/// What is read ahead of a file; of a pipe what is there.
const BUFFER: usize = 256 << 10;

/// A message to be, and its line if lines count.
pub(super) type Found = (Option<u64>, Vec<u8>);

pub(super) struct Source {
    reader: BufReader<Box<dyn Read + Send>>,
    name: String,
    /// Whether each line is a message.
    lines: bool,
    /// The last line that was read.
    line: u64,
    /// What one message may have before no more of it is read: an end for what has none.
    largest: usize,
}

// === impl Source ===

impl Source {
    pub(super) fn open(input: &Input, lines: bool, largest: usize) -> Result<Self, Failure> {
        let reader = BufReader::with_capacity(BUFFER, input.open()?);
        Ok(Self { reader, name: input.name(), lines, line: 0, largest })
    }

    /// The last line that was read.
    pub(super) const fn line(&self) -> u64 {
        self.line
    }

    /// The next messages; none at the end. Waits for one, and takes with it what is there without waiting: whoever writes
    /// into a pipe now and then is not kept waiting for a batch to fill.
    pub(super) fn next(&mut self) -> Result<Vec<Found>, Failure> {
        // One byte more than allowed tells whether there is more.
        let most = self.largest as u64 + 1;
        if !self.lines {
            let mut all = Vec::new();
            let read = (&mut self.reader).take(most).read_to_end(&mut all);
            read.map_err(|error| self.wrong(error))?;
            self.check(&all, || self.name.clone())?;
            return Ok(vec![(None, all)]);
        }
        let mut batch = Vec::new();
        while batch.is_empty() || (batch.len() < BATCH && self.reader.buffer().contains(&b'\n')) {
            let mut line = Vec::new();
            let read = (&mut self.reader).take(most).read_until(b'\n', &mut line);
            if read.map_err(|error| self.wrong(error))? == 0 {
                break;
            }
            self.line += 1;
            self.check(&line, || format!("line {} of {}", self.line, self.name))?;
            line.pop_if(|last| *last == b'\n');
            line.pop_if(|last| *last == b'\r');
            if !line.is_empty() {
                batch.push((Some(self.line), line));
            }
        }
        Ok(batch)
    }

    fn check(&self, found: &[u8], what: impl FnOnce() -> String) -> Result<(), Failure> {
        if found.len() <= self.largest {
            return Ok(());
        }
        Err(Failure::usage(
            format!(
                "{} has more than {}, which is too much for a message",
                what(),
                bytes(self.largest as u64)
            ),
            "store the payload elsewhere and send where it is; of a file of many messages, --ndjson sends each line",
        ))
    }

    fn wrong(&self, error: std::io::Error) -> Failure {
        Failure::io(format!("reading {}", self.name), error)
    }
}
