//! Searches: one text in some attributes, or attributes by their values.

use serde_json::{Value as Json, json};

use super::render::{FOUND, Wanted};
use super::{Output, Run, object};
use crate::freeipa::directory::{Container, Entry};
use crate::freeipa::error::RpcError;
use crate::freeipa::parameters::Value;

/// Where a text without a name is looked for.
const FIELDS: &[&str] = &["uid", "givenname", "sn", "telephonenumber", "ou", "title"];

/// The parameters that are no attributes.
const NO_ATTRIBUTES: &[&str] = &[
    "criteria",
    "all",
    "raw",
    "version",
    "no_members",
    "pkey_only",
    "sizelimit",
    "timelimit",
    "whoami",
    "preserved",
];

/// Attributes whose values have to be the same letter for letter.
const EXACT: &[&str] = &["homedirectory", "loginshell", "ipauserauthtype"];

/// Attributes whose values are the same whatever spaces and hyphens are in them.
const TELEPHONES: &[&str] = &["telephonenumber", "mobile", "pager", "facsimiletelephonenumber"];

// === impl Run ===

impl Run<'_> {
    pub(super) fn find(&self, of: Container) -> Result<Output, RpcError> {
        if let Some(manager) = self.parameters.text("manager")
            && self.directory.active(manager).is_none()
        {
            return Err(RpcError::not_found(&format!("manager {manager} not found")));
        }
        let found: Vec<(Container, &Entry)> = self
            .containers(of)
            .into_iter()
            .filter(|container| self.sees(*container))
            .flat_map(|container| {
                self.directory.of(container).into_iter().map(move |entry| (container, entry))
            })
            .filter(|(_, entry)| self.matches(entry))
            .collect();

        let most = match self.parameters.number("sizelimit") {
            Some(0) => usize::MAX,
            Some(most) => usize::try_from(most).unwrap_or(usize::MAX),
            None => self.config.records,
        };
        let truncated = found.len() > most;
        let mut found = found;
        found.truncate(most);
        found.sort_by_key(|(_, entry)| entry.login.clone());

        let count = found.len();
        let entries: Vec<Output> =
            found.into_iter().map(|(container, entry)| self.found(container, entry)).collect();
        let noun = if count == 1 { "user" } else { "users" };
        let mut output = object(json!({
            "result": entries, "count": count, "truncated": truncated, "summary": format!("{count} {noun} matched"),
        }));
        if truncated && self.api.has_messages() {
            let reason = "Configured size limit exceeded";
            let message = json!({
                "type": "warning", "name": "SearchResultTruncated", "code": 13017,
                "message": format!("Search result has been truncated: {reason}"), "data": {"reason": reason},
            });
            output.insert("messages".into(), json!([message]));
        }
        Ok(output)
    }

    fn containers(&self, of: Container) -> Vec<Container> {
        match (of, self.parameters.was_given("preserved"), self.parameters.get("preserved")) {
            (Container::Active, true, None) => vec![Container::Active, Container::Preserved],
            (Container::Active, _, Some(Value::Switch(true))) => vec![Container::Preserved],
            _ => vec![of],
        }
    }

    fn matches(&self, entry: &Entry) -> bool {
        if self.parameters.switch("whoami") {
            return entry.login == self.caller;
        }
        let term = self.parameters.text("criteria").map(str::to_lowercase);
        let has_term = term.is_none_or(|term| {
            FIELDS.iter().flat_map(|name| entry.get(name)).any(|value| value.to_lowercase().contains(&term))
        });
        has_term
            && self
                .parameters
                .iter()
                .filter(|(name, _)| !NO_ATTRIBUTES.contains(name))
                .all(|(name, value)| value.is_none_or(|value| self.has(entry, name, value)))
    }

    /// Whether an entry has all the values that one parameter asks for.
    fn has(&self, entry: &Entry, name: &str, wanted: &Value) -> bool {
        let wanted = wanted.stored();
        if let Some((excluded, kind)) = membership(name) {
            let groups = if kind == "group" {
                let (direct, indirect) = self.directory.groups_of(&entry.login);
                [direct, indirect].concat()
            } else {
                Vec::new()
            };
            return wanted.iter().all(|group| groups.contains(&group.to_lowercase()) != excluded);
        }
        match name {
            // Nobody may search for it.
            "userpassword" => false,
            "nsaccountlock" => wanted.iter().all(|value| (value == "TRUE") == entry.is_disabled()),
            _ => wanted.iter().all(|value| entry.get(name).iter().any(|have| same(name, have, value))),
        }
    }

    fn found(&self, container: Container, entry: &Entry) -> Output {
        let dn: Json = self.directory.names.user(container, &entry.login).into();
        if self.parameters.switch("pkey_only") {
            return object(json!({"uid": [entry.login], "dn": dn}));
        }
        let sought: Vec<&str> = self
            .parameters
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !NO_ATTRIBUTES.contains(name))
            .collect();
        let wanted = if self.parameters.switch("all") { Wanted::All } else { Wanted::these(FOUND, sought) };
        let members = self.parameters.switch("all") && !self.parameters.switch("no_members");
        let mut output = self.render(container, entry, &wanted, members);
        output.insert("nsaccountlock".into(), json!(container != Container::Active || entry.is_disabled()));
        match container {
            Container::Preserved => {
                output.insert("preserved".into(), json!(true));
            }
            Container::Active if self.parameters.switch("all") => {
                output.insert("preserved".into(), json!(false));
            }
            _ => {}
        }
        output.insert("dn".into(), dn);
        output
    }
}

/// Whether a parameter asks for members, for those who are none, and of what.
fn membership(name: &str) -> Option<(bool, &str)> {
    match name.strip_prefix("not_in_") {
        Some(kind) => Some((true, kind)),
        None => name.strip_prefix("in_").map(|kind| (false, kind)),
    }
}

/// Whether two values are the same by the rule of their attribute.
fn same(name: &str, have: &str, wanted: &str) -> bool {
    let plain = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    if EXACT.contains(&name) {
        have == wanted
    } else if TELEPHONES.contains(&name) {
        let digits = |value: &str| value.replace([' ', '-'], "").to_lowercase();
        digits(have) == digits(wanted)
    } else {
        plain(have) == plain(wanted)
    }
}
