//! Errors that the server reports inside a reply, and the one table that says what they mean.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::class::{Class, Outcome};
use crate::field;

/// An error as the server reports it, with HTTP status 200.
///
/// Its text names people and entries, so neither [`Display`](fmt::Display) nor [`Debug`] shows it.
#[derive(Clone, Deserialize, PartialEq)]
pub struct Fault {
    code: i64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

impl Fault {
    /// An error with these parts.
    pub fn new(code: i64, name: impl Into<String>, message: impl Into<String>, data: Value) -> Self {
        Self { code, name: name.into(), message: message.into(), data }
    }

    /// The number, such as 4002.
    pub fn code(&self) -> i64 {
        self.code
    }

    /// The name, such as `DuplicateEntry`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server's own words. They may name people and entries: not for logs.
    pub fn text(&self) -> &str {
        &self.message
    }

    /// What the server adds to the text; its shape depends on the error. May name people and entries.
    pub fn data(&self) -> &Value {
        &self.data
    }

    /// The attribute that is at fault, by its LDAP name in lower case.
    pub fn field(&self) -> Option<&str> {
        field::of(self)
    }

    /// What the error means when `command` (such as `user_add`) is answered with it.
    pub fn class(&self, command: &str) -> Class {
        classify(self.code, &self.message, command)
    }

    /// Whether `command`, which writes, may have done something.
    pub fn outcome(&self, command: &str) -> Outcome {
        match self.code {
            // Raised inside, at any point; 907 and its like also when the directory went away in the middle.
            903 | 904 | 907 | 908 | 1100..=1204 | 4201 | 4211 | 4213..=4216 => Outcome::Unknown,
            4203 if is_refused_by_rule(&self.message) => Outcome::NotDone,
            // These work in several steps, and a right or a group may be missing for a later one: the entry stands by then.
            2100 if !is_one_step(command) => Outcome::Unknown,
            4001 if matches!(command, "user_add" | "stageuser_activate") => Outcome::Unknown,
            code if classify(code, &self.message, command) == Class::Failed => Outcome::Unknown,
            _ => Outcome::NotDone,
        }
    }

    /// The right that is missing, as far as the text names one without naming an entry: `add`, `write member`.
    pub(crate) fn missing_right(&self) -> Option<String> {
        let verb = quoted_before(&self.message, "' privilege")?;
        Some(match quoted_before(&self.message, "' attribute") {
            Some(attribute) => format!("{verb} {attribute}"),
            None => verb.to_owned(),
        })
    }
}

/// What an error means: the table.
///
/// `message` matters for one code only, `command` for those whose meaning depends on what was asked.
fn classify(code: i64, message: &str, command: &str) -> Class {
    match code {
        907 => Class::Unavailable,
        // A version, a command, an argument or a Referer that the server does not take.
        901 | 905 | 909 | 911 | 3003..=3006 | 3010 => Class::Misuse,
        1100..=1107 | 1200..=1204 => Class::Session,
        2100 => Class::Denied,
        3007..=3009 | 4205 | 4207 | 4208 => Class::Invalid,
        // What is missing here is not what the call is about, but what it needs: a group, the default group.
        4001 if matches!(command, "user_add" | "group_add_member") => Class::Configuration,
        4001 => Class::NotFound,
        4002 | 4024 => Class::Exists,
        4009 | 4010 | 4014 | 4202 => Class::AlreadyDone,
        4201 => Class::Collision,
        4203 if is_refused_by_rule(message) => Class::Invalid,
        4204 | 4214..=4216 => Class::Overloaded,
        // 903 904 908 InternalError and its like; 4203 4211 4213 of the directory; and all that is not known.
        _ => Class::Failed,
    }
}

/// Whether a command is a single change of the directory (as long as `user_mod` renames nobody). Of others nobody knows.
fn is_one_step(command: &str) -> bool {
    matches!(
        command,
        "user_mod"
            | "user_disable"
            | "user_enable"
            | "group_add_member"
            | "stageuser_add"
            | "stageuser_mod"
            | "stageuser_del"
    )
}

/// Whether the directory refused by a rule for values, such as the password policy: no retry changes that.
fn is_refused_by_rule(message: &str) -> bool {
    message.contains("Constraint violation")
}

/// The word in single quotes that ends before `end`, if it is nothing but a word.
fn quoted_before<'a>(text: &'a str, end: &str) -> Option<&'a str> {
    let (before, _) = text.split_once(end)?;
    let (_, word) = before.rsplit_once('\'')?;
    let plain = !word.is_empty() && word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then_some(word)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name comes from outside: only what looks like one is shown.
        let known = self.name.len() <= 64 && self.name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        write!(f, "error {} {}", self.code, if known { self.name.as_str() } else { "(unnamed)" })
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    /// One row: the codes, the command, what they mean, and whether a write may have happened.
    type Row = (&'static [i64], &'static str, Class, Outcome);

    #[test]
    fn the_table() {
        use Outcome::{NotDone, Unknown};
        let rows: &[Row] = &[
            (&[903, 904, 908], "user_add", Class::Failed, Unknown),
            (&[907], "user_add", Class::Unavailable, Unknown),
            (&[901, 905, 909, 911, 3003, 3004, 3005, 3006, 3010], "user_add", Class::Misuse, NotDone),
            (&[1100, 1104, 1107, 1200, 1204], "user_mod", Class::Session, Unknown),
            (&[2100], "user_add", Class::Denied, Unknown),
            (&[2100], "stageuser_activate", Class::Denied, Unknown),
            (&[2100], "user_del", Class::Denied, Unknown),
            (&[2100], "host_add", Class::Denied, Unknown),
            (&[2100], "user_mod", Class::Denied, NotDone),
            (&[2100], "stageuser_add", Class::Denied, NotDone),
            (&[3007, 3008, 3009, 4205, 4207, 4208], "user_add", Class::Invalid, NotDone),
            (&[4001], "user_show", Class::NotFound, NotDone),
            (&[4001], "user_mod", Class::NotFound, NotDone),
            (&[4001], "group_show", Class::NotFound, NotDone),
            (&[4001], "stageuser_activate", Class::NotFound, Unknown),
            (&[4001], "user_add", Class::Configuration, Unknown),
            (&[4001], "group_add_member", Class::Configuration, NotDone),
            (&[4002, 4024], "user_add", Class::Exists, NotDone),
            (&[4009, 4010, 4014, 4202], "user_disable", Class::AlreadyDone, NotDone),
            (&[4201], "user_mod", Class::Collision, Unknown),
            (&[4203, 4211, 4213], "user_add", Class::Failed, Unknown),
            (&[4204, 4214, 4215, 4216], "user_find", Class::Overloaded, Unknown),
            (&[4304, 5000, 31337, 0, -1], "user_add", Class::Failed, Unknown),
        ];
        for (codes, command, class, outcome) in rows {
            for code in *codes {
                let fault = Fault::new(*code, "Any", "any text", json!({}));
                assert_eq!(fault.class(command), *class, "{code} of {command}");
                // Of what was only read, nobody asks what it did.
                if *command != "user_find" {
                    assert_eq!(fault.outcome(command), *outcome, "{code} of {command}");
                }
            }
        }
    }

    #[test]
    fn a_broken_rule_for_values_is_the_one_database_error_that_no_retry_mends() {
        let policy = Fault::new(4203, "DatabaseError", "Constraint violation: too short", json!({}));
        assert_eq!(policy.class("user_mod"), Class::Invalid);
        assert_eq!(policy.outcome("user_mod"), Outcome::NotDone);
        let ids = Fault::new(
            4203,
            "DatabaseError",
            "Operations error: Allocation of a new value failed",
            json!({}),
        );
        assert_eq!(ids.class("user_add"), Class::Failed);
    }

    #[test]
    fn the_missing_right_is_told_and_the_entry_is_not() {
        let add = "Insufficient access: Insufficient 'add' privilege to add the entry 'uid=anna,cn=users'.";
        assert_eq!(Fault::new(2100, "ACIError", add, json!({})).missing_right().as_deref(), Some("add"));
        let write =
            "Insufficient access: Insufficient 'write' privilege to the 'member' attribute of entry 'cn=g'.";
        assert_eq!(
            Fault::new(2100, "ACIError", write, json!({})).missing_right().as_deref(),
            Some("write member")
        );
        let other =
            "Insufficient access: Could not read UPG Definition originfilter. Check your permissions.";
        assert_eq!(Fault::new(2100, "ACIError", other, json!({})).missing_right(), None);
    }

    #[test]
    fn neither_text_shows_what_the_server_said() {
        let fault = Fault::new(
            4002,
            "DuplicateEntry",
            "user with name \"anna\" already exists",
            json!({"x": "anna"}),
        );
        let shown = format!("{fault} {fault:?}");
        assert!(shown.contains("4002 DuplicateEntry") && !shown.contains("anna"), "{shown}");
        let odd = Fault::new(1, "anna says <b>", "", json!({}));
        assert!(!odd.to_string().contains("anna"));
    }

    #[test]
    fn what_the_reply_leaves_out_is_empty() {
        let fault: Fault = serde_json::from_value(json!({"code": 903})).unwrap();
        assert_eq!((fault.code(), fault.name(), fault.text()), (903, "", ""));
    }
}
