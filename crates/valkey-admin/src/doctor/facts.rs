//! What a server says about itself.

use std::{collections::HashMap, time::SystemTime};

use valkey_connection::{Command, Connection, ErrorKind, Node, Reply};

use crate::{error::Error, scripts::PROBE};

/// A fact, or why it could not be had.
pub(super) type Known<T> = Result<T, String>;

/// What the doctor knows of one server.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) server: String,
    /// The words in which it would refuse a send now, if it would.
    pub(super) refusal: Option<String>,
    pub(super) info: Known<Info>,
    /// `CLUSTER INFO`, if it is a node of a cluster.
    pub(super) cluster: Option<Known<Info>>,
    /// `min-replicas-to-write`.
    pub(super) min_replicas: Known<String>,
    /// `appendfsync`.
    pub(super) fsync: Known<String>,
    /// `save`: the points at which a snapshot is taken; empty = never.
    pub(super) save: Known<String>,
    pub(super) default_user: Known<DefaultUser>,
    /// The server's clock minus ours, in milliseconds.
    pub(super) clock_ahead_ms: Known<i64>,
}

/// `INFO`.
#[derive(Clone, Debug, Default)]
pub(super) struct Info(HashMap<String, String>);

/// What the user `default` may do.
#[expect(clippy::struct_excessive_bools, reason = "four independent facts, each a yes or a no")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DefaultUser {
    pub(super) on: bool,
    pub(super) nopass: bool,
    pub(super) all_keys: bool,
    pub(super) all_commands: bool,
}

/// Which server, and how old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) valkey: bool,
    pub(super) number: (u32, u32, u32),
}

pub(super) async fn gather(connection: &Connection, node: &Node) -> Result<Facts, Error> {
    // The one question any user may ask; if it fails, so will all others.
    let sign_of_life = connection.execute_on(node, Command::new("PING")).await;
    let mut refusal = refused(sign_of_life)?;
    let info = text(connection, node, Command::new("INFO")).await.map(|text| Info::parse(&text));
    let is = |name: &str, value: &str| info.as_ref().is_ok_and(|info| info.get(name) == Some(value));
    let cluster = if is("cluster_enabled", "1") {
        let info = text(connection, node, Command::new("CLUSTER INFO")).await;
        Some(info.map(|text| Info::parse(&text)))
    } else {
        None
    };
    // A replica is known by its role, and a connection takes READONLY for a sign that it should leave.
    if refusal.is_none() && !is("role", "slave") {
        let probe = Command::new("EVAL").arg(PROBE.source()).arg(0u64);
        refusal = refused(connection.execute_on(node, probe).await).unwrap_or_default();
    }
    Ok(Facts {
        server: node.to_string(),
        refusal,
        info,
        cluster,
        min_replicas: config(connection, node, "min-replicas-to-write").await,
        fsync: config(connection, node, "appendfsync").await,
        save: config(connection, node, "save").await,
        default_user: default_user(connection, node).await,
        clock_ahead_ms: clock_ahead(connection, node).await,
    })
}

/// The server's words, if they are about the state it is in and not about the question or who asks.
fn refused(answer: Result<Reply, valkey_connection::Error>) -> Result<Option<String>, Error> {
    let Err(error) = answer else { return Ok(None) };
    let Some(message) = error.server_message() else { return Err(error.into()) };
    let state = matches!(
        error.kind(),
        ErrorKind::OutOfMemory | ErrorKind::RoleChange | ErrorKind::StoreUnsafe | ErrorKind::Transient
    );
    Ok(state.then(|| message.to_owned()))
}

async fn text(connection: &Connection, node: &Node, command: Command) -> Known<String> {
    let reply = connection.execute_on(node, command).await.map_err(|error| error.to_string())?;
    reply.into_string().map_err(|error| error.to_string())
}

async fn config(connection: &Connection, node: &Node, name: &'static str) -> Known<String> {
    let command = Command::new("CONFIG GET").arg(name);
    let reply = connection.execute_on(node, command).await.map_err(|error| error.to_string())?;
    let pairs = reply.into_pairs().map_err(|error| error.to_string())?;
    let (_, value) = pairs.into_iter().next().ok_or_else(|| format!("the server has no setting {name}"))?;
    value.into_string().map_err(|error| error.to_string())
}

async fn default_user(connection: &Connection, node: &Node) -> Known<DefaultUser> {
    let command = Command::new("ACL GETUSER").arg("default");
    let reply = connection.execute_on(node, command).await.map_err(|error| error.to_string())?;
    let mut user = DefaultUser { on: false, nopass: false, all_keys: false, all_commands: false };
    for (field, value) in reply.into_pairs().map_err(|error| error.to_string())? {
        match field.into_string().unwrap_or_default().as_str() {
            "flags" => {
                for flag in value.into_array().unwrap_or_default() {
                    match flag.into_string().unwrap_or_default().as_str() {
                        "on" => user.on = true,
                        "nopass" => user.nopass = true,
                        _ => {}
                    }
                }
            }
            "commands" => user.all_commands = value.into_string().is_ok_and(|rules| rules == "+@all"),
            "keys" => {
                user.all_keys =
                    value.into_string().is_ok_and(|rules| rules.split(' ').any(|rule| rule == "~*"));
            }
            _ => {}
        }
    }
    Ok(user)
}

async fn clock_ahead(connection: &Connection, node: &Node) -> Known<i64> {
    let sent = SystemTime::now();
    let reply = connection.execute_on(node, Command::new("TIME")).await.map_err(|error| error.to_string())?;
    let parts = reply.into_array().map_err(|error| error.to_string())?;
    let part = |i: usize| parts.get(i).and_then(|part| part.as_int().ok()).ok_or("TIME: an unknown form");
    let server_ms = part(0)? * 1000 + part(1)? / 1000;
    let back = SystemTime::now();
    // The server looked at its clock somewhere between.
    let middle = sent + back.duration_since(sent).unwrap_or_default() / 2;
    let ours = middle.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| "our clock is before 1970")?;
    Ok(server_ms - i64::try_from(ours.as_millis()).unwrap_or(i64::MAX))
}

// === impl Info ===

impl Info {
    pub(super) fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    pub(super) fn version(&self) -> Option<Version> {
        let (valkey, text) = match self.get("valkey_version") {
            Some(text) => (true, text),
            None => (false, self.get("redis_version")?),
        };
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let number = (parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0));
        Some(Version { valkey, number })
    }
}

#[cfg(test)]
mod tests {
    use super::{Info, Version};

    #[test]
    fn valkey_tells_two_versions_and_ours_is_its_own() {
        let info =
            Info::parse("# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\nused_memory:17\r\n");
        assert_eq!(info.version(), Some(Version { valkey: true, number: (8, 0, 1) }));
        assert_eq!(info.number("used_memory"), Some(17));
        let info = Info::parse("redis_version:7.0.15\n");
        assert_eq!(info.version(), Some(Version { valkey: false, number: (7, 0, 15) }));
        assert_eq!(Info::parse("redis_version:unstable").version(), None);
    }
}
