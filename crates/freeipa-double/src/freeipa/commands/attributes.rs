//! `setattr`, `addattr` and `delattr`: attributes by name.

use std::collections::BTreeMap;

use super::{Run, syntax};
use crate::freeipa::directory::Entry;
use crate::freeipa::error::RpcError;
use crate::freeipa::facts::Command;
use crate::freeipa::parameters::{Parameters, Setting, Value};

/// New values of attributes; none where the attribute goes.
pub(super) type Changes = BTreeMap<String, Vec<String>>;

/// The parameters that are no attributes.
const VIRTUAL: &[&str] = &[
    "random",
    "setattr",
    "addattr",
    "delattr",
    "rights",
    "all",
    "raw",
    "version",
    "no_members",
    "rename",
    "noprivate",
    "from_delete",
    "uid",
];

/// The attributes that commands know and do not let be set.
const FIXED: &[&str] =
    &["krbcanonicalname", "randompassword", "sshpubkeyfp", "ipacertmapdata", "ipapasskey", "preserved"];

// === impl Run ===

impl Run<'_> {
    /// The attributes a call gives, by parameters and by name.
    pub(super) fn changes(
        &self,
        command: &'static Command,
        old: Option<&Entry>,
    ) -> Result<Changes, RpcError> {
        let mut changes = Changes::new();
        for (name, value) in self.parameters.iter().filter(|(name, _)| !VIRTUAL.contains(name)) {
            changes.insert(name.to_owned(), value.map(Value::stored).unwrap_or_default());
        }
        let sets = pairs(self.parameters.many("setattr"))?;
        let adds = pairs(self.parameters.many("addattr"))?;
        let deletes = pairs(self.parameters.many("delattr"))?;
        for (name, values) in &sets {
            changes.insert(name.clone(), values.clone());
        }
        let current = |changes: &Changes, name: &str| {
            changes
                .get(name)
                .cloned()
                .unwrap_or_else(|| old.map(|old| old.get(name).to_vec()).unwrap_or_default())
        };
        for (name, values) in &adds {
            let mut all = current(&changes, name);
            all.extend(values.iter().cloned());
            changes.insert(name.clone(), all);
        }
        for (name, values) in &deletes {
            let mut left = current(&changes, name);
            if left.is_empty() {
                return Err(RpcError::validation(name, "No such attribute on this entry"));
            }
            for value in values {
                let at = left
                    .iter()
                    .position(|have| have == value)
                    .ok_or_else(|| RpcError::no_such_value(name, value))?;
                left.remove(at);
            }
            changes.insert(name.clone(), left);
        }
        for name in sets.keys().chain(adds.keys()).chain(deletes.keys()) {
            self.normalize(command, name, &mut changes)?;
        }
        Ok(changes)
    }

    /// Checks an attribute that was given by name as if it had been given by its parameter.
    fn normalize(
        &self,
        command: &'static Command,
        name: &str,
        changes: &mut Changes,
    ) -> Result<(), RpcError> {
        let values = changes.get(name).cloned().unwrap_or_default();
        if FIXED.contains(&name) {
            return Err(RpcError::validation(name, "attribute is not configurable"));
        }
        let parameter =
            command.options.iter().find(|parameter| parameter.name == name && !VIRTUAL.contains(&name));
        let Some(parameter) = parameter else {
            if syntax::is_known(name) {
                return Ok(());
            }
            return Err(RpcError::not_in_schema(&format!("attribute \"{name}\" not allowed")));
        };
        if !parameter.many && values.len() > 1 {
            return Err(RpcError::only_one_value(name));
        }
        let setting = Setting { realm: &self.directory.names.realm, now: self.now };
        let value = Parameters::check_one(parameter, &values, setting).map_err(|mut error| {
            // By name, and the name is the attribute's own here.
            error.data.insert("name".to_owned(), name.into());
            let why =
                error.data.get("error").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            match error.code {
                3008 => RpcError::conversion(name, &why),
                3009 => RpcError::validation(name, &why),
                _ => error,
            }
        })?;
        changes.insert(name.to_owned(), value);
        Ok(())
    }
}

fn pairs(texts: &[String]) -> Result<Changes, RpcError> {
    let mut found = Changes::new();
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| RpcError::validation("setattr", "Invalid format. Should be name=value"))?;
        let values = found.entry(name.trim().to_lowercase()).or_default();
        if !value.trim().is_empty() {
            values.push(value.trim().to_owned());
        }
    }
    Ok(found)
}
