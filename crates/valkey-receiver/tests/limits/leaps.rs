//! The server's clock leaps forward by more than a lease.
//!
//! No test can move the clock of a server: it is the machine's. What a leap looks like can be made, and is: all deadlines
//! are in the past at once, and the time in each answer is an hour ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use valkey_connection::{ConnectionSettings, Script};
use valkey_testkit::Figures;

use crate::fleet::{Fleet, Sender};
use crate::scale;
use crate::support::{Bed, settings, until};

const HOUR_MS: u64 = 3_600_000;
const LEASE: Duration = Duration::from_millis(1_500);
const MEMBERS: usize = 3;

/// KEYS: the consumers. Puts the deadline of each that is not fenced into the past; tells of how many.
static LEAP: Script = Script::new(
    "leap",
    "local count = 0
     for _, cid in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
       if tonumber(redis.call('ZSCORE', KEYS[1], cid)) > 0 then
         redis.call('ZADD', KEYS[1], 1, cid)
         count = count + 1
       end
     end
     return count",
);

/// Stands before the server, and adds to the time in the answers to takes.
struct Fast {
    address: String,
    ahead_ms: Arc<AtomicU64>,
}

impl Fast {
    async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let ahead_ms = Arc::new(AtomicU64::new(0));
        let (server, ahead) = (server.to_owned(), Arc::clone(&ahead_ms));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let upstream = TcpStream::connect(&server).await.unwrap();
                let ahead = Arc::clone(&ahead);
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = upstream.into_split();
                    let up = tokio::io::copy(&mut from_client, &mut to_server);
                    let down = async {
                        let mut bytes = vec![0; 1 << 16];
                        loop {
                            let count = from_server.read(&mut bytes).await?;
                            if count == 0 {
                                return to_client.shutdown().await;
                            }
                            let answer = &mut bytes[..count];
                            advance(answer, ahead.load(Ordering::SeqCst));
                            to_client.write_all(answer).await?;
                        }
                    };
                    let _ = tokio::join!(up, down);
                });
            }
        });
        Self { address, ahead_ms }
    }

    fn leap(&self) {
        self.ahead_ms.fetch_add(HOUR_MS, Ordering::SeqCst);
    }
}

/// Adds to the thirteen digits behind the first word of a take's answer.
fn advance(bytes: &mut [u8], ms: u64) {
    const HEAD: &[u8] = b"$2\r\nok\r\n:";
    let mut from = 0;
    while let Some(at) = bytes[from..].windows(HEAD.len()).position(|window| window == HEAD) {
        from += at + HEAD.len();
        let Some(digits) = bytes.get_mut(from..from + 13) else { return };
        let now: u64 = std::str::from_utf8(digits).unwrap().parse().unwrap();
        digits.copy_from_slice((now + ms).to_string().as_bytes());
    }
}

#[test]
fn the_time_of_an_answer_is_advanced_and_nothing_else() {
    let mut answer = *b"*12\r\n$2\r\nok\r\n:1795313735123\r\n:0\r\n";
    advance(&mut answer, HOUR_MS);
    assert_eq!(&answer, b"*12\r\n$2\r\nok\r\n:1795317335123\r\n:0\r\n");
}

struct Outcome {
    sent: usize,
    lost: usize,
    twice: usize,
    most_crashes: u32,
    dead: usize,
}

/// Lets the clock leap several times under load; `seen` = its answers tell of it.
async fn leap_under_load(name: &str, seen: bool) -> Outcome {
    let bed = Bed::new(name).await;
    let fast = Fast::before(&bed.server.address()).await;
    let connection = ConnectionSettings::from_url(&format!("valkey://{}", fast.address)).unwrap();
    let receiving = settings().lease(LEASE).prefetch(8.try_into().unwrap());
    let fleet = Fleet::start(&bed, &connection, MEMBERS, &receiving, Duration::from_millis(40)).await;
    let sender = Sender::start(&bed, bed.connection.clone(), Duration::from_millis(2));
    for leap in 1..=4 * scale() {
        until("work", async || (fleet.ledger.finished() > 50 * leap as usize).then_some(())).await;
        // Longer than a lease: each leap comes upon consumers that trust each other again.
        tokio::time::sleep(LEASE + Duration::from_millis(500)).await;
        if seen {
            fast.leap();
        }
        let moved = bed.connection.invoke(LEAP.call().key(bed.keys.consumers())).await.unwrap();
        assert!(moved.as_int().unwrap() >= 1);
    }
    let sent = sender.stop().await;
    bed.until_empty().await;
    assert!(fleet.is_whole());
    let ledger = fleet.ledger.clone();
    let _ = fleet.drain().await;
    let outcome = Outcome {
        sent: sent.confirmed(),
        lost: sent.lost(&ledger).len(),
        twice: ledger.handed_out_more_than_once().len(),
        most_crashes: ledger.most_crashes(),
        dead: bed.dead().await.len(),
    };
    let case = Figures::case(if seen { "the answers tell of it" } else { "only the deadlines do" });
    sent.figures(case, &ledger)
        .note(format!("{} leaps; highest crash count {}", 4 * scale(), outcome.most_crashes))
        .publish();
    outcome
}

#[tokio::test]
async fn a_clock_that_leaps_ahead_by_an_hour_takes_nobodys_messages() {
    let Outcome { sent, lost, twice, most_crashes, dead } = leap_under_load("leap-seen", true).await;
    assert!(sent > 200);
    assert_eq!((lost, twice, most_crashes, dead), (0, 0, 0, 0));
}

#[tokio::test]
async fn deadlines_that_are_suddenly_past_cost_duplicates_and_condemn_nobody() {
    let Outcome { sent, lost, most_crashes, dead, .. } = leap_under_load("leap-unseen", false).await;
    assert!(sent > 200);
    assert_eq!((lost, dead), (0, 0));
    // What came again is finished before the next leap: nothing is ever blamed twice, let alone alone.
    assert!(most_crashes <= 2, "{most_crashes}");
}
