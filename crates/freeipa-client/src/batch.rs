//! Several reads in one call.

use serde_json::{Value, json};

use crate::client::Pinned;
use crate::command::{Command, Effect};
use crate::envelope::{BadReply, Reply};
use crate::error::{CallError, Cause};
use crate::fault::Fault;

/// Several commands that only read, for one round trip. The server does one after the other; one that fails does not keep it from the
/// next.
///
/// Writes are not taken: a batch stops at nothing and undoes nothing.
///
/// ```
/// use freeipa_client::{Batch, Command};
///
/// let mut batch = Batch::new();
/// batch.push(Command::read("user_show").argument("anna"))?;
/// batch.push(Command::read("group_show").argument("staff"))?;
/// assert!(batch.push(Command::write("user_del").argument("anna")).is_err());
/// assert_eq!(batch.len(), 2);
/// # Ok::<(), freeipa_client::NotARead>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is read before `Pinned::batch`"]
pub struct Batch {
    commands: Vec<Command>,
}

/// A command that writes has no place in a batch.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{command} writes: it has no place in a batch, call it by itself")]
pub struct NotARead {
    command: String,
}

impl Batch {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a command.
    ///
    /// # Errors
    /// [`NotARead`] if it writes.
    pub fn push(&mut self, command: Command) -> Result<(), NotARead> {
        match command.effect() {
            Effect::Reads => self.commands.push(command),
            Effect::Writes => return Err(NotARead { command: command.name().to_owned() }),
        }
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    fn command(&self) -> Command {
        let methods = self.commands.iter();
        let methods: Vec<Value> = methods
            .map(|command| json!({"method": command.name(), "params": command.parameters(None)}))
            .collect();
        // As one list: the server also takes each as an argument of its own, but this form says what is meant.
        Command::read("batch").argument(methods)
    }
}

impl Pinned {
    /// Reads several things at once. The results are in the order of the commands.
    ///
    /// # Errors
    /// [`CallError`] if the whole call failed; that of a single command is in its place.
    pub async fn batch(&self, batch: &Batch) -> Result<Vec<Result<Reply, CallError>>, CallError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let whole = batch.command();
        let results = self.ask(&whole, |reply| read(reply, batch.len())).await?;
        let in_place = |(command, result): (&Command, Result<Reply, Fault>)| {
            result.map_err(|fault| CallError::new(command, self.server_name(), Cause::Fault(fault)))
        };
        Ok(batch.commands.iter().zip(results).map(in_place).collect())
    }
}

/// The results, in which errors have another shape than anywhere else.
fn read(reply: &Reply, expected: usize) -> Result<Vec<Result<Reply, Fault>>, BadReply> {
    let results = reply.result().get("results").and_then(Value::as_array);
    let results = results.filter(|results| results.len() == expected);
    let results = results.ok_or(BadReply::new("it does not hold one result for each command"))?;
    results.iter().map(|result| one(reply, result)).collect()
}

fn one(reply: &Reply, result: &Value) -> Result<Result<Reply, Fault>, BadReply> {
    let parts = result.as_object().ok_or(BadReply::new("a result of the batch is none"))?;
    match parts.get("error") {
        None | Some(Value::Null) => Ok(Ok(reply.of_batch(result.clone()))),
        Some(message) => {
            let code = parts.get("error_code").and_then(Value::as_i64).unwrap_or(0);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let name = parts.get("error_name").map(text).unwrap_or_default();
            Ok(Err(Fault::new(code, name, text(message), parts.get("error_kw").cloned().unwrap_or_default())))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn commands_are_one_argument_and_have_no_version_of_their_own() {
        let mut batch = Batch::new();
        batch.push(Command::read("user_show").argument("anna").option("all", true)).unwrap();
        batch.push(Command::read("ping")).unwrap();
        let expected = json!([
            [[{"method": "user_show", "params": [["anna"], {"all": true}]}, {"method": "ping", "params": [[], {}]}]],
            {"version": "2.251"},
        ]);
        assert_eq!(batch.command().parameters(Some("2.251")), expected);
    }

    #[test]
    fn errors_are_in_their_place() {
        let bytes = json!({"result": {"count": 2, "results": [
            {"error": "ghost: user not found", "error_code": 4001, "error_name": "NotFound", "error_kw": {"reason": "x"}},
            {"result": {"uid": ["anna"]}, "value": "anna", "summary": null, "error": null},
        ]}, "error": null});
        let reply = crate::envelope::decode(bytes.to_string().as_bytes()).unwrap().unwrap();
        let results = read(&reply, 2).unwrap();
        let fault = results[0].as_ref().unwrap_err();
        assert_eq!((fault.code(), fault.name()), (4001, "NotFound"));
        assert_eq!(results[1].as_ref().unwrap().entry().unwrap().text("uid"), Some("anna"));
        assert!(read(&reply, 3).is_err());
    }
}
