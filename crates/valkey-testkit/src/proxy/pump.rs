//! Moves the bytes of one direction, slowly or not at all if so told, up to where the connection is cut.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::cut::Shot;
use super::lane::{Cuts, Lane};
use super::report::Passed;
use super::resp::Side;

/// What is on its way while a delay is set, and no more: then the sender has to wait, as with any other network.
const IN_TRANSIT: usize = 1024 * 1024;
const CHUNK: usize = 64 * 1024;
/// A slow line takes bytes so often a second.
const TICKS: u32 = 10;

/// What all connections of a proxy have to endure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    pub(crate) stall_requests: bool,
    pub(crate) stall_replies: bool,
    pub(crate) black_hole: bool,
    pub(crate) delay: Duration,
    /// Bytes a second in each direction of each connection.
    pub(crate) rate: Option<NonZeroU32>,
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

/// Why no more bytes pass.
pub(crate) enum End {
    /// The sender has closed its side and all it said has passed.
    Over,
    /// The connection is to be cut now.
    Cut(Arc<Shot>),
    /// A black hole has swallowed something and is gone. What comes now must not be delivered behind the gap.
    Lost,
}

impl Pump<'_> {
    /// A receiver that is gone does not end it: what the sender still says is swallowed, as by a network.
    pub(crate) async fn run(&mut self) -> End {
        let mut lane = Lane::new(self.side);
        let mut transit: VecDeque<(Instant, Bytes)> = VecDeque::new();
        let mut in_transit = 0;
        let mut ended = false;
        let mut receiver_gone = false;
        loop {
            let weather = *self.weather.borrow_and_update();
            if weather.black_hole {
                if self.swallow().await || in_transit > 0 {
                    return End::Lost;
                }
                continue;
            }
            if weather.stalls(self.side) {
                // Not even reading: the sender is to feel it when the buffers are full.
                if self.weather.changed().await.is_err() {
                    return End::Over;
                }
                continue;
            }
            let due = transit.front().map(|(due, _)| *due);
            let mut chunk = BytesMut::new();
            tokio::select! {
                biased;
                changed = self.weather.changed() => if changed.is_err() {
                    return End::Over;
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let (_, chunk) = transit.pop_front().expect("it was due");
                    in_transit -= chunk.len();
                    let step = lane.advance(&chunk, &mut self.cuts.lock().expect("no holder panics"));
                    let passing = if receiver_gone {
                        Passing::Gone
                    } else {
                        self.pass(&step.forward, step.units).await
                    };
                    match passing {
                        Passing::Taken => {}
                        Passing::Gone => receiver_gone = true,
                        Passing::BlackHole => {
                            self.swallow().await;
                            return End::Lost;
                        }
                    }
                    if let Some(shot) = step.cut {
                        return End::Cut(shot);
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
                return End::Over;
            }
        }
    }

    /// Passes as much of it as the weather allows.
    async fn pass(&mut self, bytes: &Bytes, units: u64) -> Passing {
        // Before, so that whoever has got them finds them counted.
        self.passed.add(bytes.len(), units);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let rate = self.weather.borrow().rate;
            let (now, later) = rest.split_at(
                rate.map_or(rest.len(), |rate| rate.get().div_ceil(TICKS) as usize).min(rest.len()),
            );
            // Of its own: a change that only this sees is still new to `run`.
            let mut weather = self.weather.clone();
            tokio::select! {
                biased;
                // A receiver that has stopped reading must not keep the sender out of the hole.
                Ok(_) = weather.wait_for(|weather| weather.black_hole) => return Passing::BlackHole,
                written = self.to.write_all(now) => if written.is_err() {
                    return Passing::Gone;
                },
            }
            if rate.is_some() {
                sleep(Duration::from_secs(1) / TICKS).await;
            }
            rest = later;
        }
        Passing::Taken
    }

    /// Swallows what the sender says, its farewell included, for as long as the hole is there. Says whether there
    /// was anything.
    async fn swallow(&mut self) -> bool {
        let mut anything = false;
        let mut gone = false;
        let mut chunk = BytesMut::new();
        loop {
            if !self.weather.borrow_and_update().black_hole {
                return anything;
            }
            tokio::select! {
                biased;
                changed = self.weather.changed() => if changed.is_err() {
                    // The proxy itself is gone.
                    return true;
                },
                read = read(&mut self.from, &mut chunk), if !gone => {
                    anything = true;
                    gone = !matches!(read, Ok(1..));
                    chunk.clear();
                },
            }
        }
    }
}

/// What became of bytes that were to pass.
enum Passing {
    Taken,
    /// The receiver does not listen any more.
    Gone,
    /// They, or some of them, went into a black hole.
    BlackHole,
}

async fn read(from: &mut ReadHalf<'_>, chunk: &mut BytesMut) -> std::io::Result<usize> {
    // No memory is taken for a connection that is idle.
    from.readable().await?;
    chunk.reserve(CHUNK);
    from.read_buf(chunk).await
}
