//! Writing what nobody may be reading, on a thread of its own: else all that this program does would wait with it.

use std::{
    io::{self, Write},
    sync::mpsc,
    thread,
};

use tokio::sync::oneshot;

/// Writes what it is given, one after the other, until its process ends.
#[derive(Clone, Debug)]
pub(super) struct Pen {
    paper: mpsc::Sender<Job>,
}

/// Told once all of it is written. Dropped, it may be written all the same.
pub(super) type Written = oneshot::Receiver<io::Result<()>>;

#[derive(Debug)]
struct Job {
    bytes: Vec<u8>,
    written: oneshot::Sender<io::Result<()>>,
}

// === impl Pen ===

impl Pen {
    pub(super) fn new(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (paper, jobs) = mpsc::channel::<Job>();
        // Nobody joins it: it may never come back from its last write.
        thread::Builder::new().name("pen".to_owned()).spawn(move || {
            for Job { bytes, written } in jobs {
                // Whoever asked may have gone.
                let _ = written.send(out.write_all(&bytes).and_then(|()| out.flush()));
            }
        })?;
        Ok(Self { paper })
    }

    pub(super) fn write(&self, bytes: Vec<u8>) -> Written {
        let (written, told) = oneshot::channel();
        // A pen that is gone is seen by the answer that never comes.
        let _ = self.paper.send(Job { bytes, written });
        told
    }
}
