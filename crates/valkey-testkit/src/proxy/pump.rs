//! Moves the bytes of one direction, slowly or not at all if so told, up to where the connection is cut.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::cut::Shot;
use super::lane::{Cuts, Lane};
use super::report::Passed;
use super::resp::Side;

/// What is on its way while a delay is set, and no more: then the sender has to wait, as with any other network.
const IN_TRANSIT: usize = 1024 * 1024;
const CHUNK: usize = 64 * 1024;

/// What all connections of a proxy have to endure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    pub(crate) stall_requests: bool,
    pub(crate) stall_replies: bool,
    pub(crate) delay: Duration,
}

impl Weather {
    fn stalls(self, side: Side) -> bool {
        match side {
            Side::Reply => self.stall_replies,
            Side::Request => self.stall_requests,
        }
    }
}

pub(crate) struct Pump<'a> {
    pub(crate) side: Side,
    pub(crate) from: ReadHalf<'a>,
    pub(crate) to: WriteHalf<'a>,
    pub(crate) cuts: &'a Mutex<Cuts>,
    pub(crate) passed: &'a Passed,
    pub(crate) weather: watch::Receiver<Weather>,
}

impl Pump<'_> {
    /// Returns when the sender has closed its side and all it said has passed, or with the cut to be made now.
    ///
    /// A receiver that is gone does not end it: what the sender still says is swallowed, as by a network.
    pub(crate) async fn run(&mut self) -> Option<Arc<Shot>> {
        let mut lane = Lane::new(self.side);
        let mut transit: VecDeque<(Instant, Bytes)> = VecDeque::new();
        let mut in_transit = 0;
        let mut ended = false;
        let mut receiver_gone = false;
        loop {
            let weather = *self.weather.borrow_and_update();
            if weather.stalls(self.side) {
                // Not even reading: the sender is to feel it when the buffers are full.
                if self.weather.changed().await.is_err() {
                    return None;
                }
                continue;
            }
            let due = transit.front().map(|(due, _)| *due);
            let mut chunk = BytesMut::new();
            tokio::select! {
                biased;
                changed = self.weather.changed() => if changed.is_err() {
                    return None;
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let (_, chunk) = transit.pop_front().expect("it was due");
                    in_transit -= chunk.len();
                    let step = lane.advance(&chunk, &mut self.cuts.lock().expect("no holder panics"));
                    receiver_gone = receiver_gone || !self.pass(&step.forward, step.units).await;
                    if step.cut.is_some() {
                        return step.cut;
                    }
                },
                read = read(&mut self.from, &mut chunk), if !ended && in_transit < IN_TRANSIT => match read {
                    Ok(0) | Err(_) => ended = true,
                    Ok(_) => {
                        in_transit += chunk.len();
                        transit.push_back((Instant::now() + weather.delay, chunk.freeze()));
                    }
                },
            }
            if ended && transit.is_empty() {
                self.pass(&lane.finish(), 0).await;
                let _ = self.to.shutdown().await;
                return None;
            }
        }
    }

    /// Whether the receiver took it.
    async fn pass(&mut self, bytes: &Bytes, units: u64) -> bool {
        // Before, so that whoever has got them finds them counted.
        self.passed.add(bytes.len(), units);
        self.to.write_all(bytes).await.is_ok()
    }
}

async fn read(from: &mut ReadHalf<'_>, chunk: &mut BytesMut) -> std::io::Result<usize> {
    // No memory is taken for a connection that is idle.
    from.readable().await?;
    chunk.reserve(CHUNK);
    from.read_buf(chunk).await
}
