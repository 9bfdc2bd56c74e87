//! A file of rules that is looked at again.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::time::MissedTickBehavior;

use super::{Rules, RulesError};
use crate::algorithm::Algorithm;
use crate::rule::Rule;

/// More than any rules, in bytes.
const LARGEST: u64 = 16 << 20;

/// Between two looks at a file that has changed. Whoever writes in place is done by then, or it has changed again.
const SETTLES: Duration = Duration::from_millis(100);

/// The rules of a file, as it is and becomes. Cloning is cheap, and gives the same.
///
/// A file that is broken, gone, or has no rules any more leaves the rules as they were, and so does one that changes how a rule
/// counts but not where: that is logged once for each content, and [`last_error`](Self::last_error) says it as long as it holds. Looking goes by the content, so a file that is written in
/// place, replaced, or mounted by Kubernetes is all the same.
///
/// ```no_run
/// use std::time::Duration;
/// use valkey_ratelimit::RulesFile;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let file = RulesFile::open("/etc/valkit/rules.toml")?.with_needed(["per-ip"])?;
/// file.watch(Duration::from_secs(5));
/// let rule = file.current().get("per-ip").cloned();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RulesFile {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    current: ArcSwap<Rules>,
    error: ArcSwapOption<RulesError>,
    /// Held while the file is looked at, which may take long; nobody else waits for it.
    looks: Mutex<Looks>,
}

/// What was seen when the file was looked at last.
#[derive(Debug)]
struct Looks {
    seen: String,
    /// What is wrong with that.
    wrong: Option<Arc<RulesError>>,
    needed: Vec<String>,
}

impl RulesFile {
    /// Reads a file, and waits for that.
    ///
    /// # Errors
    /// As [`Rules::load`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, RulesError> {
        let path = path.into();
        let text = read(&path)?;
        let rules = Rules::of(&path, &text)?;
        tell(&rules);
        let looks = Mutex::new(Looks { seen: text, wrong: None, needed: Vec::new() });
        let current = ArcSwap::from_pointee(rules);
        Ok(Self { shared: Arc::new(Shared { path, current, error: ArcSwapOption::empty(), looks }) })
    }

    /// With rules that have to be there, also in every later version of the file: those that a program asks for by name.
    ///
    /// # Errors
    /// [`RulesError::Missing`].
    pub fn with_needed<I>(self, names: I) -> Result<Self, RulesError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        missing(&self.shared.path, &self.current(), &names)?;
        self.shared.looks().needed.extend(names);
        Ok(self)
    }

    /// The rules in force.
    pub fn current(&self) -> Arc<Rules> {
        self.shared.current.load_full()
    }

    /// Why the file is not what the rules are from; nothing if it is.
    pub fn last_error(&self) -> Option<Arc<RulesError>> {
        self.shared.error.load_full()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Looks at the file now, and waits for that; says whether there are other rules.
    ///
    /// # Errors
    /// As [`Rules::load`], and [`RulesError::Missing`], [`RulesError::Recounted`], [`RulesError::Emptied`]. The rules are then as
    /// they were.
    pub fn reload(&self) -> Result<bool, Arc<RulesError>> {
        self.shared.look()
    }

    /// Looks at the file every so often, from a task of its own, until the last clone of this is dropped.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn watch(&self, every: Duration) {
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(watch(shared, every.max(SETTLES)));
    }
}

async fn watch(shared: Weak<Shared>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        // A file may be far away, and take its time. What went wrong is kept and logged.
        if tokio::task::spawn_blocking(move || shared.look()).await.is_err() {
            return;
        }
    }
}

impl Shared {
    fn look(&self) -> Result<bool, Arc<RulesError>> {
        let mut looks = self.looks();
        let (changed, wrong) = match self.settled(&looks.seen) {
            Err(unreadable) => (false, Some(Arc::new(unreadable))),
            Ok(None) => (false, looks.wrong.clone()),
            Ok(Some(text)) => {
                let rules = self.acceptable(&text, &looks.needed);
                looks.seen = text;
                match rules {
                    Err(error) => {
                        looks.wrong = Some(Arc::new(error));
                        (false, looks.wrong.clone())
                    }
                    Ok(rules) => {
                        tell(&rules);
                        tracing::info!(file = %self.path.display(), rules = rules.len(), "the rules have changed");
                        self.current.store(Arc::new(rules));
                        looks.wrong = None;
                        (true, None)
                    }
                }
            }
        };
        let before = self.error.swap(wrong.clone());
        let Some(wrong) = wrong else { return Ok(changed) };
        if before.is_none_or(|before| before.to_string() != wrong.to_string()) {
            tracing::warn!("the rules stay as they were: {wrong}");
        }
        Err(wrong)
    }

    /// The content if it is another than was seen, once it has stopped to change.
    fn settled(&self, seen: &str) -> Result<Option<String>, RulesError> {
        let text = read(&self.path)?;
        if text == seen {
            return Ok(None);
        }
        std::thread::sleep(SETTLES);
        // If somebody is still at it, the next look will tell.
        Ok(Some(read(&self.path)?).filter(|again| *again == text))
    }

    fn acceptable(&self, text: &str, needed: &[String]) -> Result<Rules, RulesError> {
        let rules = Rules::of(&self.path, text)?;
        let current = self.current.load();
        if rules.is_empty() && !current.is_empty() {
            return Err(RulesError::Emptied { path: self.path.clone() });
        }
        missing(&self.path, &rules, needed)?;
        for after in rules.iter() {
            let Some(before) = current.get(after.name().as_str()) else { continue };
            if are_at_odds(before, after) {
                return Err(RulesError::Recounted {
                    path: self.path.clone(),
                    name: after.name().to_string(),
                    before: before.algorithm().name(),
                    after: after.algorithm().name(),
                });
            }
        }
        Ok(rules)
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(path: &Path, rules: &Rules, needed: &[String]) -> Result<(), RulesError> {
    match needed.iter().find(|name| rules.get(name).is_none()) {
        None => Ok(()),
        Some(name) => Err(RulesError::Missing { path: path.to_owned(), name: name.clone() }),
    }
}

/// Whether one could not read what the other wrote. Sorted sets have keys of their own.
fn are_at_odds(before: &Rule, after: &Rule) -> bool {
    let (old, new) = (before.algorithm(), after.algorithm());
    let is_log = |algorithm| algorithm == Algorithm::SlidingLog;
    old.name() != new.name() && !is_log(old) && !is_log(new) && before.prefix() == after.prefix()
}

fn tell(rules: &Rules) {
    for warning in rules.warnings() {
        tracing::warn!("{warning}");
    }
}

/// The text of a file that has an end.
pub(super) fn read(path: &Path) -> Result<String, RulesError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST {
            let reason = format!("it is larger than {} MiB", LARGEST >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
    };
    read().map_err(|source| RulesError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_file_without_an_end_is_left_alone() {
        let error = RulesFile::open("/dev/zero").expect_err("no rules");
        assert!(error.to_string().contains("larger than 16 MiB"), "{error}");
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
}
