//! Errors as the server puts them into its replies: number, name, text, and the parts of the text.

use serde_json::{Map, Value, json};

/// An error of a command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RpcError {
    pub(crate) code: i64,
    pub(crate) name: String,
    pub(crate) message: String,
    /// What the text was made of. Empty where the text was given whole.
    pub(crate) data: Map<String, Value>,
}

// === impl RpcError ===

impl RpcError {
    pub(crate) fn new(code: i64, name: &str, message: impl Into<String>, data: &Value) -> Self {
        let data = data.as_object().cloned().unwrap_or_default();
        Self { code, name: name.to_owned(), message: message.into(), data }
    }

    pub(crate) fn version(client: &str, server: &str, fqdn: &str) -> Self {
        let server_url = format!("https://{fqdn}/ipa/xml");
        let text = format!("{client} client incompatible with {server} server at '{server_url}'");
        Self::new(901, "VersionError", text, &json!({"cver": client, "sver": server, "server": server_url}))
    }

    pub(crate) fn internal() -> Self {
        Self::new(903, "InternalError", "an internal error has occurred", &json!({}))
    }

    pub(crate) fn unknown_command(name: &str) -> Self {
        Self::new(905, "CommandError", format!("unknown command '{name}'"), &json!({"name": name}))
    }

    pub(crate) fn network(uri: &str, why: &str) -> Self {
        let text = format!("cannot connect to '{uri}': {why}");
        Self::new(907, "NetworkError", text, &json!({"uri": uri, "error": why}))
    }

    pub(crate) fn json(why: &str) -> Self {
        Self::new(909, "JSONError", format!("Invalid JSON-RPC request: {why}"), &json!({"error": why}))
    }

    pub(crate) fn access(info: &str) -> Self {
        Self::new(2100, "ACIError", format!("Insufficient access: {info}"), &json!({"info": info}))
    }

    pub(crate) fn invocation(message: String) -> Self {
        Self::new(3000, "InvocationError", message, &json!({}))
    }

    pub(crate) fn no_arguments(command: &str) -> Self {
        let text = format!("command '{command}' takes no arguments");
        Self::new(3003, "ZeroArgumentError", text, &json!({"name": command}))
    }

    pub(crate) fn too_many_arguments(command: &str, count: usize) -> Self {
        let s = if count == 1 { "" } else { "s" };
        let text = format!("command '{command}' takes at most {count} argument{s}");
        Self::new(3004, "MaxArgumentError", text, &json!({"name": command, "count": count}))
    }

    pub(crate) fn unknown_option(option: &str) -> Self {
        Self::new(3005, "OptionError", format!("Unknown option: {option}"), &json!({"option": option}))
    }

    pub(crate) fn overlap(names: &[&str]) -> Self {
        let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        let names = format!("[{}]", quoted.join(", "));
        let text = format!("overlapping arguments and options: {names}");
        Self::new(3006, "OverlapError", text, &json!({"names": names}))
    }

    pub(crate) fn required(name: &str) -> Self {
        Self::new(3007, "RequirementError", format!("'{name}' is required"), &json!({"name": name}))
    }

    pub(crate) fn conversion(name: &str, why: &str) -> Self {
        let text = format!("invalid '{name}': {why}");
        Self::new(3008, "ConversionError", text, &json!({"name": name, "error": why}))
    }

    pub(crate) fn validation(name: &str, why: &str) -> Self {
        let text = format!("invalid '{name}': {why}");
        Self::new(3009, "ValidationError", text, &json!({"name": name, "error": why}))
    }

    pub(crate) fn not_found(reason: &str) -> Self {
        Self::new(4001, "NotFound", reason, &json!({"reason": reason}))
    }

    /// `kind` is `user`, `stage user` or `group`.
    pub(crate) fn no_such(kind: &str, key: &str) -> Self {
        Self::not_found(&format!("{key}: {kind} not found"))
    }

    pub(crate) fn duplicate(message: impl Into<String>) -> Self {
        Self::new(4002, "DuplicateEntry", message, &json!({}))
    }

    pub(crate) fn exists(kind: &str, key: &str) -> Self {
        Self::duplicate(format!("{kind} with name \"{key}\" already exists"))
    }

    pub(crate) fn already_active() -> Self {
        Self::new(4009, "AlreadyActive", "This entry is already enabled", &json!({}))
    }

    pub(crate) fn already_inactive() -> Self {
        Self::new(4010, "AlreadyInactive", "This entry is already disabled", &json!({}))
    }

    pub(crate) fn not_a_member() -> Self {
        Self::new(4012, "NotGroupMember", "This entry is not a member", &json!({}))
    }

    pub(crate) fn already_a_member() -> Self {
        Self::new(4014, "AlreadyGroupMember", "This entry is already a member", &json!({}))
    }

    pub(crate) fn same_group() -> Self {
        let text = "A group may not be added as a member of itself";
        Self::new(4017, "SameGroupError", text, &json!({}))
    }

    pub(crate) fn default_group() -> Self {
        Self::new(4018, "DefaultGroupError", "The default users group cannot be removed", &json!({}))
    }

    pub(crate) fn managed_group() -> Self {
        let text = "Deleting a managed group is not allowed. It must be detached first.";
        Self::new(4020, "ManagedGroupError", text, &json!({}))
    }

    pub(crate) fn private_group_exists(group: &str) -> Self {
        let text = format!("Unable to create private group. A group '{group}' already exists.");
        Self::new(4024, "ManagedGroupExistsError", text, &json!({"group": group}))
    }

    pub(crate) fn no_such_value(attribute: &str, value: &str) -> Self {
        let text = format!("{attribute} does not contain '{value}'");
        Self::new(4026, "AttrValueNotFound", text, &json!({"attr": attribute, "value": value}))
    }

    pub(crate) fn nothing_to_modify() -> Self {
        Self::new(4202, "EmptyModlist", "no modifications to be performed", &json!({}))
    }

    pub(crate) fn not_in_schema(info: &str) -> Self {
        Self::new(4205, "ObjectclassViolation", info, &json!({"info": info}))
    }

    pub(crate) fn only_one_value(attribute: &str) -> Self {
        let text = format!("{attribute}: Only one value allowed.");
        Self::new(4207, "OnlyOneValueAllowed", text, &json!({"attr": attribute}))
    }

    /// `attribute` is spelled as the schema spells it.
    pub(crate) fn syntax(attribute: &str) -> Self {
        let info = format!("{attribute}: value #0 invalid per syntax");
        Self::new(4208, "InvalidSyntax", format!("{info}: Invalid syntax."), &json!({"attr": info}))
    }

    pub(crate) fn last_member(key: &str, group: &str) -> Self {
        let text =
            format!("{key} cannot be deleted or disabled because it is the last member of group {group}");
        Self::new(4308, "LastMemberError", text, &json!({"key": key, "label": "group", "container": group}))
    }

    pub(crate) fn protected(label: &str, key: &str, reason: &str) -> Self {
        let text = format!("{label} {key} cannot be deleted/modified: {reason}");
        let data = json!({"label": label, "key": key, "reason": reason});
        Self::new(4309, "ProtectedEntryError", text, &data)
    }

    /// As the envelope carries it.
    pub(crate) fn to_envelope(&self) -> Value {
        json!({"code": self.code, "message": self.message, "data": self.data, "name": self.name})
    }

    /// As an element of a batch carries it.
    pub(crate) fn to_batch(&self) -> Value {
        json!({
            "error": self.message, "error_code": self.code, "error_name": self.name, "error_kw": self.data,
        })
    }
}
