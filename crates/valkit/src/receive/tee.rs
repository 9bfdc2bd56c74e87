//! What a program says on stderr: passed on as it comes, and the last line of it kept.

use std::{convert::Infallible, io};

use tokio::{net::unix::pipe::Receiver, process::ChildStderr};
use tokio_util::sync::CancellationToken;

use super::pen::{Pen, Written};

/// Bytes of the last line that are worth keeping with a dead letter.
const LINE: usize = 200;
/// Bytes kept while the program runs; some of them are line ends and what no letter should hold.
const TAIL: usize = 1024;

/// The stderr of one program.
pub(super) struct Tee {
    /// Gone once nobody can write into it any more.
    pipe: Option<Receiver>,
    ours: Pen,
    /// What is passed on just now: no more is read before, so the program waits for whom it tells.
    passing: Option<Written>,
    tail: Vec<u8>,
}

// === impl Tee ===

impl Tee {
    pub(super) fn of(stderr: ChildStderr, ours: Pen) -> io::Result<Self> {
        let pipe = Receiver::from_owned_fd(stderr.into_owned_fd()?)?;
        Ok(Self { pipe: Some(pipe), ours, passing: None, tail: Vec::new() })
    }

    /// Passes on what comes, for as long as it is awaited. Cancel safe.
    pub(super) async fn pass_on(&mut self) -> Infallible {
        let mut chunk = [0; 4096];
        while let Some(pipe) = &self.pipe {
            if let Some(passing) = &mut self.passing {
                let _ = passing.await;
                self.passing = None;
            }
            let read = match pipe.readable().await {
                Ok(()) => pipe.try_read(&mut chunk),
                Err(error) => Err(error),
            };
            match read {
                Ok(read) if read > 0 => self.take(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => self.pipe = None,
            }
        }
        std::future::pending().await
    }

    /// Passes on what the program, which has ended, has left in the pipe, and returns its last words. Whatever it left
    /// running may go on writing. From `now` on nobody is waited for.
    pub(super) async fn finish(mut self, now: &CancellationToken) -> Option<String> {
        let mut chunk = [0; 4096];
        while let Some(pipe) = &self.pipe {
            // Asked of the system itself: the runtime may not have noticed yet that there is something.
            match rustix::io::read(pipe, &mut chunk) {
                Ok(read) if read > 0 => self.take(&chunk[..read]),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Ok(_) | Err(_) => self.pipe = None,
            }
        }
        let line = last_line(&self.tail);
        if let Some(passing) = self.passing.take() {
            tokio::select! {
                _ = passing => {}
                () = now.cancelled() => {}
            }
        }
        if self.pipe.is_some() {
            tokio::spawn(async move { self.pass_on().await });
        }
        line
    }

    fn take(&mut self, bytes: &[u8]) {
        // Ours may be closed: that is no fault of the program's.
        self.passing = Some(self.ours.write(bytes.to_vec()));
        self.tail.extend_from_slice(bytes);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
    }
}

/// The last line with something in it, without what could act on a terminal, and not too long.
fn last_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned();
    let line = text.lines().rev().map(clean).find(|line| !line.is_empty())?;
    if line.len() <= LINE {
        return Some(line);
    }
    Some(format!("{}…", &line[..line.floor_char_boundary(LINE)]))
}

#[cfg(test)]
mod tests {
    use super::last_line;

    #[test]
    fn the_last_line_is_short_and_harmless() {
        assert_eq!(last_line(b"first\nno such\x07 user\r\n\n  \n").as_deref(), Some("no such user"));
        assert_eq!(last_line(b"\n \x1b\n"), None);
        assert_eq!(last_line(b"\xff broken").as_deref(), Some("\u{fffd} broken"));
        let long = last_line("ü".repeat(300).as_bytes()).unwrap_or_default();
        assert_eq!(long, format!("{}…", "ü".repeat(100)));
    }
}
