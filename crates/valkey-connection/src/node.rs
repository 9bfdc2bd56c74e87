//! One primary of a cluster, or the only server there is.

use std::fmt;

use fred::types::config::Server;

/// A server that holds data: see [`Connection::primaries`](crate::Connection::primaries).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Node {
    /// `None`: the one server of a connection without a cluster.
    server: Option<Server>,
    name: String,
}

impl Node {
    pub(crate) fn of_cluster(server: Server) -> Self {
        Self { name: server.to_string(), server: Some(server) }
    }

    pub(crate) fn only(name: &str) -> Self {
        Self { name: name.to_owned(), server: None }
    }

    pub(crate) fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// The address, for humans.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
