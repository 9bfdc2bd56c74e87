//! `valkit limit`
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::PathBuf;

use assert_cmd::Command;
use serde_json::{Value, json};
use valkey_testkit::{TestServer, unique_name};

/// Nobody listens on port 1.
const NOWHERE: &str = "valkey://127.0.0.1:1";

/// A file of rules with names that nobody else has.
struct Bench {
    server: &'static TestServer,
    folder: tempfile::TempDir,
    name: String,
}

impl Bench {
    async fn new() -> Self {
        let bench = Self {
            server: TestServer::shared().await,
            folder: tempfile::tempdir().unwrap(),
            name: unique_name("limit"),
        };
        let name = &bench.name;
        let text = format!(
            "[rules.{name}]\nquota = \"3/10day\"\nallow = [\"10.0.0.0/8\"]\non_unavailable = \"allow\"\n\n\
             [rules.{name}-ladder]\nquota = \"2/10day\"\nnetworks = [{{ v4 = 24, v6 = 48, quota = \"3/10day\" }}]\n\n\
             [rules.{name}-seen]\nquota = \"1/10day\"\nshadow = true\n\n\
             [rules.{name}-log]\nquota = \"200/10day\"\nalgorithm = \"sliding-log\"\nprefix = \"elemta:ratelimit:\"\n"
        );
        std::fs::write(bench.file(), text).unwrap();
        bench
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("rules.toml")
    }

    fn rule(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.name)
    }

    fn valkit(&self, arguments: &[&str]) -> Command {
        let mut command = valkit(arguments);
        command
            .env("VALKEY_URL", self.server.url())
            .env("VALKEY_READ_TIMEOUT", "30s")
            .env("VALKIT_RULES", self.file());
        command
    }

    /// What is on stdout, if the exit code is this.
    fn told(&self, code: i32, arguments: &[&str]) -> String {
        let done = self.valkit(arguments).assert().code(code);
        String::from_utf8(done.get_output().stdout.clone()).unwrap()
    }

    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.told(code, &[arguments, &["-o", "json"]].concat())).unwrap()
    }

    async fn cli(&self, arguments: &[&str]) -> String {
        self.server.cli(arguments).await.unwrap()
    }
}

fn valkit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_valkit"));
    command.args(["limit"]).args(arguments).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// The words on stderr, if the exit code is this.
fn complaint(command: &mut Command, code: i32) -> String {
    let done = command.assert().code(code);
    String::from_utf8_lossy(&done.get_output().stderr).into_owned()
}

#[tokio::test]
async fn a_check_charges_and_six_is_a_refusal() {
    let bench = Bench::new().await;
    let rule = bench.rule("");
    let check = ["check", &rule, "192.0.2.7"];
    let first = bench.json(0, &[&check[..], &["--cost", "2"]].concat());
    assert_eq!(
        (&first["decision"], &first["source"], &first["remaining"], &first["cost"]),
        (&json!("allowed"), &json!("store"), &json!(1), &json!(2))
    );
    // However the address is written.
    assert_eq!(bench.json(0, &["check", &rule, "::ffff:192.0.2.7"])["remaining"], 0);
    let denied = bench.json(6, &check);
    assert_eq!((&denied["decision"], &denied["remaining"]), (&json!("denied"), &json!(0)));
    assert!(denied["retry_after_ms"].as_u64().unwrap() > 1_000_000);
    let table = bench.told(6, &check);
    assert!(table.contains("decision     denied") && table.contains("retry after  10d"), "{table}");
    // Others have their own, and some are never limited.
    bench.told(0, &["check", &rule, "192.0.2.8"]);
    for _ in 0..5 {
        let allowed = bench.json(0, &["check", &rule, "10.1.2.3"]);
        assert_eq!((&allowed["source"], &allowed["remaining"]), (&json!("allow_list"), &Value::Null));
    }
    assert!(bench.told(0, &["peek", &rule, "10.1.2.3"]).contains("on the allow list"));
}

#[tokio::test]
async fn a_quota_does_without_a_file() {
    let bench = Bench::new().await;
    let own = ["--quota", "2/10day", "--name", &bench.name, "--prefix", "tests:"];
    let check = [&["check", "nightly"], &own[..]].concat();
    for left in [1, 0] {
        let mut command = valkit(&[&check[..], &["-o", "json"]].concat());
        let done = command.env("VALKEY_URL", bench.server.url()).assert().success();
        let told: Value = serde_json::from_slice(&done.get_output().stdout).unwrap();
        assert_eq!((&told["rule"], &told["remaining"]), (&json!(bench.name), &json!(left)));
    }
    bench.told(6, &check);
    assert!(bench.cli(&["KEYS", &format!("tests:{{*}}:{}:nightly", bench.name)]).await.len() > 3);
    let gcra = [&["check", "x"], &own[..], &["--algorithm", "gcra", "--burst", "1"]].concat();
    bench.told(0, &gcra);
    bench.told(6, &gcra);
}

#[tokio::test]
async fn several_rules_are_charged_all_or_none() {
    let bench = Bench::new().await;
    let (wide, narrow) = (bench.rule(""), bench.rule("-ladder"));
    let both = format!("{wide},{narrow}");
    bench.told(0, &["check", &narrow, "192.0.2.7", "--cost", "2"]);
    let told = bench.json(6, &["check", &both, "192.0.2.7"]);
    assert_eq!((&told[0]["rule"], &told[1]["rule"]), (&json!(wide), &json!(narrow)));
    assert_eq!((&told[0]["decision"], &told[0]["refuses"]), (&json!("denied"), &json!(false)));
    assert_eq!((&told[1]["decision"], &told[1]["refuses"]), (&json!("denied"), &json!(true)));
    assert_eq!(bench.json(0, &["peek", &wide, "192.0.2.7"])["remaining"], 3);
    // Both are denied, and the table says by which.
    let table = bench.told(6, &["check", &both, "192.0.2.7"]);
    let line = |rule: &str| {
        let mut lines = table.lines().filter(|line| line.split_whitespace().next() == Some(rule));
        lines.next().unwrap().to_owned()
    };
    assert!(line(&wide).contains("has room") && !line(&wide).contains("10d"), "{table}");
    assert!(line(&narrow).contains("refuses") && line(&narrow).contains("10d"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
}

#[tokio::test]
async fn the_network_that_is_used_up_is_named() {
    let bench = Bench::new().await;
    let rule = bench.rule("-ladder");
    bench.told(0, &["check", &rule, "192.0.2.7", "--cost", "2"]);
    bench.told(0, &["check", &rule, "192.0.2.8"]);
    let told = bench.json(6, &["check", &rule, "192.0.2.9"]);
    assert_eq!((&told["network"], &told["subject"]), (&json!("192.0.2.0/24"), &json!("192.0.2.9")));
    // Who refuses an address that has room by itself.
    let told = bench.json(0, &["peek", &rule, "192.0.2.9"]);
    assert_eq!((&told["remaining"], &told["refused_by"]), (&json!(0), &json!("192.0.2.0/24")));
    let steps: Vec<_> = told["steps"].as_array().unwrap().iter().map(|step| &step["refuses"]).collect();
    assert_eq!(steps, [&json!(false), &json!(true)]);
    let table = bench.told(0, &["peek", &rule, "192.0.2.9"]);
    assert!(table.contains("refused by   192.0.2.0/24") && table.contains("has room"), "{table}");
    // What its own step says of the network.
    assert_eq!(bench.json(0, &["peek", &rule, "192.0.2.0/24"])["remaining"], 0);
    bench.told(0, &["reset", &rule, "192.0.2.0/24", "--yes"]);
    assert_eq!(bench.json(0, &["peek", &rule, "192.0.2.0/24"])["remaining"], 3);
    bench.told(0, &["check", &rule, "192.0.2.9"]);
}

/// The dry run told what networks were charged for what a reset would forget.
#[tokio::test]
async fn a_reset_of_a_ladder_forgets_what_its_dry_run_says() {
    let bench = Bench::new().await;
    let rule = bench.rule("-ladder");
    bench.told(0, &["check", &rule, "192.0.2.7", "--cost", "2"]);
    bench.told(0, &["check", &rule, "192.0.2.8"]);
    let reset = |address, how| ["reset", rule.as_str(), address, how];
    // Nothing of its own, though its network is used up.
    let dry = bench.json(0, &reset("192.0.2.9", "--dry-run"));
    assert_eq!((&dry["reset"], &dry["used"]), (&json!(false), &json!(0)));
    assert_eq!(dry["still_refused_by"], json!(["192.0.2.0/24"]));
    assert_eq!(bench.json(0, &reset("192.0.2.9", "--yes"))["reset"], false);
    for (how, kept) in [("--dry-run", 2), ("--yes", 0)] {
        let told = bench.json(0, &reset("192.0.2.7", how));
        let said = (&told["reset"], &told["used"], &told["subject"]);
        assert_eq!(said, (&json!(true), &json!(2), &json!("192.0.2.7")), "{how}");
        let steps = &bench.json(0, &["peek", &rule, "192.0.2.7"])["steps"];
        assert_eq!((&steps[0]["used"], &steps[1]["used"]), (&json!(kept), &json!(3)), "{how}");
    }
    let hint = complaint(&mut bench.valkit(&reset("192.0.2.7", "--dry-run")), 0);
    assert!(hint.contains("refused all the same: by 192.0.2.0/24"), "{hint}");
    bench.told(0, &reset("192.0.2.0/24", "--yes"));
    assert_eq!(bench.json(0, &["peek", &rule, "192.0.2.7"])["refused_by"], Value::Null);
}

#[tokio::test]
async fn a_shadow_is_in_nobodys_way() {
    let bench = Bench::new().await;
    let check = ["check", &bench.rule("-seen"), "ada"];
    assert_eq!(bench.json(0, &check)["source"], "store");
    assert_eq!(bench.json(0, &check)["source"], "shadow");
}

#[tokio::test]
async fn a_reset_is_asked_for_and_gives_all_back() {
    let bench = Bench::new().await;
    let rule = bench.rule("");
    let reset = ["reset", &rule, "ada"];
    assert!(bench.told(0, &reset).contains("ada was charged nothing"));
    bench.told(0, &["check", &rule, "ada", "--cost", "3"]);
    let refused = complaint(bench.valkit(&reset).write_stdin("ada"), 7);
    assert!(refused.contains("--yes") && refused.contains(&rule), "{refused}");
    let dry = bench.json(0, &[&reset[..], &["--dry-run"]].concat());
    assert_eq!((&dry["reset"], &dry["dry_run"]), (&json!(true), &json!(true)));
    assert_eq!(bench.json(0, &["peek", &rule, "ada"])["remaining"], 0);
    assert!(bench.told(0, &[&reset[..], &["--yes"]].concat()).contains("is forgotten"));
    assert_eq!(bench.json(0, &["peek", &rule, "ada"])["remaining"], 3);
}

#[tokio::test]
async fn what_is_somebody_elses_is_left_alone() {
    let bench = Bench::new().await;
    let rule = bench.rule("-log");
    let key = format!("elemta:ratelimit:{rule}:172.20.0.1");
    bench.cli(&["SET", &key, "x"]).await;
    for verb in [&["check"][..], &["peek"], &["reset", "--yes"]] {
        let told = complaint(&mut bench.valkit(&[verb, &[&rule, "172.20.0.1"]].concat()), 1);
        assert!(told.contains(&key) && told.contains("something else"), "{told}");
    }
    assert_eq!(bench.cli(&["GET", &key]).await, "x");
    let top = complaint(&mut bench.valkit(&["top", &rule]), 0);
    assert!(top.contains("1 key like a subject's"), "{top}");
    bench.cli(&["DEL", &key]).await;
}

#[tokio::test]
async fn top_shows_who_is_nearest_to_which_limit_also_of_other_nodes() {
    let bench = Bench::new().await;
    let (own, log) = (bench.rule(""), bench.rule("-log"));
    assert!(complaint(&mut bench.valkit(&["top", &own]), 0).contains("nobody is counted"));
    for (subject, cost) in [("ada", "1"), ("eve", "3"), ("bob", "2")] {
        bench.told(0, &["check", &own, subject, "--cost", cost]);
    }
    // As another node writes them: whole seconds, the second is the member.
    let now: u64 = bench.cli(&["TIME"]).await.lines().next().unwrap().parse().unwrap();
    let key = format!("elemta:ratelimit:{log}:172.20.0.1");
    for second in now - 150..now {
        bench.cli(&["ZADD", &key, &second.to_string(), &second.to_string()]).await;
    }
    let rows = bench.json(0, &["top", "--most", "3"]);
    let seen: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (row["rule"].as_str().unwrap(), row["subject"].as_str().unwrap(), row["used"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(seen, [(own.as_str(), "eve", 3), (&log, "172.20.0.1", 150), (&own, "bob", 2)]);
    assert_eq!((&rows[1]["share"], &rows[1]["limit"]), (&json!(0.75), &json!(200)));
    let done = bench.valkit(&["top", &own, "--most", "1"]).assert().success();
    let table = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    assert!(table.contains("100%") && table.lines().count() == 2, "{table}");
    assert!(String::from_utf8_lossy(&done.get_output().stderr).contains("1 of 3 subjects"));
    // Looking charges nothing.
    assert_eq!(bench.json(0, &["peek", &own, "ada"])["remaining"], 2);
    assert_eq!(bench.cli(&["ZCARD", &key]).await, "150");
}

#[tokio::test]
async fn the_file_is_found_wrong_with_its_line_and_a_rule_that_is_not_there_with_a_guess() {
    let bench = Bench::new().await;
    let near = format!("{}-ladde", bench.name);
    let told = complaint(&mut bench.valkit(&["check", &near, "ada"]), 4);
    assert!(told.contains(&format!("did you mean {}-ladder?", bench.name)), "{told}");
    let told = complaint(&mut bench.valkit(&["peek", "zzz", "ada"]), 4);
    assert!(told.contains("the file has ") && told.contains(&bench.rule("-seen")), "{told}");
    let told = complaint(&mut bench.valkit(&["peek", &bench.rule("-log"), "ada"]), 0);
    assert!(told.contains("rules.toml:16: ") && told.contains("a sliding log of 200"), "{told}");

    std::fs::write(bench.file(), "[rules.a]\nquota = \"1/apple\"\n").unwrap();
    let told = complaint(&mut bench.valkit(&["check", "a", "ada"]), 2);
    assert!(told.contains("rules.toml:2: rules.a.quota: `1/apple` is no quota"), "{told}");
    std::fs::remove_file(bench.file()).unwrap();
    let told = complaint(&mut bench.valkit(&["top"]), 2);
    assert!(told.contains("rules.toml: the rules cannot be read"), "{told}");
}

#[test]
fn two_for_what_makes_no_sense_and_five_where_nobody_answers() {
    for (arguments, expected) in [
        (&["check", "ada"][..], "--quota 100/1m"),
        (&["check", "per-ip", "ada"], "VALKIT_RULES"),
        (&["top"], "VALKIT_RULES"),
        (&["check", "--quota", "1/1s", "per-ip", "ada"], "a rule per-ip beside it"),
        (&["check", "--quota", "1/apple", "ada"], "is no quota"),
        (&["check", "--quota", "1/1s", "--algorithm", "gcra", "ada"], "gcra needs a burst"),
        (&["check", "--quota", "1/1s", "--algorithm", "best", "ada"], "`best` is no algorithm"),
        (&["check", "--quota", "1/1s", "--cost", "0", "ada"], "--cost"),
        (&["check", "--algorithm", "gcra", "ada"], "--quota"),
        (&["check", "--quota", "1/1s", "--name", "A", "ada"], "is no name of a rule"),
        (&["check", "--quota", "1/1s", ""], "the subject is empty"),
        (&["peek", "--quota", "1/1s", ""], "the subject is empty"),
        (&["reset", "--quota", "1/1s", "--text", ""], "the subject is empty"),
        (&["check", "--quota", "1/1s", "--prefix", "{mine}:", "ada"], "found '{'"),
        (&["check", "--quota", "1/1s", "--prefix", "mine\n", "ada"], "found '\\n'"),
        (&["top", "--quota", "1/1s", "--prefix", ""], "1 to 200 bytes"),
    ] {
        let told = complaint(&mut valkit(arguments), 2);
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
    for verb in ["check", "peek", "reset"] {
        let told = complaint(&mut valkit(&[verb, "--quota", "1/1s", "ada", "--url", NOWHERE]), 5);
        assert!(told.contains("127.0.0.1:1"), "{told}");
    }
    complaint(&mut valkit(&["top", "--quota", "1/1s", "--url", NOWHERE]), 5);
}

#[tokio::test]
async fn what_can_never_be_allowed_is_a_mistake_and_no_refusal() {
    let bench = Bench::new().await;
    let told = complaint(&mut bench.valkit(&["check", &bench.rule(""), "ada", "--cost", "4"]), 2);
    assert!(told.contains("the limit is 3"), "{told}");
    let log = ["check", "--quota", "10001/1h", "--algorithm", "sliding-log", "ada"];
    assert!(complaint(&mut bench.valkit(&log), 2).contains("is refused"));
}

/// A wrong password, or a user who may not: a script would take that for a limit that is reached.
#[tokio::test]
async fn a_user_whom_the_server_refuses_is_no_refusal_of_a_limit() {
    let server = TestServer::builder().acl_user("app", "canary", "~other:* +@all").start().await.unwrap();
    for (password, why) in [("wr0ng", "WRONGPASS"), ("canary", "NOPERM")] {
        let mut command = valkit(&["check", "--quota", "5/1m", "nightly"]);
        command.env("VALKEY_URL", format!("valkey://app:{password}@{}", server.address()));
        let told = complaint(&mut command, 1);
        assert!(told.contains(why) && !told.contains(password), "{told}");
    }
}

/// A closed pipe at stdout ends other verbs with 0.
#[tokio::test]
async fn a_refusal_that_nobody_reads_is_one_all_the_same() {
    let bench = Bench::new().await;
    let rule = bench.rule("");
    bench.told(0, &["check", &rule, "192.0.2.9", "--cost", "3"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let url = bench.server.url();
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_valkit"))
        .args(["limit", "check", &rule, "192.0.2.9"])
        .env("VALKEY_URL", url)
        .env("VALKIT_RULES", bench.file())
        .stdout(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(6));
}
