//! One command of the API, before it is sent.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

/// A command of FreeIPA's API: a name, positional arguments and options, as `ipa help COMMAND` and the server's API browser list
/// them.
///
/// ```
/// use freeipa_client::Command;
///
/// let command = Command::read("host_show").argument("www.example.org").option("no_members", true);
/// assert_eq!(format!("{command:?}"), "Command(host_show, reads, 1 argument, options: no_members)");
/// ```
#[derive(Clone, PartialEq)]
#[must_use = "a command does nothing until it is called"]
pub struct Command {
    name: Cow<'static, str>,
    effect: Effect,
    arguments: Vec<Value>,
    options: Map<String, Value>,
}

/// Whether a command changes anything on the server. It decides what may be sent twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// It only reads: sent again, once, when an answer is lost.
    Reads,
    /// It writes: sent again only if the server cannot have begun.
    Writes,
}

impl Command {
    /// A command that only reads.
    pub fn read(name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name.into(), Effect::Reads)
    }

    /// A command that writes. If in doubt, it is one that writes.
    pub fn write(name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(name.into(), Effect::Writes)
    }

    fn new(name: Cow<'static, str>, effect: Effect) -> Self {
        Self { name, effect, arguments: Vec::new(), options: Map::new() }
    }

    /// Adds a positional argument. One that is left out is not an error to the server: it may make something up, such as a login.
    pub fn argument(mut self, value: impl Into<Value>) -> Self {
        self.arguments.push(value.into());
        self
    }

    /// Sets an option. `version` is the client's to set: what is given here is not sent.
    pub fn option(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.insert(name.into(), value.into());
        self
    }

    /// The name, such as `user_add`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it changes anything.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Whether it gives a user a password.
    pub(crate) fn sets_password(&self) -> bool {
        ["random", "userpassword"].iter().any(|option| self.options.contains_key(*option))
    }

    pub(crate) fn shared_name(&self) -> Cow<'static, str> {
        self.name.clone()
    }

    /// The parameters as they are sent.
    pub(crate) fn parameters(&self, version: Option<&str>) -> Value {
        let mut options = self.options.clone();
        options.remove("version");
        if let Some(version) = version {
            options.insert("version".to_owned(), version.into());
        }
        Value::Array(vec![Value::Array(self.arguments.clone()), Value::Object(options)])
    }
}

impl fmt::Debug for Command {
    /// Without values: they are personal data, and secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Effect::Reads => "reads",
            Effect::Writes => "writes",
        };
        let count = self.arguments.len();
        write!(f, "Command({}, {effect}, {count} argument{}", self.name, if count == 1 { "" } else { "s" })?;
        let options: Vec<&str> = self.options.keys().map(String::as_str).collect();
        if options.is_empty() { write!(f, ")") } else { write!(f, ", options: {})", options.join(" ")) }
    }
}
