//! Each fault really happens, as the server and the client see it.

#![allow(clippy::unwrap_used, missing_docs)]

mod client;

use std::time::{Duration, Instant};

use client::{Client, command};
use valkey_testkit::{Cut, CutOutcome, FaultProxy, Target, TestServer, unique_name};

async fn setup() -> (&'static TestServer, FaultProxy, String) {
    let server = TestServer::shared().await;
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    (server, proxy, unique_name("q"))
}

async fn length(server: &TestServer, queue: &str) -> String {
    server.cli(&["LLEN", queue]).await.unwrap()
}

#[tokio::test]
async fn without_a_fault_everything_passes_and_is_counted() {
    let (_, proxy, queue) = setup().await;
    let mut client = Client::connect(&proxy.address()).await;
    assert_eq!(client.ask(&["LPUSH", &queue, "x"]).await, ":1\r\n");
    assert_eq!(client.ask(&["PING"]).await, "+PONG\r\n");
    let [report] = proxy.connections()[..] else { panic!("one connection") };
    let sent = command(&["LPUSH", &queue, "x"]).len() + command(&["PING"]).len();
    assert_eq!((report.number, report.open), (1, true));
    assert_eq!((report.request_bytes, report.requests), (sent as u64, 2));
    assert_eq!((report.reply_bytes, report.replies), (11, 2));
    assert_eq!(proxy.traffic().connections, 1);
}

#[tokio::test]
async fn a_request_cut_short_is_not_executed_and_a_whole_one_is() {
    let (server, proxy, queue) = setup().await;
    let whole = command(&["LPUSH", &queue, "x"]).len() as u64;
    for bytes in [0, 1, whole / 2, whole - 1, whole] {
        let mut cut = proxy.cut_request_after(bytes);
        let mut client = Client::connect(&proxy.address()).await;
        client.say(&["LPUSH", &queue, "x"]).await.unwrap();
        assert_eq!(client.hear_all().await, b"", "after {bytes}");
        assert!(matches!(cut.wait().await, CutOutcome::Cut { .. }));
        let executed = if bytes == whole { "1" } else { "0" };
        assert_eq!(length(server, &queue).await, executed, "after {bytes}");
        assert_eq!(proxy.connections().last().unwrap().request_bytes, bytes);
    }
}

#[tokio::test]
async fn a_withheld_reply_belongs_to_an_executed_request() {
    let (server, proxy, queue) = setup().await;
    for bytes in 0..4 {
        let mut cut = proxy.cut_reply_before(bytes);
        let mut client = Client::connect(&proxy.address()).await;
        client.say(&["LPUSH", &queue, "x"]).await.unwrap();
        let reply = format!(":{}\r\n", bytes + 1);
        assert_eq!(client.hear_all().await, &reply.as_bytes()[..bytes as usize]);
        assert_eq!(cut.wait().await, CutOutcome::Cut { connection: bytes + 1 });
        assert_eq!(length(server, &queue).await, (bytes + 1).to_string());
    }
}

#[tokio::test]
async fn one_command_can_be_cut_at_each_byte_among_others() {
    let (server, proxy, queue) = setup().await;
    let whole = command(&["LPUSH", &queue, "x"]).len();
    let mut places = 0;
    for bytes in 0.. {
        let mut client = Client::connect(&proxy.address()).await;
        assert_eq!(client.ask(&["PING"]).await, "+PONG\r\n");
        let mut cut = proxy.arm(Cut::request_after(bytes).of_command("LPUSH"));
        assert_eq!(client.ask(&["SET", &unique_name("other"), "x"]).await, "+OK\r\n");
        client.say(&["LPUSH", &queue, "x"]).await.unwrap();
        if cut.wait().await == CutOutcome::Missed {
            assert_eq!(client.hear().await, b":2\r\n");
            break;
        }
        assert_eq!(client.hear_all().await, b"");
        places += 1;
    }
    assert_eq!(places, whole + 1);
    assert_eq!(length(server, &queue).await, "2", "the one that came whole, and the one that was not cut");

    let mut places = 0;
    for bytes in 0.. {
        let mut client = Client::connect(&proxy.address()).await;
        let mut cut = proxy.arm(Cut::reply_before(bytes).of_command("LRANGE"));
        assert_eq!(client.ask(&["PING"]).await, "+PONG\r\n");
        client.say(&["LRANGE", &queue, "0", "-1"]).await.unwrap();
        if cut.wait().await == CutOutcome::Missed {
            break;
        }
        assert_eq!(client.hear_all().await.len() as u64, bytes);
        places += 1;
    }
    assert_eq!(places, b"*2\r\n$1\r\nx\r\n$1\r\nx\r\n".len());
}

#[tokio::test]
async fn a_cut_finds_the_connection_it_was_meant_for() {
    let (_, proxy, _) = setup().await;
    let mut first = Client::connect(&proxy.address()).await;
    assert_eq!(first.ask(&["PING"]).await, "+PONG\r\n");

    // Bytes that have passed do not count.
    let mut cut = proxy.arm(Cut::reply_before(7).on(Target::Current));
    let mut second = Client::connect(&proxy.address()).await;
    assert_eq!(second.ask(&["PING"]).await, "+PONG\r\n");
    assert_eq!(second.ask(&["PING"]).await, "+PONG\r\n");
    assert_eq!(first.ask(&["PING"]).await, "+PONG\r\n");
    assert_eq!(cut.outcome(), None);
    assert_eq!(first.ask(&["PING"]).await, "");
    assert_eq!(cut.wait().await, CutOutcome::Cut { connection: 1 });

    let mut cut = proxy.arm(Cut::request_after(0).on(Target::Nth(4)));
    let mut third = Client::connect(&proxy.address()).await;
    assert_eq!(third.ask(&["PING"]).await, "+PONG\r\n");
    let mut fourth = Client::connect(&proxy.address()).await;
    assert_eq!(fourth.ask(&["PING"]).await, "");
    assert_eq!(cut.wait().await, CutOutcome::Cut { connection: 4 });
    assert_eq!(third.ask(&["PING"]).await, "+PONG\r\n");

    let every = proxy.arm(Cut::reply_before(0).on(Target::Every));
    for _ in 0..3 {
        assert_eq!(Client::connect(&proxy.address()).await.ask(&["PING"]).await, "");
    }
    every.disarm();
    assert_eq!(Client::connect(&proxy.address()).await.ask(&["PING"]).await, "+PONG\r\n");

    // Two for the next one are for the next two.
    let (mut one, mut two) = (proxy.cut_request_after(0), proxy.cut_request_after(0));
    for cut in [&mut one, &mut two] {
        assert_eq!(Client::connect(&proxy.address()).await.ask(&["PING"]).await, "");
        assert!(matches!(cut.wait().await, CutOutcome::Cut { .. }));
    }
}

#[tokio::test]
async fn a_cut_for_a_connection_that_ends_before_it_is_missed() {
    let (_, proxy, _) = setup().await;
    let mut cut = proxy.cut_request_after(1000);
    let mut client = Client::connect(&proxy.address()).await;
    assert_eq!(client.ask(&["PING"]).await, "+PONG\r\n");
    assert_eq!(cut.outcome(), None);
    drop(client);
    assert_eq!(cut.wait().await, CutOutcome::Missed);
}

#[tokio::test]
async fn a_stall_keeps_connections_open_and_delivers_later() {
    let (server, proxy, queue) = setup().await;
    let mut client = Client::connect(&proxy.address()).await;
    assert_eq!(client.ask(&["PING"]).await, "+PONG\r\n");
    proxy.stall();
    client.say(&["LPUSH", &queue, "x"]).await.unwrap();
    assert!(client.hears_nothing().await);
    assert_eq!(length(server, &queue).await, "0");
    let mut late = Client::connect(&proxy.address()).await;
    late.say(&["PING"]).await.unwrap();
    assert!(late.hears_nothing().await);
    proxy.heal().await.unwrap();
    assert_eq!(client.hear().await, b":1\r\n");
    assert_eq!(late.hear().await, b"+PONG\r\n");
}

#[tokio::test]
async fn a_stall_of_replies_lets_the_server_work() {
    let (server, proxy, queue) = setup().await;
    let mut client = Client::connect(&proxy.address()).await;
    proxy.stall_replies();
    client.say(&["LPUSH", &queue, "x"]).await.unwrap();
    assert!(client.hears_nothing().await);
    assert_eq!(length(server, &queue).await, "1");
    proxy.heal().await.unwrap();
    assert_eq!(client.hear().await, b":1\r\n");
}

#[tokio::test]
async fn a_stalled_request_arrives_after_its_client_gave_up() {
    let (server, proxy, queue) = setup().await;
    let mut client = Client::connect(&proxy.address()).await;
    assert_eq!(client.ask(&["PING"]).await, "+PONG\r\n");
    proxy.stall_requests();
    client.say(&["LPUSH", &queue, "late"]).await.unwrap();
    drop(client);
    assert_eq!(length(server, &queue).await, "0");
    proxy.heal().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while length(server, &queue).await != "1" {
        assert!(Instant::now() < deadline, "it never arrived");
    }
}

#[tokio::test]
async fn a_delay_holds_both_directions_and_keeps_commands_together() {
    let (_, proxy, _) = setup().await;
    let mut client = Client::connect(&proxy.address()).await;
    assert_eq!(client.ask(&["PING"]).await, "+PONG\r\n");
    proxy.delay(Duration::from_millis(150));
    let start = Instant::now();
    for _ in 0..5 {
        client.say(&["PING"]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut heard = Vec::new();
    while heard.len() < 5 * 7 {
        heard.extend(client.hear().await);
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}: one delay each way at least");
    assert!(took < Duration::from_millis(5 * 300), "{took:?}: the delays add up");
}

#[tokio::test]
async fn a_refusing_proxy_is_a_closed_port_that_opens_again() {
    let (_, proxy, _) = setup().await;
    let mut before = Client::connect(&proxy.address()).await;
    assert_eq!(before.ask(&["PING"]).await, "+PONG\r\n");
    proxy.refuse(true).await.unwrap();
    let refused = tokio::net::TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(before.ask(&["PING"]).await, "+PONG\r\n");
    proxy.refuse(false).await.unwrap();
    assert_eq!(Client::connect(&proxy.address()).await.ask(&["PING"]).await, "+PONG\r\n");
}

#[tokio::test]
async fn dropped_connections_are_gone_and_new_ones_work() {
    let (_, proxy, _) = setup().await;
    let (mut one, mut two) =
        (Client::connect(&proxy.address()).await, Client::connect(&proxy.address()).await);
    assert_eq!(
        (one.ask(&["PING"]).await, two.ask(&["PING"]).await),
        ("+PONG\r\n".into(), "+PONG\r\n".into())
    );
    proxy.drop_connections();
    assert_eq!((one.hear().await, two.hear().await), (vec![], vec![]));
    assert_eq!(proxy.traffic().open, 0);
    assert_eq!(Client::connect(&proxy.address()).await.ask(&["PING"]).await, "+PONG\r\n");
}

#[tokio::test]
async fn a_slow_line_lets_a_few_bytes_pass_and_heals() {
    let (_, proxy, _) = setup().await;
    let mut client = Client::connect(&proxy.address()).await;
    proxy.throttle(std::num::NonZeroU32::new(50).unwrap());
    let begin = std::time::Instant::now();
    // 14 bytes there, 7 back: 5 a tick, 10 ticks a second.
    client.say(&["PING"]).await.unwrap();
    assert_eq!(client.hear_exactly(7).await, b"+PONG\r\n");
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
    proxy.heal().await.unwrap();
    client.say(&["ECHO", &"x".repeat(5_000)]).await.unwrap();
    assert!(client.hear_exactly(5_000 + 9).await.starts_with(b"$5000\r\nx"));
}

#[tokio::test]
async fn a_black_hole_swallows_without_an_end_and_healing_leaves_no_gap() {
    let (server, proxy, queue) = setup().await;
    let mut quiet = Client::connect(&proxy.address()).await;
    assert_eq!(quiet.ask(&["PING"]).await, "+PONG\r\n");
    let mut client = Client::connect(&proxy.address()).await;
    assert_eq!(client.ask(&["LPUSH", &queue, "before"]).await, ":1\r\n");
    let mut popper = Client::connect(&proxy.address()).await;
    popper.say(&["BLPOP", &unique_name("none"), "0.1"]).await.unwrap();
    proxy.black_hole();
    client.say(&["LPUSH", &queue, "lost"]).await.unwrap();
    assert!(client.hears_nothing().await, "nor does the connection end");
    client.say(&["LPUSH", &queue, "lost"]).await.unwrap();
    let mut new = Client::connect(&proxy.address()).await;
    new.say(&["LPUSH", &queue, "lost"]).await.unwrap();
    assert!(new.hears_nothing().await);
    assert!(popper.hears_nothing().await, "the answer came in the meantime");
    assert_eq!(length(server, &queue).await, "1");
    proxy.heal().await.unwrap();
    for client in [&mut client, &mut new, &mut popper] {
        assert_eq!(client.hear_all().await, b"", "something of it is lost");
    }
    assert_eq!(quiet.ask(&["PING"]).await, "+PONG\r\n");
    assert_eq!(length(server, &queue).await, "1");
    assert_eq!(Client::connect(&proxy.address()).await.ask(&["LPUSH", &queue, "after"]).await, ":2\r\n");
}

#[tokio::test]
async fn a_client_that_leaves_in_a_black_hole_stays_for_the_server() {
    let server = TestServer::start().await.unwrap();
    let proxy = FaultProxy::start(&server.address()).await.unwrap();
    let mut client = Client::connect(&proxy.address()).await;
    assert_eq!(client.ask(&["CLIENT", "SETNAME", "leaver"]).await, "+OK\r\n");
    proxy.black_hole();
    drop(client);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(server.cli(&["CLIENT", "LIST"]).await.unwrap().contains("name=leaver"));
    proxy.heal().await.unwrap();
    while server.cli(&["CLIENT", "LIST"]).await.unwrap().contains("name=leaver") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_dropped_proxy_takes_its_connections_along() {
    let (_, proxy, _) = setup().await;
    let address = proxy.address();
    let mut client = Client::connect(&address).await;
    assert_eq!(client.ask(&["PING"]).await, "+PONG\r\n");
    drop(proxy);
    assert_eq!(client.hear().await, b"");
}

#[tokio::test]
async fn a_new_upstream_takes_new_connections_only() {
    let (_, proxy, _) = setup().await;
    let other = TestServer::start().await.unwrap();
    other.cli(&["SET", "here", "other"]).await.unwrap();
    let mut before = Client::connect(&proxy.address()).await;
    assert_eq!(before.ask(&["EXISTS", "here"]).await, ":0\r\n");
    proxy.set_upstream(&other.address());
    assert_eq!(before.ask(&["EXISTS", "here"]).await, ":0\r\n");
    assert_eq!(Client::connect(&proxy.address()).await.ask(&["EXISTS", "here"]).await, ":1\r\n");
}

#[tokio::test]
async fn a_large_reply_passes_and_a_reader_that_does_not_read_is_felt() {
    let (server, proxy, queue) = setup().await;
    let value = "x".repeat(3_000_000);
    let mut client = Client::connect(&proxy.address()).await;
    assert_eq!(client.ask(&["SET", &queue, &value]).await, "+OK\r\n");
    client.say(&["GET", &queue]).await.unwrap();
    let mut heard = 0;
    while heard < value.len() + 12 {
        heard += client.hear().await.len();
    }
    assert_eq!(server.cli(&["STRLEN", &queue]).await.unwrap(), value.len().to_string());

    proxy.stall();
    let huge = command(&["SET", &queue, &"y".repeat(64_000_000)]);
    let mut stuck = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    let write = tokio::io::AsyncWriteExt::write_all(&mut stuck, &huge);
    assert!(tokio::time::timeout(Duration::from_millis(500), write).await.is_err(), "nobody takes it");
}
