//! A call of a script as plain commands, which can travel together with others: the call, and a look at what it did.

use valkey_connection::{Arg, Command, Error, ErrorKind, Reply, Script};

/// A call of a script, as a command that can travel together with others.
pub(crate) struct Scripted<'a> {
    script: &'a Script,
    keys: Vec<Arg>,
    args: Vec<Arg>,
}

impl<'a> Scripted<'a> {
    pub(crate) const fn new(script: &'a Script) -> Self {
        Self { script, keys: Vec::new(), args: Vec::new() }
    }

    pub(crate) fn key(self, key: impl Into<Arg>) -> Self {
        self.keys([key])
    }

    pub(crate) fn keys<K: Into<Arg>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.keys.extend(keys.into_iter().map(Into::into));
        self
    }

    pub(crate) fn arg(self, arg: impl Into<Arg>) -> Self {
        self.args([arg])
    }

    pub(crate) fn args<A: Into<Arg>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn by_hash(&self) -> Command {
        self.called(Command::new("EVALSHA").arg(self.script.sha()))
    }

    pub(crate) fn in_full(&self) -> Command {
        self.called(Command::new("EVAL").arg(self.script.source()))
    }

    fn called(&self, command: Command) -> Command {
        command.arg(self.keys.len()).args(&self.keys).args(&self.args)
    }
}

/// The server did not know the script, and did nothing.
pub(crate) fn is_unknown(reply: &Result<Reply, Error>) -> bool {
    reply.as_ref().is_err_and(|error| error.kind() == ErrorKind::NoScript)
}
