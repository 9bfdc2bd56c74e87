//! JSON-RPC as FreeIPA speaks it.

use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::command::Command;
use crate::entry::Entry;
use crate::fault::Fault;

/// What the server sent back, without an error.
///
/// Most commands put what they are about into a field of it that is called `result`, too: [`entry`](Self::entry) and
/// [`entries`](Self::entries) read that.
#[derive(Clone, PartialEq)]
pub struct Reply {
    result: Value,
    principal: Option<String>,
    version: Option<String>,
}

/// A reply that is not what the command promises. The server did what it was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the reply makes no sense: {missing}")]
pub struct BadReply {
    missing: &'static str,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<Fault>,
    #[serde(default)]
    principal: Option<String>,
    #[serde(default)]
    version: Option<String>,
}

/// The bytes of a request.
pub(crate) fn encode(command: &Command, version: &str) -> Vec<u8> {
    json!({ "method": command.name(), "params": command.parameters(Some(version)), "id": 0 })
        .to_string()
        .into_bytes()
}

/// What the bytes of a reply say.
pub(crate) fn decode(bytes: &[u8]) -> Result<Result<Reply, Fault>, BadReply> {
    // What serde says against it may quote it, so it is not told.
    let Envelope { result, error, principal, version } =
        serde_json::from_slice(bytes).map_err(|_| BadReply::new("it is not the JSON of a reply"))?;
    match error {
        Some(fault) => Ok(Err(fault)),
        None if result.is_null() => Err(BadReply::new("it has neither a result nor an error")),
        None => Ok(Ok(Reply { result, principal, version })),
    }
}

impl BadReply {
    pub(crate) const fn new(missing: &'static str) -> Self {
        Self { missing }
    }
}

impl Reply {
    /// Everything that the command returned.
    pub fn result(&self) -> &Value {
        &self.result
    }

    /// Everything that the command returned.
    #[must_use]
    pub fn into_result(self) -> Value {
        self.result
    }

    /// Who asked, by the server's account: `svc-registrar@EXAMPLE.ORG`.
    pub fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    /// The version of the server, such as `4.12.4`.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The one entry that the command is about.
    ///
    /// # Errors
    /// [`BadReply`] if there is none.
    pub fn entry(&self) -> Result<Entry, BadReply> {
        self.result.get("result").and_then(Entry::of).ok_or(BadReply::new("it holds no entry"))
    }

    /// The entries that the command found.
    ///
    /// # Errors
    /// [`BadReply`] if there is no list of entries.
    pub fn entries(&self) -> Result<Vec<Entry>, BadReply> {
        let list = self.result.get("result").and_then(Value::as_array);
        let entries = list.and_then(|list| list.iter().map(Entry::of).collect());
        entries.ok_or(BadReply::new("it holds no list of entries"))
    }

    /// Whether there is more than was returned.
    pub fn is_truncated(&self) -> bool {
        self.result.get("truncated").and_then(Value::as_bool).unwrap_or(false)
    }

    /// A result of a batch, which has no envelope of its own.
    pub(crate) fn of_batch(&self, result: Value) -> Self {
        Self { result, principal: self.principal.clone(), version: self.version.clone() }
    }
}

impl fmt::Debug for Reply {
    /// Without what it holds: personal data, and secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("version", &self.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_request_has_its_version_and_nobody_elses() {
        let command =
            Command::read("user_show").argument("alice").option("all", true).option("version", "9.9");
        let sent: Value = serde_json::from_slice(&encode(&command, "2.251")).unwrap();
        assert_eq!(
            sent,
            json!({"method": "user_show", "params": [["alice"], {"all": true, "version": "2.251"}], "id": 0})
        );
    }

    #[test]
    fn a_reply_is_a_result_or_a_fault() {
        let reply = decode(br#"{"result":{"result":{"uid":["a"]},"value":"a"},"error":null,"id":0,"principal":"p@R","version":"4.12.4"}"#);
        let reply = reply.unwrap().unwrap();
        assert_eq!((reply.principal(), reply.version()), (Some("p@R"), Some("4.12.4")));
        assert_eq!(reply.entry().unwrap().text("uid"), Some("a"));
        assert!(reply.entries().is_err());
        let fault = decode(br#"{"result":null,"error":{"code":4001,"message":"m","data":{},"name":"NotFound"},"id":0,"principal":"p","version":"v"}"#);
        assert_eq!(fault.unwrap().unwrap_err().code(), 4001);
    }

    #[test]
    fn what_is_neither_is_told_without_quoting_it() {
        for bytes in [
            &b"<html>anna</html>"[..],
            b"{}",
            b"[]",
            b"",
            b"{\"result\":null,\"error\":\"anna\"}",
            b"{\"result\":{\"anna\"",
        ] {
            let error = decode(bytes).unwrap_err().to_string();
            assert!(error.starts_with("the reply makes no sense") && !error.contains("anna"), "{error}");
        }
    }

    #[test]
    fn it_is_never_shown() {
        let reply =
            decode(br#"{"result":{"result":{"randompassword":"hunter2"}},"error":null}"#).unwrap().unwrap();
        assert!(!format!("{reply:?}").contains("hunter2"));
    }
}
