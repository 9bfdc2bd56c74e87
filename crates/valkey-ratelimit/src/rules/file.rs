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
        let text = read_again(&path)?;
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
        let text = read_again(&self.path)?;
        if text == seen {
            return Ok(None);
        }
        std::thread::sleep(SETTLES);
        // If somebody is still at it, the next look will tell.
        Ok(Some(read_again(&self.path)?).filter(|again| *again == text))
    }

    fn acceptable(&self, text: &str, needed: &[String]) -> Result<Rules, RulesError> {
        let mut rules = Rules::of(&self.path, text)?;
        let current = self.current.load();
        rules.keep(&current);
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

/// The text of a file that can be read as often as one likes: a pipe says a thing once, and whoever opens one waits for it, for
/// ever.
fn read_again(path: &Path) -> Result<String, RulesError> {
    match path.metadata() {
        Ok(found) if !found.is_file() && !found.is_dir() => {
            let source =
                io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe or a device, and not a file");
            Err(RulesError::Unreadable { path: path.to_owned(), source })
        }
        // Whatever else is wrong is said when it is opened.
        _ => read(path),
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
mod tests;
