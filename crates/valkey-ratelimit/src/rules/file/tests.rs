//! What becomes of the rules when their file changes.

use super::*;
use crate::subject::Subject;

const GOOD: &str = "[rules.a]\nquota = \"1/1s\"\n";
const BETTER: &str = "[rules.a]\nquota = \"2/1s\"\n[rules.b]\nquota = \"1/1s\"\n";

struct Bed {
    folder: tempfile::TempDir,
}

impl Bed {
    fn new(text: &str) -> (Self, RulesFile) {
        let bed = Self { folder: tempfile::tempdir().expect("a folder") };
        bed.write(text);
        let file = RulesFile::open(bed.path()).expect("rules");
        (bed, file)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("rules.toml")
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(), text).expect("written");
    }
}

fn limit(file: &RulesFile) -> Option<u64> {
    file.current().get("a").map(|rule| rule.quota().limit())
}

#[test]
fn what_is_broken_changes_nothing_and_is_told_until_it_is_mended() {
    let (bed, file) = Bed::new(GOOD);
    assert!(!file.reload().expect("the same"));
    for (broken, why) in [
        ("[rules.a]\nquota = \"x\"\n".as_bytes(), "rules.toml:2: rules.a.quota: `x` is no quota"),
        (b"[rules.a", "rules.toml:1:"),
        (b"", "there are no rules in it"),
        (b"\xff", "it is not UTF-8"),
    ] {
        bed.write(broken);
        for _ in 0..2 {
            let error = file.reload().expect_err("broken").to_string();
            assert!(error.contains(why), "{error}");
            assert_eq!(file.last_error().map(|error| error.to_string()), Some(error));
        }
        assert_eq!(limit(&file), Some(1));
    }
    bed.write(BETTER);
    assert!(file.reload().expect("mended"));
    assert_eq!((limit(&file), file.current().len()), (Some(2), 2));
    assert!(file.last_error().is_none());
}

#[test]
fn a_file_that_is_gone_and_back_is_judged_as_before() {
    let (bed, file) = Bed::new(GOOD);
    bed.write("[rules.a]\n");
    assert!(matches!(&*file.reload().expect_err("no quota"), RulesError::Invalid(_)));
    std::fs::remove_file(bed.path()).expect("removed");
    assert!(matches!(&*file.reload().expect_err("gone"), RulesError::Unreadable { .. }));
    bed.write("[rules.a]\n");
    assert!(matches!(&*file.reload().expect_err("no quota, still"), RulesError::Invalid(_)));
    bed.write(GOOD);
    assert!(file.reload().expect("mended") && file.last_error().is_none());
    assert_eq!(limit(&file), Some(1));
}

#[test]
fn a_rule_in_use_does_not_go() {
    let (bed, file) = Bed::new(BETTER);
    let file = file.with_needed(["a", "b"]).expect("both are there");
    bed.write(GOOD);
    let error = file.reload().expect_err("b is missing").to_string();
    assert!(error.contains("there is no rule b") && file.current().len() == 2, "{error}");
    assert!(matches!(file.with_needed(["c"]), Err(RulesError::Missing { name, .. }) if name == "c"));
}

#[test]
fn who_counts_in_another_way_does_it_under_other_keys() {
    let rule = |more: &str| format!("[rules.a]\nquota = \"1/1s\"\n{more}\n");
    let (bed, file) = Bed::new(GOOD);
    bed.write(rule("algorithm = \"fixed-window\""));
    let error = file.reload().expect_err("keys at odds").to_string();
    assert!(error.contains("counted by sliding-window and is to count by fixed-window"), "{error}");
    for fine in [
        "algorithm = \"sliding-log\"",
        "algorithm = \"gcra\"\nburst = 1",
        "algorithm = \"gcra\"\nburst = 2",
        "prefix = \"p:\"",
    ] {
        bed.write(rule(fine));
        assert!(file.reload().expect(fine));
    }
}

#[test]
fn a_rule_that_stays_the_same_remembers_whom_it_has_seen() {
    let rule = "[rules.a]\nquota = \"1/1h\"\nmost_subjects = 1\n";
    let (bed, file) = Bed::new(rule);
    let is_alone = |name: &str| {
        let (current, subject) = (file.current(), Subject::text(name));
        let rule = current.get("a").expect("the rule");
        *rule.counted_as(&subject, std::time::Instant::now()) == subject
    };
    assert!(is_alone("ada"));
    bed.write(format!("{rule}[rules.b]\nquota = \"1/1s\"\n"));
    assert!(file.reload().expect("another rule"));
    assert!(is_alone("ada") && !is_alone("eve"), "there is room for one");
    bed.write(rule.replace("1/1h", "2/1h"));
    assert!(file.reload().expect("another quota"));
    assert!(is_alone("eve"), "another rule begins anew");
}

#[cfg(unix)]
#[test]
fn a_file_without_an_end_is_left_alone() {
    let error = Rules::load("/dev/zero").expect_err("no rules");
    assert!(error.to_string().contains("larger than 16 MiB"), "{error}");
    let error = RulesFile::open("/dev/zero").expect_err("no rules");
    assert!(error.to_string().contains("a device, and not a file"), "{error}");
}

/// As Kubernetes changes what it mounts: the name stays, and leads elsewhere.
#[cfg(unix)]
#[tokio::test]
async fn a_watched_file_is_followed_also_behind_a_link() {
    let (bed, _) = Bed::new(GOOD);
    let (link, other) = (bed.folder.path().join("link"), bed.folder.path().join("other.toml"));
    std::fs::write(&other, BETTER).expect("written");
    std::os::unix::fs::symlink(bed.path(), &link).expect("a link");
    let file = RulesFile::open(&link).expect("rules");
    file.watch(Duration::from_millis(1));
    assert_eq!(limit(&file), Some(1));
    let next = bed.folder.path().join("next");
    std::os::unix::fs::symlink(&other, &next).expect("a link");
    std::fs::rename(&next, &link).expect("renamed");
    let changed = async {
        while limit(&file) != Some(2) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), changed).await.expect("the change is seen");

    let shared = Arc::downgrade(&file.shared);
    drop(file);
    let over = async {
        while shared.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), over).await.expect("nobody watches any more");
}

/// What opens it waits until somebody writes into it: the task that watches would never look again.
#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_the_file_that_takes_its_place_is_read() {
    let (bed, file) = Bed::new(GOOD);
    let pipe = bed.folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("coreutils").success());
    std::fs::rename(&pipe, bed.path()).expect("renamed");
    let (told, heard) = std::sync::mpsc::channel();
    let looking = file.clone();
    std::thread::spawn(move || told.send(looking.reload().map_err(|error| error.to_string())));
    let error = heard.recv_timeout(Duration::from_secs(10)).expect("an end").expect_err("a pipe");
    assert!(error.contains("it is a pipe"), "{error}");
    assert!(RulesFile::open(bed.path()).is_err());
    std::fs::remove_file(bed.path()).expect("removed");
    bed.write(BETTER);
    assert!(file.reload().expect("mended"));
    assert_eq!(limit(&file), Some(2));
}
