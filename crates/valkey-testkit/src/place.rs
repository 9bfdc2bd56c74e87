//! Where a server lives: a container, or a directory of this machine. Both can take files, run programs and hold a
//! supervised server; everything above is the same for both.

mod container;
pub(crate) mod docker;
mod local;
mod owner;

use std::net::IpAddr;

use bytes::Bytes;

use crate::TestkitError;
use crate::engine::Programs;
use crate::supervisor::Supervisor;

pub(crate) use container::Container;
pub(crate) use local::Local;

#[derive(Debug)]
pub(crate) enum Place {
    /// With the programs that its image has.
    Container(Container, &'static Programs),
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
            Self::Container(container, _) => container.ip(),
            Self::Local(local) => local.ip(),
        }
    }

    /// The port to serve on, and the one for the cluster bus.
    pub(crate) fn ports(&self) -> (u16, u16) {
        match self {
            Self::Container(..) => (6379, 16379),
            Self::Local(local) => local.ports(),
        }
    }

    /// The directory for configuration files and the one for the server's data, as the server sees them.
    pub(crate) fn directories(&self) -> (&str, &str) {
        match self {
            Self::Container(..) => container::DIRECTORIES,
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
            Self::Container(container, _) => container.write(files).await,
            Self::Local(local) => local.write(files),
        }
    }

    /// Runs a shell script with `arguments`.
    pub(crate) async fn shell(&self, script: &str, arguments: &[&str]) -> Result<Finished, TestkitError> {
        let mut command = vec!["sh".to_owned(), "-c".to_owned(), script.to_owned(), "sh".to_owned()];
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        match self {
            Self::Container(container, _) => container.run(command, &[], Bytes::new()).await,
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
        let command = |cli: &str| std::iter::once(cli.to_owned()).chain(arguments).collect();
        match self {
            Self::Container(container, programs) => {
                container.run(command(&programs.cli), environment, stdin).await
            }
            Self::Local(place) => local::run(command(&place.programs().cli), environment, stdin).await,
        }
    }

    /// Puts a server with these arguments under a supervisor. Does not start it yet.
    pub(crate) async fn supervise(&self, arguments: &[String]) -> Result<Supervisor, TestkitError> {
        match self {
            Self::Container(container, programs) => container.supervise(&programs.server, arguments).await,
            Self::Local(local) => local.supervise(arguments),
        }
    }

    /// The address under which what runs here reaches what listens in this process.
    pub(crate) async fn host(&self) -> Result<IpAddr, TestkitError> {
        match self {
            Self::Container(container, _) => container.gateway().await,
            Self::Local(local) => Ok(local.ip()),
        }
    }
}

pub(crate) use local::run as run_here;
