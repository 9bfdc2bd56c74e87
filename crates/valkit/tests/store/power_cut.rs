//! Power cuts: a server killed, and the end of its append-only file lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use valkey_connection::{Command, Connection};
use valkey_envelope::Envelope;
use valkey_sender::Sender;
use valkey_testkit::{Figures, TestServer, eventually};

use crate::aof::Aof;
use crate::bed::{Bed, long, random};
use crate::crew::{Crew, Plan};

/// Where the file ends after the cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// At any byte.
    Anywhere,
    /// Between two commands of a script that pushes.
    InsidePush,
    /// Between two commands of a script that settles and claims.
    InsideTake,
}

const MARK: &str = "what-was-answered-by-now";

fn plan() -> Plan {
    // More comes in than is done, so that much waits when the power goes.
    Plan { pace: Duration::from_millis(5), work: Duration::from_millis(30), ..Plan::default() }
}

async fn bed(name: &str, fsync: &str) -> Bed {
    Bed::new(name, TestServer::builder().append_only(true).config("appendfsync", fsync)).await
}

/// A byte between `synced` and the end of the file.
fn choose(aof: &Aof, cut: Cut, synced: usize, end: usize) -> usize {
    if cut == Cut::Anywhere {
        return synced + random(end - synced + 1);
    }
    let mark: &[u8] = if cut == Cut::InsidePush { b"SADD" } else { b"HDEL" };
    let inside: Vec<usize> = aof
        .after(synced)
        .filter(|unit| unit.start >= synced && unit.commands.iter().any(|(_, command)| command[0] == mark))
        .flat_map(|unit| unit.commands[1..unit.commands.len() - 1].iter().map(|(end, _)| *end))
        .collect();
    assert!(!inside.is_empty(), "{cut:?}: the file has such scripts");
    inside[random(inside.len())]
}

/// What a cut cost.
#[derive(Debug, Default)]
struct Cost {
    sent: usize,
    lost: usize,
    undone: usize,
    twice: usize,
    recovery: Duration,
}

/// Cuts the file of a dead server at `end`, starts it, compares every message and every remembered id with what the rest
/// of the file says, and lets the crew go on to the end.
async fn cut_and_go_on(bed: &Bed, crew: Crew, file: &[u8], end: usize) -> Cost {
    let aof = Aof::parse(file);
    eprintln!("{} bytes, cut at {end}", file.len());
    let (before, after) = (aof.history(&bed.keys, file.len()), aof.history(&bed.keys, end));
    bed.server.lose_append_only_tail((file.len() - end) as u64).await.unwrap();
    bed.server.restart().await.unwrap();
    eventually("the server", async || bed.direct.ping().await.ok()).await;

    // Each message is in one place, an id is remembered exactly if its message was not undone.
    let once: BTreeMap<u32, u32> = after.held().into_iter().map(|number| (number, 1)).collect();
    assert_eq!(bed.contents().await, once, "every message once or not at all");
    assert_eq!(bed.remembered().await, after.pushed.iter().copied().collect::<Vec<_>>(), "with its id");

    let books = crew.books.clone();
    let handed = books.handed();
    // What a handler has is finished, unless the lease ends first.
    let may: BTreeSet<u32> = books.confirmed().difference(&after.pushed).copied().collect();
    let must: BTreeSet<u32> = may.difference(&handed).copied().collect();
    bed.open().await;
    let opened = Instant::now();
    crew.until_handled(50).await;
    let recovery = opened.elapsed();
    crew.until_confirmed(50).await;
    // A server may be stopped properly after it has recovered, and still has what it took since; see `torn`.
    rewrite(bed).await;
    bed.server.restart().await.unwrap();
    crew.until_confirmed(50).await;
    let _ = crew.finish(bed).await;

    let undone: BTreeSet<u32> = before.answered().intersection(&after.held()).copied().collect();
    let missing = books.missing();
    assert_eq!(more(&missing, &may), [0; 0], "nothing is lost but what came after the cut");
    assert_eq!(more(&must, &missing), [0; 0], "all of that is");
    assert_eq!(books.crashes(), 0, "nobody crashed");
    let twice = books.twice();
    assert_eq!(more(&undone, &twice), [0; 0], "settles that were undone come again");
    let sent_again = books.open();
    assert!(sent_again.is_empty(), "{sent_again:?}");
    Cost {
        sent: books.confirmed().len(),
        lost: missing.len(),
        undone: undone.len(),
        twice: twice.len(),
        recovery,
    }
}

/// The elements of `a` that are not in `b`.
fn more(a: &BTreeSet<u32>, b: &BTreeSet<u32>) -> Vec<u32> {
    a.difference(b).copied().collect()
}

/// Lets the server write its file anew, from what it has in memory.
async fn rewrite(bed: &Bed) {
    eventually("a rewrite to begin", async || bed.server.cli(&["BGREWRITEAOF"]).await.ok()).await;
    eventually("the end of the rewrite", async || {
        let info = bed.server.cli(&["INFO", "persistence"]).await.unwrap();
        let over = info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0");
        (over && info.contains("aof_last_bgrewrite_status:ok")).then_some(())
    })
    .await;
}

/// With `everysec`: what was synced stays, and what was written in the last second may be gone.
async fn everysec(cut: Cut) {
    let mut sum = Cost::default();
    for _ in 0..long(2, 40) {
        let bed = bed("power", "everysec").await;
        let crew = Crew::start(&bed, &plan()).await;
        crew.until_handled(100).await;
        crew.hold_sending().await;
        sleep(Duration::from_millis(1_500)).await;
        let (synced, quiet) = (bed.server.append_only_file().await.unwrap().len(), Instant::now());
        crew.go_on_sending();
        sleep(Duration::from_millis(700)).await;
        bed.shut().await;
        bed.server.kill().await.unwrap();
        let window = quiet.elapsed();
        let file = bed.server.append_only_file().await.unwrap();
        let end = choose(&Aof::parse(&file), cut, synced, file.len());
        let books = crew.books.clone();
        let cost = cut_and_go_on(&bed, crew, &file, end).await;
        assert!(
            books.missing().iter().all(|lost| books.confirmed_at(*lost) > quiet),
            "older ones were synced"
        );
        assert!(window < Duration::from_secs(2), "{window:?} is longer than what everysec may lose");
        sum.add(&cost);
    }
    sum.publish(cut);
}

impl Cost {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.undone += other.undone;
        self.twice += other.twice;
        self.recovery = self.recovery.max(other.recovery);
    }

    fn publish(&self, cut: Cut) {
        eprintln!("{cut:?}: {self:?}");
        let figures = Figures::new().sent(self.sent as u64).lost(self.lost as u64).twice(self.twice as u64);
        figures.recovery(self.recovery).note(format!("{} settles undone", self.undone)).publish();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_with_everysec_costs_at_most_what_came_after_the_last_sync() {
    everysec(Cut::Anywhere).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_cut_in_half_is_undone_together_with_its_id() {
    everysec(Cut::InsidePush).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_cut_in_half_is_undone_and_every_message_is_in_one_place() {
    everysec(Cut::InsideTake).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_with_always_costs_nothing_that_was_answered() {
    let (mut sum, mut wanted, mut tries) = (Cost::default(), long(2, 40), 0);
    // Now and then a cut comes where nothing is on its way: it must cost nothing either, and does not count.
    while wanted > 0 {
        tries += 1;
        assert!(tries < 100, "nothing was ever on its way");
        let bed = bed("power-always", "always").await;
        let crew = Crew::start(&bed, &Plan { senders: 4, lease: Duration::from_secs(30), ..plan() }).await;
        crew.until_handled(100).await;
        for proxy in [&bed.sending, &bed.receiving] {
            proxy.delay(Duration::from_millis(20));
        }
        sleep(Duration::from_millis(200)).await;
        // From here on nobody hears an answer: what comes into the file after the mark was promised to nobody.
        bed.sending.stall_replies();
        bed.receiving.stall_replies();
        bed.ask(Command::new("SET").key(MARK).arg("1")).await;
        sleep(Duration::from_millis(200)).await;
        bed.server.kill().await.unwrap();
        bed.shut().await;
        let file = bed.server.append_only_file().await.unwrap();
        let answered = file.windows(MARK.len()).position(|some| some == MARK.as_bytes()).unwrap();
        let answered = answered + MARK.len() + "\r\n$1\r\n1\r\n".len();
        if file.len() > answered {
            wanted -= 1;
        }
        let end = answered + random(file.len() - answered + 1);
        let cost = cut_and_go_on(&bed, crew, &file, end).await;
        assert_eq!((cost.lost, cost.twice), (0, 0), "what nobody heard of is asked for again: {cost:?}");
        sum.add(&cost);
    }
    sum.publish(Cut::Anywhere);
}

/// Cuts a push in the middle of one of its commands, starts the server twice, with sends in between, and tells what is left
/// of the queue: numbers of messages, and of remembered ids.
async fn torn(rewritten: bool) -> (Vec<u32>, Vec<u32>, Bed) {
    let bed = bed("torn", "everysec").await;
    let connection = Connection::connect(&bed.through(&bed.sending)).await.unwrap();
    let sender = Sender::builder(connection, bed.queue.clone()).dedup(Duration::from_hours(1)).build();
    let send = async |number: u32| {
        let envelope = || Envelope::new("x").unwrap().with_id(number.to_string());
        eventually("a send", async || sender.send(envelope()).await.ok()).await
    };
    assert!(send(1).await.is_accepted() && send(2).await.is_accepted());
    bed.server.kill().await.unwrap();
    let file = bed.server.append_only_file().await.unwrap();
    let mark = file.windows(4).rposition(|some| some == b"SADD").unwrap();
    bed.server.lose_append_only_tail((file.len() - mark - 2) as u64).await.unwrap();
    bed.server.restart().await.unwrap();
    eventually("the server", async || bed.direct.ping().await.ok()).await;
    assert_eq!(
        (bed.contents().await, bed.remembered().await),
        ([(1, 1)].into(), vec![1]),
        "the second is undone"
    );
    if rewritten {
        rewrite(&bed).await;
    }
    assert!(send(3).await.is_accepted() && send(4).await.is_accepted());
    bed.server.restart().await.unwrap();
    eventually("the server", async || bed.direct.ping().await.ok()).await;
    (bed.contents().await.into_keys().collect(), bed.remembered().await, bed)
}

/// Of the messages 1 to 4, which were all confirmed, those that are nowhere.
fn lost_of_four(contents: &[u32]) -> u64 {
    (1..=4).filter(|number| !contents.contains(number)).count() as u64
}

#[tokio::test]
async fn a_file_that_was_rewritten_after_a_power_cut_survives_the_next_restart() {
    let (contents, remembered, _) = torn(true).await;
    Figures::new().sent(4).confirmed(4).lost(lost_of_four(&contents)).note("the one that was cut").publish();
    assert_eq!((contents, remembered), (vec![1, 3, 4], vec![1, 3, 4]));
}

/// Old servers leave the beginning of a cut transaction in their file, and what they write next becomes part of it.
#[tokio::test]
async fn the_second_restart_after_a_power_cut_is_safe_only_with_new_servers() {
    let (contents, remembered, bed) = torn(false).await;
    let (version, mended) = bed.version().await;
    eprintln!("{version}: {contents:?}, ids {remembered:?}");
    let whole = contents == [1, 3, 4] && remembered == [1, 3, 4];
    let half = contents.contains(&2) || remembered.contains(&2);
    Figures::case(version.as_str())
        .sent(4)
        .confirmed(4)
        .lost(lost_of_four(&contents))
        .note(if half { "half a push came back" } else { "" })
        .publish();
    assert_eq!(whole, mended, "{version}: {contents:?}, ids {remembered:?}");
}
