//! The limits of the policy service as their file becomes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{info, warn};
use valkey_ratelimit::Algorithm;
use valkit_service::Shutdown;

use super::bill::Limit;
use super::rules;
use crate::settings::{GuardSettings, SettingsFile};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Between two looks at a file that has changed. Whoever writes in place is done by then, or it has changed again.
const SETTLES: Duration = Duration::from_millis(100);

/// Looks at the settings file again and again, and puts the limits that stand there into force. A file that is wrong leaves them as
/// they were.
#[derive(Debug)]
pub(crate) struct Reload {
    file: SettingsFile,
    /// As the node was started, but for the limits, which are those in force.
    running: GuardSettings,
    limits: Arc<ArcSwap<Vec<Limit>>>,
    /// What people were told last that still holds.
    told: Option<String>,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Same,
    Changed,
    /// The limits are as they were: something is wrong with the file.
    Refused(String),
    /// More has changed than limits.
    Restart,
}

impl Reload {
    pub(super) fn new(file: SettingsFile, running: GuardSettings, limits: Arc<ArcSwap<Vec<Limit>>>) -> Self {
        Self { file, running, limits, told: None }
    }

    /// Until the node is to end.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.draining() => return,
            }
            // A file may be far away, and take its time.
            match tokio::task::spawn_blocking(move || {
                self.look_and_tell();
                self
            })
            .await
            {
                Ok(again) => self = again,
                Err(_) => return,
            }
        }
    }

    fn look_and_tell(&mut self) {
        let told = match self.look() {
            Look::Same => None,
            Look::Changed => {
                let names: Vec<&str> = self.running.policy.limits.keys().map(String::as_str).collect();
                info!(limits = names.join(", "), "the limits of the policy service have changed");
                None
            }
            Look::Refused(reason) => Some(format!("the limits stay as they were: {reason}")),
            Look::Restart => Some(
                "other settings than [policy.limits] have changed, too: they take effect when smtp-guard is started again"
                    .to_owned(),
            ),
        };
        if let Some(text) = told.as_ref().filter(|text| self.told.as_ref() != Some(text)) {
            warn!("{text}");
        }
        self.told = told;
    }

    fn look(&mut self) -> Look {
        let settings = match self.settled() {
            Ok(settings) => settings,
            Err(reason) => return Look::Refused(reason),
        };
        let changed = settings.policy.limits != self.running.policy.limits;
        if changed {
            match self.acceptable(&settings) {
                Ok(limits) => {
                    rules::tell(&limits);
                    self.limits.store(Arc::new(limits));
                }
                Err(reason) => return Look::Refused(reason),
            }
            self.running.policy.limits = settings.policy.limits.clone();
        }
        match (settings == self.running, changed) {
            (_, true) => Look::Changed,
            (true, false) => Look::Same,
            (false, false) => Look::Restart,
        }
    }

    /// The settings once the file has stopped to change: a limit must not go because its line is not written yet.
    fn settled(&self) -> Result<GuardSettings, String> {
        loop {
            let read = || self.file.load().map(|(settings, _)| settings).map_err(|error| error.to_string());
            let settings = read()?;
            if settings.policy.limits == self.running.policy.limits {
                return Ok(settings);
            }
            std::thread::sleep(SETTLES);
            if read()? == settings {
                return Ok(settings);
            }
        }
    }

    /// The limits of other settings, under the keys of those that run.
    fn acceptable(&self, settings: &GuardSettings) -> Result<Vec<Limit>, String> {
        let limits = rules::of(&settings.policy, &self.running.resources.valkey_key_prefix)
            .map_err(|error| error.to_string())?;
        let before = self.limits.load();
        for Limit { rule, .. } in &limits {
            let Some(known) = before.iter().find(|limit| limit.rule.name() == rule.name()) else { continue };
            let (old, new) = (known.rule.algorithm(), rule.algorithm());
            // Sorted sets have keys of their own.
            let is_log = |algorithm| algorithm == Algorithm::SlidingLog;
            if old.name() != new.name() && !is_log(old) && !is_log(new) {
                return Err(format!(
                    "policy.limits.{}: it counts by {} and is to count by {}, which cannot read what the keys hold: give it another name, too",
                    rule.name(),
                    old.name(),
                    new.name()
                ));
            }
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HEAD: &str = "[gate]\nlisten = []\n[policy]\nlisten = \"127.0.0.1:0\"\n";

    struct Bed {
        file: tempfile::NamedTempFile,
        reload: Reload,
    }

    impl Bed {
        fn new(limits: &str) -> Self {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), format!("{HEAD}{limits}")).unwrap();
            let source = SettingsFile::new(file.path(), []);
            let (settings, _) = source.load().unwrap();
            let limits = rules::of(&settings.policy, &settings.resources.valkey_key_prefix).unwrap();
            let reload = Reload::new(source, settings, Arc::new(ArcSwap::from_pointee(limits)));
            Self { file, reload }
        }

        fn look(&mut self, text: &str) -> Look {
            std::fs::write(self.file.path(), text).unwrap();
            self.reload.look()
        }

        fn in_force(&self) -> Vec<String> {
            let limits = self.reload.limits.load();
            limits.iter().map(|limit| format!("{} {}", limit.rule.name(), limit.rule.quota())).collect()
        }
    }

    fn limit(name: &str, more: &str) -> String {
        format!("[policy.limits.{name}]\nper = \"client\"\n{more}\n")
    }

    #[test]
    fn what_stands_in_the_file_is_in_force() {
        let mut bed = Bed::new(&limit("a", "quota = \"1/1h\""));
        assert_eq!(bed.reload.look(), Look::Same);
        let two = [limit("a", "quota = \"2/1h\""), limit("b", "quota = \"3/1h\"")].concat();
        assert_eq!(bed.look(&format!("{HEAD}{two}")), Look::Changed);
        assert_eq!(bed.in_force(), ["a 2/1h", "b 3/1h"]);
        assert_eq!(bed.reload.look(), Look::Same);
        assert_eq!(bed.look(&format!("{HEAD}{}", limit("b", "quota = \"3/1h\""))), Look::Changed);
        assert_eq!(bed.in_force(), ["b 3/1h"]);
    }

    #[test]
    fn what_is_wrong_leaves_the_limits_as_they_were() {
        let mut bed = Bed::new(&limit("a", "quota = \"1/1h\""));
        let keys = "which cannot read what the keys hold";
        for (text, why) in [
            (format!("{HEAD}{}", limit("a", "quota = \"many\"")), "many"),
            (format!("{HEAD}{}", limit("a", "quota = \"5/1h\"\nalgorithm = \"fixed-window\"")), keys),
            (HEAD.to_owned(), "without a limit"),
            ("[policy".to_owned(), "unclosed table"),
            (format!("{HEAD}{}[rules.a]\nquota = \"1/1h\"", limit("a", "quota = \"7/1h\"")), "rules.a"),
        ] {
            let Look::Refused(reason) = bed.look(&text) else { panic!("{text} is taken") };
            assert!(reason.contains(why), "{text}: {reason}");
            assert_eq!(bed.in_force(), ["a 1/1h"], "{text}");
        }
        std::fs::remove_file(bed.file.path()).unwrap();
        assert!(matches!(bed.reload.look(), Look::Refused(_)));
        // Sorted sets have keys of their own.
        let log = limit("a", "quota = \"5/1h\"\nalgorithm = \"sliding-log\"");
        assert_eq!(bed.look(&format!("{HEAD}{log}")), Look::Changed);
    }

    #[test]
    fn other_settings_wait_for_a_restart_and_are_told_of() {
        let mut bed = Bed::new(&limit("a", "quota = \"1/1h\""));
        let prefix = "[resources]\nvalkey_key_prefix = \"other:\"\n";
        let text = format!("{prefix}{HEAD}{}", limit("a", "quota = \"2/1h\""));
        assert_eq!(bed.look(&text), Look::Changed);
        assert_eq!(bed.reload.look(), Look::Restart);
        assert_eq!(bed.in_force(), ["a 2/1h"]);
        let key = bed.reload.limits.load()[0].rule.key(&valkey_ratelimit::Subject::text("ada"));
        assert!(key.starts_with("elemta:ratelimit:"), "nodes share the keys they began with: {key}");
    }
}
