//! The server and its domain.

use crate::client::Pinned;
use crate::command::Command;
use crate::config::{DomainConfig, ServerInfo};
use crate::error::CallError;

impl Pinned {
    /// Whether the server answers, and what it is.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn ping(&self) -> Result<ServerInfo, CallError> {
        self.ask(&Command::read("ping"), |reply| Ok(ServerInfo::of(reply))).await
    }

    /// The settings of the domain.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn config_show(&self) -> Result<DomainConfig, CallError> {
        self.ask(&Command::read("config_show"), |reply| reply.entry().map(DomainConfig::new)).await
    }
}
