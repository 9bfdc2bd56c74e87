//! Files without an end, and texts that would act on the terminal.

use std::time::Duration;

use crate::support::{Bench, valkit};

/// Longer than anything here takes; a program that hangs is ended by it, and the test fails.
const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_file_without_an_end_ends_the_verb() {
    let bench = Bench::new().await;
    for ndjson in [&[][..], &["--ndjson"]] {
        let verb = [&["send", &bench.queue, "--file", "/dev/zero"], ndjson].concat();
        let done = bench.valkit(&verb).timeout(LIMIT).assert().code(2);
        let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(told.contains("/dev/zero has more than 64.0 MiB"), "{told}");
    }
    let done = bench.valkit(&["queue", "ls", "--config", "/dev/zero"]).timeout(LIMIT).assert().code(2);
    let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(told.contains("larger than 16 MiB"), "{told}");
}

#[tokio::test]
async fn a_password_file_without_an_end_or_a_beginning_ends_the_verb() {
    let bench = Bench::new().await;
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (file, why) in
        [(pipe.to_str().unwrap(), "nothing came out of it"), ("/dev/zero", "larger than 1 MiB")]
    {
        let done =
            bench.valkit(&["queue", "ls"]).env("VALKEY_PASSWORD_FILE", file).timeout(LIMIT).assert().code(6);
        let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(told.contains(file) && told.contains(why), "{told}");
    }
}

#[tokio::test]
async fn nothing_that_is_told_acts_on_the_terminal() {
    let bench = Bench::new().await;
    let done =
        bench.valkit(&["send", &bench.queue, "--id", "x\n\x1b[2Jy"]).write_stdin("1").assert().success();
    let told = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    assert_eq!(told, "sent x\\n\\u{1b}[2Jy\n");

    bench.cli(&["HSET", &bench.key("control"), "version", "\x1b[31m9"]).await;
    for verb in
        [&["receive", &bench.queue, "--count", "1"][..], &["queue", "hand-back", &bench.queue, "--yes"]]
    {
        let done = bench.valkit(verb).timeout(LIMIT).assert().failure();
        let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert!(told.contains("[31m9") && !told.contains('\x1b'), "{told:?}");
    }
}

/// A comma in a password parted it into two hosts, which the error then named.
#[test]
fn a_password_with_a_comma_is_not_shown() {
    let done = valkit(&["queue", "ls", "--url", "valkey://app:1234,cret@127.0.0.1:1"]).assert().code(5);
    let told = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(told.contains("127.0.0.1:1") && !told.contains("1234") && !told.contains("cret"), "{told}");
}
