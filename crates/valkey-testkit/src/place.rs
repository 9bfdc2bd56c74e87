//! Where a server lives: a container, or a directory of this machine. Both can take files, run programs and hold a
//! supervised server; everything above is the same for both.

mod container;
pub(crate) mod docker;
mod local;
mod owner;

use std::net::IpAddr;

use bytes::Bytes;

use crate::TestkitError;
use crate::supervisor::Supervisor;

pub(crate) use container::Container;
pub(crate) use local::Local;

#[derive(Debug)]
pub(crate) enum Place {
    Container(Container),
    Local(Local),
}

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i64,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Place {
    /// The address under which tests reach what listens here. It stays the same as long as the place exists.
    pub(crate) fn ip(&self) -> IpAddr {
        match self {
            Self::Container(container) => container.ip(),
            Self::Local(local) => local.ip(),
        }
    }

    /// The port to serve on, and the one for the cluster bus.
    pub(crate) fn ports(&self) -> (u16, u16) {
        match self {
            Self::Container(_) => (6379, 16379),
            Self::Local(local) => local.ports(),
        }
    }

    /// The directory for configuration files and the one for the server's data, as the server sees them.
    pub(crate) fn directories(&self) -> (&str, &str) {
        match self {
            Self::Container(_) => container::DIRECTORIES,
            Self::Local(local) => local.directories(),
        }
    }

    /// Whether another attempt in another place could help a server that did not start: its port was taken.
    pub(crate) fn shares_ports(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// Writes text files into the directory for configuration.
    pub(crate) async fn write(&self, files: &[(&str, String)]) -> Result<(), TestkitError> {
        match self {
            Self::Container(container) => container.write(files).await,
            Self::Local(local) => local.write(files),
        }
    }

    /// Runs a shell script with `arguments`.
    pub(crate) async fn shell(&self, script: &str, arguments: &[&str]) -> Result<Finished, TestkitError> {
        let mut command = vec!["sh".to_owned(), "-c".to_owned(), script.to_owned(), "sh".to_owned()];
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        match self {
            Self::Container(container) => container.run(command, &[], Bytes::new()).await,
            Self::Local(_) => local::run(command, &[], Bytes::new()).await,
        }
    }

    /// Runs `valkey-cli`.
    pub(crate) async fn cli(
        &self,
        arguments: Vec<String>,
        environment: &[(&str, &str)],
        stdin: Bytes,
    ) -> Result<Finished, TestkitError> {
        match self {
            Self::Container(container) => {
                let mut command = vec!["valkey-cli".to_owned()];
                command.extend(arguments);
                container.run(command, environment, stdin).await
            }
            Self::Local(place) => {
                let mut command = vec![place.programs().cli.display().to_string()];
                command.extend(arguments);
                local::run(command, environment, stdin).await
            }
        }
    }

    /// Puts a server with these arguments under a supervisor. Does not start it yet.
    pub(crate) async fn supervise(&self, arguments: &[String]) -> Result<Supervisor, TestkitError> {
        match self {
            Self::Container(container) => container.supervise(arguments).await,
            Self::Local(local) => local.supervise(arguments),
        }
    }

    /// The address under which what runs here reaches what listens in this process.
    pub(crate) async fn host(&self) -> Result<IpAddr, TestkitError> {
        match self {
            Self::Container(container) => container.gateway().await,
            Self::Local(local) => Ok(local.ip()),
        }
    }
}

pub(crate) use local::run as run_here;
