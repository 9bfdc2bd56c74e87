//! Each exit code, and that no password is ever shown.

use valkey_testkit::{TestReplication, TestServer};

use crate::support::{Bench, valkit};

/// Nobody listens on port 1.
const NOWHERE: &str = "valkey://127.0.0.1:1";

#[tokio::test]
async fn zero_done() {
    let bench = Bench::new().await;
    bench.valkit(&["queue", "pause", &bench.queue]).assert().code(0);
    valkit(&["--help"]).assert().code(0);
    valkit(&["--version"]).assert().code(0);
}

#[tokio::test]
async fn one_failed() {
    let bench = Bench::new().await;
    bench.cli(&["SET", &bench.public(), "squatter"]).await;
    let done = bench.valkit(&["send", &bench.queue]).write_stdin("1").assert().code(1);
    let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(stderr.contains("WRONGTYPE"), "{stderr}");
    assert_eq!(bench.cli(&["GET", &bench.public()]).await, "squatter");
}

#[test]
fn two_usage() {
    valkit(&[]).assert().code(2);
    valkit(&["nonsense"]).assert().code(2);
    valkit(&["queue", "show", "not a name"]).assert().code(2);
    valkit(&["send", "q", "--ttl", "10"]).assert().code(2);
    valkit(&["send", "q", "--raw", "--ttl", "10s"]).assert().code(2);
    valkit(&["queue", "purge", "q"]).assert().code(2);
    for (verb, way) in [
        (&["queue", "purge", "q", "--only", "delayed,dead"][..], "valkit dead purge q"),
        (&["queue", "peek", "q", "--in", "dead"], "valkit dead ls q"),
        (&["queue", "hand-back", "q", "--only", "dead"], "valkit dead replay q"),
    ] {
        let done = valkit(verb).assert().code(2);
        let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(told.contains(way), "{told}");
    }
    valkit(&["--url", "ftp://x", "queue", "ls"]).assert().code(2);
    valkit(&["queue", "ls"]).env("VALKEY_POOL_SIZE", "many").assert().code(2);
    valkit(&["queue", "ls", "--config", "/does/not/exist.toml"]).assert().code(2);
}

#[tokio::test]
async fn two_for_what_only_the_verb_can_see() {
    let bench = Bench::new().await;
    bench.valkit(&["dead", "replay", &bench.queue]).assert().code(2);
    bench.valkit(&["send", &bench.queue]).write_stdin("no json").assert().code(2);
}

#[tokio::test]
async fn three_partly_done() {
    let bench = Bench::new().await;
    let done =
        bench.valkit(&["send", &bench.queue, "--ndjson"]).write_stdin("1\nno json\n3\n").assert().code(3);
    let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(stderr.contains("line 2"), "{stderr}");
    assert_eq!(bench.cli(&["LLEN", &bench.public()]).await, "2");
}

#[tokio::test]
async fn four_not_there() {
    let bench = Bench::new().await;
    bench.valkit(&["queue", "show", &bench.queue]).assert().code(4);
    bench.valkit(&["dead", "show", &bench.queue, "nope"]).assert().code(4);
    bench.valkit(&["dead", "replay", &bench.queue, "nope"]).assert().code(4);
}

#[tokio::test]
async fn four_for_every_verb_that_is_given_a_queue_that_is_not_there() {
    let bench = Bench::new().await;
    let queue = bench.queue.as_str();
    let verbs: [&[&str]; 14] = [
        &["queue", "show", queue],
        &["queue", "peek", queue],
        &["queue", "peek", queue, "-o", "json"],
        &["queue", "limit", queue],
        &["queue", "resume", queue],
        &["queue", "purge", queue, "--only", "ready", "--yes"],
        &["queue", "purge", queue, "--only", "ready", "--dry-run"],
        &["queue", "hand-back", queue, "--yes"],
        &["dead", "ls", queue],
        &["dead", "show", queue, "ID"],
        &["dead", "replay", queue, "--all"],
        &["dead", "replay", queue, "ID"],
        &["dead", "purge", queue, "--all", "--yes"],
        &["doctor", queue],
    ];
    for verb in verbs {
        let done = bench.valkit(verb).assert().code(4);
        let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(told.contains(&format!("error: no queue {queue}")), "{verb:?}: {told}");
        assert!(told.contains("`valkit queue ls` lists them"), "{verb:?}: {told}");
    }
    // A queue may be set up before its first message.
    for verb in [&["queue", "pause", queue][..], &["queue", "limit", queue, "--rate", "5/s"]] {
        let done = bench.valkit(verb).assert().success();
        let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(told.contains("no messages yet"), "{verb:?}: {told}");
        bench.cli(&["DEL", &bench.key("control")]).await;
    }
}

#[test]
fn five_not_reachable() {
    let verbs: [&[&str]; 4] =
        [&["queue", "ls"], &["doctor"], &["dead", "ls", "q"], &["receive", "q", "--count", "1"]];
    for verb in verbs {
        let done = valkit(verb).env("VALKEY_URL", NOWHERE).assert().code(5);
        let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(stderr.contains("127.0.0.1:1") && !stderr.contains("goes on"), "{stderr}");
    }
    valkit(&["send", "q", "--url", NOWHERE]).write_stdin("1").assert().code(5);
}

#[tokio::test]
async fn five_for_a_replica_with_the_address_of_its_primary() {
    let servers = TestReplication::builder().replicas(1).start().await.unwrap();
    let replica = servers.servers()[1].url();
    let role = servers.servers()[1].cli(&["ROLE"]).await.unwrap();
    let primary = role.lines().skip(1).take(2).collect::<Vec<_>>().join(":");
    for verb in [&["send", "q"][..], &["queue", "pause", "q"]] {
        let done = valkit(verb).env("VALKEY_URL", &replica).write_stdin("1").assert().code(5);
        let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(told.contains("this server is a replica: give the primary's address"), "{told}");
        assert!(
            told.contains(&format!("its primary is {primary}")) && !told.contains("looking for it"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn six_without_a_password_with_the_variable_to_set() {
    let server = TestServer::builder().password("right-password").start().await.unwrap();
    let url = format!("valkey://{}", server.url().rsplit('@').next().unwrap());
    let done = valkit(&["queue", "ls", "--url", &url]).assert().code(6);
    let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(told.contains("wants a password") && told.contains("VALKEY_PASSWORD_FILE"), "{told}");
    assert!(!told.contains("HELLO"), "{told}");
}

#[tokio::test]
async fn six_denied() {
    let server = TestServer::builder()
        .acl_user("reader", "right-password", "~* &* +@all -@scripting -lpush")
        .start()
        .await
        .unwrap();
    let wrong = server.url_as("reader", "wrong-password");
    let done = valkit(&["queue", "ls", "--url", &wrong]).assert().code(6);
    let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(stderr.contains("reader") && !stderr.contains("wrong-password"), "{stderr}");
    valkit(&["queue", "pause", "q"]).env("VALKEY_URL", server.url()).assert().code(6);
    let push =
        valkit(&["send", "q", "--raw"]).env("VALKEY_URL", server.url()).write_stdin("1").assert().code(6);
    let stderr = String::from_utf8_lossy(&push.get_output().stderr).into_owned();
    assert!(!stderr.contains("right-password"), "{stderr}");
}

#[tokio::test]
async fn seven_refused_without_a_confirmation() {
    let bench = Bench::new().await;
    bench.push("x").await;
    bench.bury("1-1-c", "rejected", b"x").await;
    bench.cli(&["LPUSH", &bench.key("woken"), "x"]).await;
    let verbs: [&[&str]; 3] = [
        &["queue", "purge", &bench.queue, "--only", "ready"],
        &["queue", "hand-back", &bench.queue],
        &["dead", "purge", &bench.queue, "--all"],
    ];
    for verb in verbs {
        let done = bench.valkit(verb).write_stdin(bench.queue.clone()).assert().code(7);
        let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(stderr.contains("--yes"), "{stderr}");
    }
    let stats = bench.json(&["queue", "show", &bench.queue]);
    assert_eq!((&stats["ready"]["total"], &stats["dead"]), (&2.into(), &1.into()));
}

#[test]
fn passwords_are_in_no_message() {
    let urls = [
        "valkey://u:hunter2@127.0.0.1:1",
        "valkey://u:hunter2@",
        "nonsense://u:hunter2@h",
        "valkey://u:hunter2@h:x",
    ];
    for url in urls {
        for verbose in [&[][..], &["-vvv"]] {
            let done = valkit(&[verbose, &["doctor", "--url", url]].concat()).assert().failure();
            let output = done.get_output();
            let all = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
            assert!(!all.contains("hunter2"), "{all}");
        }
    }
    let done =
        valkit(&["doctor"]).env("VALKEY_URL", urls[0]).env("VALKEY_PASSWORD", "hunter2").assert().code(5);
    let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(!stderr.contains("hunter2"), "{stderr}");
}
