//! Lua scripts: source, hash and the calls made of them.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;

use crate::arg::Arg;
use crate::arguments::argument_setters;

/// A Lua script; its hash is its version.
///
/// Make it a `static`, so that the hash is computed once:
///
/// ```
/// use valkey_connection::Script;
///
/// static COUNT: Script = Script::new("count", "return redis.call('INCRBY', KEYS[1], ARGV[1])");
///
/// let call = COUNT.call().key("hits").arg(2_u32);
/// assert_eq!(call.name(), "count");
/// assert_eq!(COUNT.sha().len(), 40);
/// ```
#[derive(Debug)]
pub struct Script {
    name: &'static str,
    source: &'static str,
    sha: OnceLock<Sha>,
}

/// The hash, as text for people and as bytes that calls share.
#[derive(Debug)]
struct Sha {
    text: String,
    bytes: Bytes,
}

/// One call of a [`Script`]: keys, arguments and an own deadline.
///
/// Every key the script touches belongs in [`key`](Self::key): in a cluster the first one routes, and the server
/// refuses the others when they live elsewhere.
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until it is invoked"]
pub struct ScriptCall {
    name: &'static str,
    source: &'static str,
    sha: Bytes,
    keys: Vec<Arg>,
    args: Vec<Arg>,
    timeout: Option<Duration>,
}

impl Script {
    /// A script by name (for errors and metrics) and source.
    pub const fn new(name: &'static str, source: &'static str) -> Self {
        Self { name, source, sha: OnceLock::new() }
    }

    /// The name given.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The source given.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// SHA-1 of the source in lower-case hex, under which the server knows the script.
    pub fn sha(&self) -> &str {
        &self.hash().text
    }

    /// Starts a call.
    pub fn call(&self) -> ScriptCall {
        ScriptCall {
            name: self.name,
            source: self.source,
            sha: self.hash().bytes.clone(),
            keys: Vec::new(),
            args: Vec::new(),
            timeout: None,
        }
    }

    fn hash(&self) -> &Sha {
        self.sha.get_or_init(|| {
            let text = fred::util::sha1_hash(self.source);
            Sha { bytes: Bytes::copy_from_slice(text.as_bytes()), text }
        })
    }
}

argument_setters!(ScriptCall);

impl ScriptCall {
    /// The script's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn push_key(&mut self, key: Arg) {
        self.keys.push(key);
    }

    pub(crate) fn routing_key(&self) -> Option<&[u8]> {
        self.keys.first().map(Arg::as_bytes)
    }

    /// Arguments of `EVALSHA` for this call.
    pub(crate) fn by_hash(&self) -> Vec<Arg> {
        self.assemble(Arg::from(&self.sha))
    }

    /// Arguments of `EVAL` for this call.
    pub(crate) fn by_source(&self) -> Vec<Arg> {
        self.assemble(Arg::from_static(self.source))
    }

    fn assemble(&self, script: Arg) -> Vec<Arg> {
        let mut all = Vec::with_capacity(2 + self.keys.len() + self.args.len());
        all.push(script);
        all.push(Arg::from(self.keys.len()));
        all.extend(self.keys.iter().cloned());
        all.extend(self.args.iter().cloned());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static ONE: Script = Script::new("one", "return 1");

    #[test]
    fn the_hash_is_what_the_server_computes() {
        // SCRIPT LOAD "return 1"
        assert_eq!(ONE.sha(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }

    #[test]
    fn arguments_are_hash_or_source_key_count_keys_arguments() {
        let call = ONE.call().key("k1").keys(["k2"]).arg(7_u32).args(["x"]);
        let text = |args: Vec<Arg>| -> Vec<String> {
            args.iter().map(|arg| String::from_utf8_lossy(arg.as_bytes()).into_owned()).collect()
        };
        assert_eq!(text(call.by_hash())[1..], ["2", "k1", "k2", "7", "x"]);
        assert_eq!(text(call.by_source()), ["return 1", "2", "k1", "k2", "7", "x"]);
        assert_eq!(call.routing_key(), Some(&b"k1"[..]));
    }
}
