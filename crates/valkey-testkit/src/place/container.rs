//! A container that holds one server.
//!
//! The container's own first process only sleeps; the server runs beside it, under the supervisor. So a server can
//! be killed and started again while the container, its address and its data stay, and when the connection to the
//! supervisor breaks, because the test process died by whatever signal, the container ends and is removed.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use testcontainers::bollard::container::LogOutput;
use testcontainers::bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use testcontainers::core::WaitFor;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, Image, ImageExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use super::{Finished, docker, owner};
use crate::TestkitError;
use crate::error::DockerError;
use crate::supervisor::{self, Input, Output, Supervisor};

/// Configuration and data.
pub(crate) const DIRECTORIES: (&str, &str) = ("/testkit", "/data");

/// Starting is the part that hurts a small machine, not running: idle servers cost next to nothing.
static STARTING: Semaphore = Semaphore::const_new(4);

pub(crate) struct Container {
    inner: Option<Box<ContainerAsync<Valkey>>>,
    docker: testcontainers::bollard::Docker,
    ip: IpAddr,
}

/// The image, started as a place to live in rather than as a server.
#[derive(Debug, Clone)]
struct Valkey {
    name: String,
    tag: String,
}

impl Image for Valkey {
    fn name(&self) -> &str {
        &self.name
    }

    fn tag(&self) -> &str {
        &self.tag
    }

    fn ready_conditions(&self) -> Vec<WaitFor> {
        Vec::new()
    }

    fn entrypoint(&self) -> Option<&str> {
        Some("sh")
    }

    fn cmd(&self) -> impl IntoIterator<Item = impl Into<Cow<'_, str>>> {
        // The first process of a container ignores signals that it does not handle.
        ["-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"]
    }
}

impl Valkey {
    fn parse(reference: &str) -> Self {
        // A colon before the last slash belongs to a registry's port.
        match reference.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => Self { name: name.to_owned(), tag: tag.to_owned() },
            _ => Self { name: reference.to_owned(), tag: "latest".to_owned() },
        }
    }
}

impl Container {
    pub(crate) async fn start(image: &str) -> Result<Self, TestkitError> {
        let docker = docker::client().await?;
        let _turn = STARTING.acquire().await.expect("never closed");
        let container = Valkey::parse(image)
            .with_container_name(crate::unique_name(&format!("valkey-testkit-{}", std::process::id())))
            .with_label(docker::OWNER, owner::this_process())
            .with_host_config_modifier(|host| {
                host.auto_remove = Some(true);
                // Tests reach it by the container's own address, which survives a restart of the server.
                host.publish_all_ports = Some(false);
                // By its name: older engines answer "default" when asked which network an unnamed one is.
                host.network_mode = Some("bridge".to_owned());
            })
            .start()
            .await
            .map_err(|error| TestkitError::docker("starting a container")(error.into()))?;
        let ip = container
            .get_bridge_ip_address()
            .await
            .map_err(|error| TestkitError::docker("asking for a container's address")(error.into()))?;
        Ok(Self { inner: Some(Box::new(container)), docker, ip })
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The host's own address in the network of the containers.
    pub(crate) async fn gateway(&self) -> Result<IpAddr, TestkitError> {
        let found = self.docker.inspect_container(self.id(), None).await;
        let found = found.map_err(|error| TestkitError::docker("looking at a container")(error.into()))?;
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let gateway = networks.get("bridge").and_then(|bridge| bridge.gateway.as_deref()).unwrap_or_default();
        gateway.parse().map_err(|_| {
            TestkitError::Invalid(format!("Docker's bridge network has no gateway: {gateway:?}"))
        })
    }

    fn id(&self) -> &str {
        self.inner.as_ref().expect("taken only on drop").id()
    }

    pub(crate) async fn write(&self, files: &[(&str, String)]) -> Result<(), TestkitError> {
        let (directory, _) = DIRECTORIES;
        let mut script = format!("set -e; mkdir -p {directory}; cd {directory}\n");
        for (name, content) in files {
            let _ = write!(script, "cat >{name} <<'END_OF_FILE'\n{content}\nEND_OF_FILE\n");
        }
        let command = vec!["sh".to_owned(), "-s".to_owned()];
        let finished = self.run(command, &[], script.into()).await?;
        if finished.code == 0 {
            return Ok(());
        }
        let error = std::io::Error::other(String::from_utf8_lossy(&finished.stderr).into_owned());
        Err(TestkitError::io("writing the server's configuration")(error))
    }

    /// Runs a program in the container to its end.
    pub(crate) async fn run(
        &self,
        command: Vec<String>,
        environment: &[(&str, &str)],
        stdin: Bytes,
    ) -> Result<Finished, TestkitError> {
        let doing = TestkitError::docker("running a program in a container");
        self.try_run(command, environment, stdin).await.map_err(doing)
    }

    async fn try_run(
        &self,
        command: Vec<String>,
        environment: &[(&str, &str)],
        stdin: Bytes,
    ) -> Result<Finished, DockerError> {
        let environment = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (id, mut input, output) = self.exec(command, environment).await?;
        let feed = async move {
            // A program that ends without reading it all is judged by its exit code, not by this.
            let _ = input.write_all(&stdin).await;
            let _ = input.shutdown().await;
        };
        let collect =
            output.try_fold((Vec::new(), Vec::new()), |(mut stdout, mut stderr), chunk| async move {
                match chunk {
                    LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                    other => stdout.extend_from_slice(&other.into_bytes()),
                }
                Ok((stdout, stderr))
            });
        let ((), collected) = tokio::join!(feed, collect);
        let (stdout, stderr) = collected?;
        loop {
            let state = self.docker.inspect_exec(&id).await?;
            // Its output can end a moment before the engine has seen it exit.
            if let (Some(code), Some(false) | None) = (state.exit_code, state.running) {
                return Ok(Finished { code, stdout, stderr });
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn supervise(
        &self,
        server: &str,
        arguments: &[String],
    ) -> Result<Supervisor, TestkitError> {
        let command =
            ["sh", "-c", supervisor::SCRIPT, "supervisor", "/testkit/pid", "kill -s TERM 1", server];
        let command = command.into_iter().map(str::to_owned).chain(arguments.iter().cloned()).collect();
        let (_, input, output) = self
            .exec(command, Vec::new())
            .await
            .map_err(TestkitError::docker("starting the server's supervisor"))?;
        let output: Output = Box::pin(output.map(|chunk| {
            chunk
                .map(LogOutput::into_bytes)
                .map_err(|error| TestkitError::docker("reading the server's log")(error.into()))
        }));
        Ok(Supervisor::new(input, output))
    }

    async fn exec(
        &self,
        command: Vec<String>,
        environment: Vec<String>,
    ) -> Result<(String, Input, Logs), DockerError> {
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command),
            env: Some(environment),
            ..CreateExecOptions::default()
        };
        let id = self.docker.create_exec(self.id(), options).await?.id;
        let options = StartExecOptions { output_capacity: Some(64 * 1024), ..StartExecOptions::default() };
        match self.docker.start_exec(&id, Some(options)).await? {
            StartExecResults::Attached { input, output } => Ok((id, input, output)),
            StartExecResults::Detached => unreachable!("it was started attached"),
        }
    }
}

type Logs = std::pin::Pin<
    Box<dyn futures::Stream<Item = Result<LogOutput, testcontainers::bollard::errors::Error>> + Send>,
>;

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(container) = self.inner.take() {
            // The container also ends by itself, with its supervisor; this is only the quicker way.
            crate::runtime::handle().spawn(async move { container.rm().await });
        }
    }
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("ip", &self.ip).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_reference_is_taken_apart() {
        for (reference, name, tag) in [
            ("valkey/valkey:8.0", "valkey/valkey", "8.0"),
            ("valkey/valkey", "valkey/valkey", "latest"),
            ("registry.example:5000/valkey", "registry.example:5000/valkey", "latest"),
            ("registry.example:5000/valkey:9", "registry.example:5000/valkey", "9"),
        ] {
            let image = Valkey::parse(reference);
            assert_eq!((image.name.as_str(), image.tag.as_str()), (name, tag));
        }
    }
}
