//! A command: its name, its arguments, the key that routes it and its own deadline.

use std::time::Duration;

use crate::arg::Arg;
use crate::arguments::argument_setters;
use crate::error::Error;

/// One command for the server.
///
/// ```
/// use std::time::Duration;
/// use valkey_connection::Command;
///
/// let command = Command::new("LPUSH").key("queue:orders").args(["a", "b"]).timeout(Duration::from_millis(500));
/// assert_eq!(command.name(), "LPUSH");
/// ```
///
/// In a cluster the first [`key`](Self::key) decides which node gets the command. Names of two words
/// (`CONFIG GET`) are split as the server wants them.
#[derive(Clone, Debug)]
#[must_use = "a command does nothing until it is executed"]
pub struct Command {
    name: &'static str,
    args: Vec<Arg>,
    first_key: Option<usize>,
    timeout: Option<Duration>,
}

argument_setters!(Command);

impl Command {
    /// A command by name, without arguments.
    pub fn new(name: &'static str) -> Self {
        let args = name.split_ascii_whitespace().skip(1).map(Arg::from_static).collect();
        Self { name, args, first_key: None, timeout: None }
    }

    /// The name as given.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The key that routes this command, if it has one.
    pub fn routing_key(&self) -> Option<&[u8]> {
        self.first_key.and_then(|at| self.args.get(at)).map(Arg::as_bytes)
    }

    fn push_key(&mut self, key: Arg) {
        self.first_key.get_or_insert(self.args.len());
        self.args.push(key);
    }

    pub(crate) fn into_args(self) -> Vec<Arg> {
        self.args
    }

    /// The first word of the name: what the server looks up.
    pub(crate) fn verb(&self) -> &'static str {
        self.name.split_ascii_whitespace().next().unwrap_or(self.name)
    }

    /// Refuses commands that would block a shared socket or change its state for everybody on it.
    pub(crate) fn check_shareable(&self) -> Result<(), Error> {
        let verb = self.verb();
        let blocks = EXCLUSIVE.iter().any(|known| known.eq_ignore_ascii_case(verb))
            || (verb.eq_ignore_ascii_case("XREAD") || verb.eq_ignore_ascii_case("XREADGROUP"))
                && self.args.iter().any(|arg| arg.as_bytes().eq_ignore_ascii_case(b"BLOCK"));
        if blocks {
            return Err(Error::configuration(
                "this command blocks or changes the socket it runs on; it has no place on a shared connection",
            )
            .with_operation(self.name));
        }
        Ok(())
    }
}

/// Commands that block their socket or change its state.
const EXCLUSIVE: &[&str] = &[
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "QUIT",
    "RESET",
    "SELECT",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SYNC",
    "WAIT",
    "WAITAOF",
    "WATCH",
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_first_key_routes() {
        let command = Command::new("EVAL").arg("return 1").arg(1_u32).key("a").key("b");
        assert_eq!(command.routing_key(), Some(&b"a"[..]));
        assert_eq!(Command::new("PING").routing_key(), None);
    }

    #[test]
    fn names_of_two_words_are_split() {
        let command = Command::new("CONFIG GET").arg("maxmemory");
        assert_eq!(command.verb(), "CONFIG");
        assert_eq!(command.name(), "CONFIG GET");
        let args: Vec<_> = command.into_args();
        assert_eq!(args, vec![Arg::from("GET"), Arg::from("maxmemory")]);
    }

    #[test]
    fn blocking_commands_are_refused_on_shared_connections() {
        for command in [
            Command::new("BRPOP").key("q").arg(0_u32),
            Command::new("blmove").key("q"),
            Command::new("SELECT").arg(1_u32),
            Command::new("XREAD").args(["COUNT", "1", "block", "0", "STREAMS", "s", "$"]),
        ] {
            let error = command.check_shareable().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.is_not_sent());
        }
        assert!(Command::new("LPUSH").key("q").check_shareable().is_ok());
        assert!(Command::new("XREAD").args(["COUNT", "1"]).check_shareable().is_ok());
    }
}
