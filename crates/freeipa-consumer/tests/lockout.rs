//! The scripts that keep many processes from locking one account, against a directory of numbers: whoever dies, and whatever is tried,
//! never a sixth attempt that comes to nothing within the window.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::{Instant, sleep};
use valkey_connection::{Connection, ConnectionSettings, Reply, Script};
use valkey_testkit::{TestServer, unique_name};

static ADMIT: Script = Script::new("admit", include_str!("../lua/admit.lua"));
static SETTLE: Script = Script::new("settle", include_str!("../lua/settle.lua"));

const WINDOW: Duration = Duration::from_secs(2);
const LEASE: Duration = Duration::from_millis(100);
const MOST: usize = 5;
const ABREAST: usize = 3;

struct Account {
    connection: Connection,
    key: String,
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap()
}

impl Account {
    async fn new() -> Self {
        let server = TestServer::shared().await;
        let settings = ConnectionSettings::from_url(&server.url()).unwrap();
        let connection = Connection::connect(&settings).await.unwrap();
        Self { connection, key: unique_name("login") }
    }

    /// The number that says what may be done, and the rest.
    async fn admit(&self, ticket: &str, print: &str, insists: bool) -> (i64, Vec<Reply>) {
        let call = ADMIT.call().key(self.key.as_str()).arg(ticket).arg(print).arg(ms(LEASE)).arg(ms(WINDOW));
        let call = call.arg(MOST).arg(ABREAST).arg(u32::from(insists));
        let mut said = self.connection.invoke(call).await.unwrap().into_array().unwrap();
        (said.remove(0).as_int().unwrap(), said)
    }

    async fn may(&self, ticket: &str, print: &str) -> i64 {
        self.admit(ticket, print, false).await.0
    }

    async fn settle(&self, ticket: &str, print: &str, what: &str) {
        let call = SETTLE.call().key(self.key.as_str()).arg(ticket).arg(what).arg(ms(WINDOW)).arg(print);
        let call = call.arg(ms(WINDOW)).arg("wrong_password").arg("host:1");
        assert_eq!(self.connection.invoke(call).await.unwrap().as_int().unwrap(), 1);
    }
}

#[tokio::test]
async fn a_refused_password_is_tried_by_nobody_and_another_one_at_once() {
    let account = Account::new().await;
    assert_eq!(account.may("a", "0001").await, 0);
    assert_eq!(account.may("a", "0001").await, 0, "the answer was lost, and it asks again");
    assert_eq!(account.may("b", "0001").await, 2, "one at a time while nobody knows");
    assert_eq!(account.may("c", "0002").await, 2, "with any password");
    account.settle("a", "0001", "rejected").await;
    let (said, rest) = account.admit("b", "0001", false).await;
    assert_eq!(said, 1);
    let mut rest = rest.into_iter();
    let mut text = || rest.next().unwrap().into_string().unwrap();
    assert_eq!([text(), text()], ["wrong_password", "host:1"]);
    let (ago, wait) = (rest.next().unwrap().as_int().unwrap(), rest.next().unwrap().as_int().unwrap());
    assert!(ago >= 0 && wait > 0 && ago + wait == i64::try_from(ms(WINDOW)).unwrap(), "{ago} {wait}");
    assert_eq!(account.may("c", "0002").await, 0, "another password");
    account.settle("c", "0002", "accepted").await;
    assert_eq!(account.may("b", "0001").await, 1, "the old one is as wrong as before");
    assert_eq!(account.admit("d", "0001", true).await.0, 0, "unless somebody insists");
    account.settle("d", "0001", "accepted").await;
    assert_eq!(account.may("e", "0001").await, 0);
    sleep(WINDOW + LEASE * 2).await;
    let left = TestServer::shared().await.cli(&["EXISTS", &account.key]).await.unwrap();
    assert_eq!(left.trim(), "0", "nothing is left of it");
}

#[tokio::test]
async fn those_who_die_in_the_middle_count_while_the_account_is_not_known_to_be_well() {
    let account = Account::new().await;
    for number in 0..MOST {
        // Who insists does not wait for what is unclear, and is held by the bound.
        assert_eq!(account.admit(&format!("dies{number}"), "0001", true).await.0, 0);
        sleep(LEASE + Duration::from_millis(20)).await;
    }
    assert_eq!(account.admit("next", "0002", true).await.0, 3, "whatever the password");
    sleep(WINDOW).await;
    assert_eq!(account.may("next", "0001").await, 0);
    account.settle("next", "0001", "accepted").await;
    for number in 0..2 * MOST {
        assert_eq!(account.may(&format!("well{number}"), "0001").await, 0);
        sleep(LEASE / 2).await;
    }
}

#[tokio::test]
async fn an_account_that_was_well_is_tried_by_three_and_no_more() {
    let account = Account::new().await;
    account.settle("before", "0001", "accepted").await;
    for ticket in ["a", "b", "c"] {
        assert_eq!(account.may(ticket, "0001").await, 0);
    }
    assert_eq!(account.may("d", "0001").await, 2);
    for ticket in ["a", "b", "c"] {
        account.settle(ticket, "0001", "rejected").await;
    }
    assert_eq!(account.may("d", "0001").await, 1);
    assert_eq!(account.may("e", "0002").await, 0, "there is room for the right one");
    account.settle("e", "0002", "nothing").await;
    assert_eq!(account.may("f", "0003").await, 0, "an outage does not count");
}

#[tokio::test]
async fn what_is_unclear_counts_and_the_next_follow_evenly() {
    let account = Account::new().await;
    account.settle("before", "0001", "accepted").await;
    for ticket in ["a", "b"] {
        assert_eq!(account.may(ticket, "0001").await, 0);
    }
    for ticket in ["a", "b"] {
        account.settle(ticket, "0001", "unclear").await;
    }
    let (said, rest) = account.admit("c", "0001", false).await;
    let wait = rest[0].clone().as_int().unwrap();
    assert!(said == 4 && wait > 0 && wait <= i64::try_from(ms(WINDOW)).unwrap() / 4, "{said} {wait}");
    let (begun, mut tried) = (Instant::now(), 2);
    while begun.elapsed() < WINDOW.mul_f64(0.9) {
        let ticket = format!("t{tried}");
        let said = account.may(&ticket, "0001").await;
        assert!(said == 0 || said == if tried < MOST { 4 } else { 3 }, "{said} after {tried}");
        if said == 0 {
            account.settle(&ticket, "0001", "unclear").await;
            tried += 1;
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(tried, MOST);
    sleep(WINDOW / 4).await;
    assert_eq!(account.may("right", "0001").await, 0);
    account.settle("right", "0001", "accepted").await;
    for ticket in ["x", "y", "z"] {
        assert_eq!(account.may(ticket, "0001").await, 0, "nothing is held against anybody");
    }
}

/// A key of another program is left as it is.
#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let account = Account::new().await;
    let server = TestServer::shared().await;
    server.cli(&["SET", &account.key, "x"]).await.unwrap();
    assert_eq!(account.may("a", "0001").await, -1);
    assert_eq!(server.cli(&["GET", &account.key]).await.unwrap().trim(), "x");
}

#[tokio::test]
async fn whatever_happens_a_sixth_attempt_does_not_come_to_nothing() {
    let account = Account::new().await;
    let seed: u64 = rand::random();
    let mut random = SmallRng::seed_from_u64(seed);
    let mut under_way: BTreeMap<String, (String, Instant)> = BTreeMap::new();
    let mut wrong: Vec<Instant> = Vec::new();
    let (begun, mut tried) = (Instant::now(), 0);
    for number in 0.. {
        if begun.elapsed() > WINDOW * 4 {
            break;
        }
        sleep(Duration::from_millis(random.random_range(0..8))).await;
        // Leases end: whoever held them is dead, and the directory has counted the password.
        under_way.retain(|_, (_, since)| since.elapsed() < LEASE.mul_f64(0.9));
        if random.random_bool(0.6) {
            let (ticket, print) = (format!("t{number}"), format!("{:04x}", random.random_range(0..20)));
            let asked = Instant::now();
            if account.admit(&ticket, &print, random.random_bool(0.1)).await.0 == 0 {
                wrong.push(asked);
                tried += 1;
                under_way.insert(ticket, (print, asked));
            }
        } else if let Some(ticket) = under_way.keys().next().cloned() {
            let (print, _) = under_way.remove(&ticket).unwrap();
            let what = if random.random_bool(0.5) { "rejected" } else { "unclear" };
            account.settle(&ticket, &print, what).await;
        }
    }
    assert!(tried > MOST, "seed {seed}: {tried} attempts");
    for six in wrong.windows(MOST + 1) {
        // The script counts from the refusal, a little later.
        let apart = six[MOST] - six[0];
        assert!(apart >= WINDOW.mul_f64(0.95), "seed {seed}: six within {apart:?}");
    }
}
