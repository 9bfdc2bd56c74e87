//! The handle that all verbs hang on.

use valkey_connection::Connection;

/// Sees and operates the queues behind one connection. Cloning shares the connection.
///
/// The verbs are spread over the modules of this crate, one a file.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(crate) connection: Connection,
}

/// Whether a verb that moves or removes really does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Execution {
    /// Count what would be touched, change nothing.
    DryRun,
    /// Do it.
    Run,
}

// === impl Admin ===

impl Admin {
    /// Elements a script touches in one call: enough to be quick, few enough never to hold up the server.
    pub(crate) const SLICE: u64 = 512;

    /// An operator on this connection.
    pub const fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// The connection, for what is not about queues.
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }
}
