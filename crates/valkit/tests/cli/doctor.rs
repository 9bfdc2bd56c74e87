//! `valkit doctor`, `valkit completions`, `valkit --help`

use valkey_testkit::{TestCluster, TestServer};

use crate::support::{Bench, valkit};

#[tokio::test]
async fn warnings_pass_unless_strict() {
    let bench = Bench::new().await;
    bench.push("x").await;
    let text = bench.ok(&["doctor", &bench.queue]);
    assert!(text.contains("no consumer is there") && text.contains("why") && text.contains("do  "), "{text}");
    bench.valkit(&["doctor", &bench.queue, "--strict"]).assert().code(1);
    let findings = bench.lines(&["doctor", &bench.queue]);
    assert!(findings.iter().any(|finding| finding["severity"] == "warning"), "{findings:?}");
    assert!(bench.json(&["doctor", &bench.queue])["findings"].is_array());
}

#[tokio::test]
async fn advice_about_dead_letters_can_be_followed_to_the_letter() {
    let bench = Bench::new().await;
    bench.valkit(&["send", &bench.queue]).write_stdin("1").assert().success();
    bench.ok(&["receive", &bench.queue, "-n", "1", "--exec", "exit 65"]);
    let findings = bench.lines(&["doctor", &bench.queue]);
    let told = |finding: &&serde_json::Value| finding["what"].as_str().unwrap().contains("last hour");
    let remedy = findings.iter().find(told).unwrap()["remedy"].as_str().unwrap().to_owned();
    let commands: Vec<&str> = remedy.split("valkit ").skip(1).collect();
    assert_eq!(commands.len(), 3, "{remedy}");
    for command in commands {
        let command = command.trim_end_matches(", then ").trim_end_matches(" or ");
        let mut words: Vec<&str> = command.split(' ').collect();
        words.extend((words[1] != "ls").then_some("--dry-run"));
        bench.valkit(&words).assert().success();
    }
}

#[tokio::test]
async fn a_critical_finding_fails() {
    let server = TestServer::builder()
        .config("maxmemory", "100mb")
        .config("maxmemory-policy", "allkeys-lfu")
        .start()
        .await
        .unwrap();
    let done = valkit(&["doctor"]).env("VALKEY_URL", server.url()).assert().code(1);
    assert!(String::from_utf8_lossy(&done.get_output().stdout).contains("allkeys-lfu"));
}

/// The doctor fails wherever a send does, and does not promise what it would not get.
#[tokio::test]
async fn where_a_send_is_refused_the_doctor_fails() {
    let server = TestServer::builder().acl_user("app", "pw", "~* &* +@all").start().await.unwrap();
    let other = TestServer::start().await.unwrap();
    let run = |arguments: &[&str]| {
        let done = valkit(arguments).env("VALKEY_URL", server.url()).write_stdin("1").assert();
        let output = done.get_output();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = run(&["doctor"]);
    assert!(code == 0 && text.contains("promised `fast`") && text.contains("0 critical"), "{text}");
    let (host, port) =
        other.address().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
    let states: [(&[&str], &str, &[&str]); 4] = [
        (&["CONFIG", "SET", "maxmemory", "1"], "its memory is full", &["CONFIG", "SET", "maxmemory", "0"]),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            "min-replicas-to-write is 1",
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
        (
            &["ACL", "SETUSER", "app", "-evalsha"],
            "ACL SETUSER app +evalsha",
            &["ACL", "SETUSER", "app", "+evalsha"],
        ),
        (&["REPLICAOF", &host, &port], "it is a replica of", &["REPLICAOF", "NO", "ONE"]),
    ];
    for (state, told, end) in states {
        server.cli(state).await.unwrap();
        assert_ne!(run(&["send", "q"]).0, 0, "{state:?}");
        let (code, text) = run(&["doctor"]);
        assert!(code == 1 && text.contains(told) && !text.contains("promised"), "{state:?}: {code} {text}");
        server.cli(end).await.unwrap();
        assert_eq!(run(&["send", "q"]).0, 0, "{end:?}");
    }
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let done = valkit(&["completions", shell]).assert().success();
        let script = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
        assert!(script.contains("hand-back"), "{shell}");
    }
}

/// A line of prose ends where the first word of the next has no room: a line that was broken by hand, too, is short of it.
fn assert_wrapped_once(help: &str) {
    let prose = help.lines().filter(|line| !line.ends_with(':'));
    for (line, next) in prose.clone().zip(prose.skip(1)) {
        let text = |line: &str| !line.is_empty() && !line.starts_with(' ');
        if text(line) && text(next) && !line.starts_with("Usage") {
            let word = next.split(' ').next().unwrap();
            assert!(
                line.len() <= 100 && line.len() + 1 + word.len() > 100,
                "{line:?} before {next:?} in\n{help}"
            );
        }
    }
}

#[test]
fn help_teaches_at_every_verb() {
    let verbs: [&[&str]; 18] = [
        &[],
        &["bench", "queue"],
        &["bench", "sweep"],
        &["send"],
        &["receive"],
        &["queue", "ls"],
        &["queue", "show"],
        &["queue", "peek"],
        &["queue", "limit"],
        &["queue", "purge"],
        &["queue", "hand-back"],
        &["dead", "ls"],
        &["dead", "show"],
        &["dead", "replay"],
        &["dead", "purge"],
        &["route", "test"],
        &["doctor"],
        &["demo"],
    ];
    for verb in verbs {
        let done =
            valkit(&[verb, &["--help"]].concat()).env("VALKEY_URL", "valkey://:hunter2@h").assert().success();
        let help = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
        assert!(help.contains("Examples:"), "{verb:?}\n{help}");
        assert!(!help.contains("hunter2") && !help.contains("demo-consumer"), "{help}");
        assert!(help.contains("[default: `VALKEY_URL`, else `valkey://127.0.0.1:6379`]"), "{verb:?}\n{help}");
        assert_wrapped_once(&help);
    }
}

#[tokio::test]
async fn a_mode_that_does_not_fit_the_server_is_named_with_its_remedy() {
    let cluster = TestCluster::start(3).await.unwrap();
    let url = cluster.nodes()[0].url();
    let stderr = |arguments: &[&str], code: i32| {
        let mut verb = valkit(&[arguments, &["--url", &url]].concat());
        let done = verb.write_stdin("1").assert().code(code);
        String::from_utf8_lossy(&done.get_output().stderr).into_owned()
    };
    // Two of three queues live elsewhere.
    let mut refused = 0;
    for queue in ["a", "b", "c", "d", "e", "f"] {
        if cluster.owner_of(cluster.slot_of(&format!("queue:{queue}")).await.unwrap()).await.unwrap() != 0 {
            for verb in [&["queue", "pause", queue][..], &["send", queue], &["receive", queue]] {
                let told = stderr(verb, 2);
                assert!(told.contains("VALKEY_MODE=cluster"), "{verb:?}: {told}");
            }
            refused += 1;
        }
    }
    assert!(refused > 0);
    assert!(stderr(&["queue", "ls"], 0).contains("VALKEY_MODE=cluster"));
    let advice = valkit(&["doctor", "--url", &url]).assert().success();
    assert!(String::from_utf8_lossy(&advice.get_output().stdout).contains("one node of a cluster"));

    let plain = TestServer::shared().await;
    let done = valkit(&["queue", "ls", "--url", &plain.url()]).env("VALKEY_MODE", "cluster").assert().code(2);
    let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(told.contains("leave VALKEY_MODE unset"), "{told}");
}

#[tokio::test]
async fn one_is_no_plural() {
    let bench = Bench::new().await;
    bench.push("x").await;
    let text = bench.ok(&["doctor", &bench.queue]);
    assert!(text.contains("1 message is ready and no consumer is there"), "{text}");
    assert!(text.contains("1 server and 1 queue\n"), "{text}");
}
