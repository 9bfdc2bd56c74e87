//! Faults that lie in wait for requests: which, from when on, how often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::freeipa::Fault;

/// Which requests a fault meets.
///
/// ```
/// use freeipa_double::{Fault, FaultRule};
///
/// // the second user_add from now on is done, and its reply is lost
/// let rule = FaultRule::new("user_add", Fault::CommitThenDrop).nth(2);
/// assert_eq!(rule.times, Some(1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[must_use]
pub struct FaultRule<F = Fault> {
    /// A command, `login` or `change_password` of FreeIPA, or a method of Telegram; or `*` for all, without those two.
    pub on: String,
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: F,
    /// Only requests about this login or group, or to this chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// With which request it begins, counted from 1 from now on.
    #[serde(default = "first")]
    pub nth: u64,
    /// How many requests it meets; without it all that follow.
    #[serde(default = "once")]
    pub times: Option<u64>,
}

/// The faults that lie in wait. Clones share them.
#[derive(Debug, Clone)]
pub struct Faults<F = Fault> {
    armed: Arc<Mutex<Vec<Armed<F>>>>,
}

/// A rule, and what it saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Armed<F = Fault> {
    /// The rule.
    pub rule: FaultRule<F>,
    /// Calls it was about.
    pub seen: u64,
    /// Calls it met.
    pub met: u64,
}

const fn first() -> u64 {
    1
}

// What serde takes for a missing field.
#[allow(clippy::unnecessary_wraps)]
const fn once() -> Option<u64> {
    Some(1)
}

// === impl FaultRule ===

impl<F> FaultRule<F> {
    /// The next such call.
    pub fn new(on: impl Into<String>, fault: F) -> Self {
        Self { on: on.into(), fault, key: None, nth: first(), times: once() }
    }

    /// Not the next, the nth, counted from 1.
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// Only calls on this login or group.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// So many calls, one after the other.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// All calls from then on.
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    fn is_about(&self, on: &str, key: Option<&str>) -> bool {
        let command = self.on.strip_suffix("/1").unwrap_or(&self.on);
        let named = command == on || (command == "*" && !matches!(on, "login" | "change_password"));
        named && self.key.as_deref().is_none_or(|wanted| key == Some(wanted))
    }
}

// === impl Faults ===

impl<F: Clone> Faults<F> {
    /// Lets a fault lie in wait, after those that do already: of two that meet the same call the older wins.
    pub fn arm(&self, rule: FaultRule<F>) {
        self.lock().push(Armed { rule, seen: 0, met: 0 });
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// All, with what they saw and met.
    #[must_use]
    pub fn armed(&self) -> Vec<Armed<F>> {
        self.lock().clone()
    }

    /// What goes wrong with this call, if anything. Every rule that is about it counts it.
    pub(crate) fn meet(&self, on: &str, key: Option<&str>) -> Option<F> {
        let mut found = None;
        for armed in self.lock().iter_mut().filter(|armed| armed.rule.is_about(on, key)) {
            armed.seen += 1;
            let begun = armed.seen >= armed.rule.nth;
            let left = armed.rule.times.is_none_or(|times| armed.met < times);
            if found.is_none() && begun && left {
                armed.met += 1;
                found = Some(armed.rule.fault.clone());
            }
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Armed<F>>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Default for Faults<F> {
    fn default() -> Self {
        Self { armed: Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_rule_begins_at_its_call_and_meets_so_many() {
        let faults = Faults::default();
        faults.arm(FaultRule::new("user_add", Fault::Http500).nth(2).times(2));
        let met: Vec<bool> = (0..5).map(|_| faults.meet("user_add", None).is_some()).collect();
        assert_eq!(met, [false, true, true, false, false]);
        assert_eq!(faults.meet("user_show", None), None);
        assert_eq!((faults.armed()[0].seen, faults.armed()[0].met), (5, 2));
    }

    #[test]
    fn a_rule_may_be_about_one_key_or_about_all_commands() {
        let faults = Faults::default();
        faults.arm(FaultRule::new("*", Fault::Hang).key("boris").always());
        assert_eq!(faults.meet("user_mod", Some("boris")), Some(Fault::Hang));
        assert_eq!(faults.meet("user_mod", Some("anna")), None);
        assert_eq!(faults.meet("login", Some("boris")), None, "logins are no commands");
    }

    #[test]
    fn rules_are_written_as_json() {
        let rule: FaultRule =
            serde_json::from_str(r#"{"on":"user_add","kind":"delay","ms":50,"nth":3}"#).unwrap();
        assert_eq!(rule, FaultRule::new("user_add", Fault::Delay { ms: 50 }).nth(3));
        let always: FaultRule = serde_json::from_str(r#"{"on":"*","kind":"http503","times":null}"#).unwrap();
        assert_eq!(always.times, None);
    }
}
