//! A directory and a port of this machine.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Finished;
use crate::engine::Programs;
use crate::supervisor::{self, Supervisor};
use crate::{TestkitError, port};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[derive(Debug)]
pub(crate) struct Local {
    programs: Programs,
    directory: PathBuf,
    conf: String,
    data: String,
    port: u16,
    bus_port: u16,
    /// From then on its supervisor removes the directory, which also outlives a test that is killed.
    supervised: AtomicBool,
}

impl Local {
    pub(crate) fn make(programs: Programs) -> Result<Self, TestkitError> {
        let doing = "making a directory for the server";
        let directory = tempfile::Builder::new()
            .prefix("valkey-testkit-")
            .tempdir()
            .map_err(TestkitError::io(doing))?
            .keep();
        let data = directory.join("data");
        std::fs::create_dir(&data).map_err(TestkitError::io(doing))?;
        let (conf, data) = (directory.display().to_string(), data.display().to_string());
        Ok(Self {
            programs,
            directory,
            conf,
            data,
            port: port::free()?,
            bus_port: port::free()?,
            supervised: AtomicBool::new(false),
        })
    }

    #[expect(clippy::unused_self, reason = "the counterpart of the container's address")]
    pub(crate) fn ip(&self) -> IpAddr {
        LOOPBACK.into()
    }

    pub(crate) fn ports(&self) -> (u16, u16) {
        (self.port, self.bus_port)
    }

    pub(crate) fn directories(&self) -> (&str, &str) {
        (&self.conf, &self.data)
    }

    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    pub(crate) fn write(&self, files: &[(&str, String)]) -> Result<(), TestkitError> {
        for (name, content) in files {
            std::fs::write(self.directory.join(name), content)
                .map_err(TestkitError::io("writing the server's configuration"))?;
        }
        Ok(())
    }

    pub(crate) fn supervise(&self, arguments: &[String]) -> Result<Supervisor, TestkitError> {
        let mut child = Command::new("sh")
            .args(["-c", supervisor::SCRIPT, "supervisor"])
            .arg(self.directory.join("pid"))
            .arg(format!("rm -rf '{}'", self.conf))
            .arg(&self.programs.server)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C in a terminal reaches a whole process group; the server should end with the test, not before it.
            .process_group(0)
            .spawn()
            .map_err(TestkitError::io("starting a shell for the server"))?;
        self.supervised.store(true, Ordering::Release);
        let input = child.stdin.take().expect("stdin was asked for");
        let output = child.stdout.take().expect("stdout was asked for");
        // Reaps the shell when it ends; it does so by itself when its stdin closes.
        tokio::spawn(async move { child.wait().await });
        Ok(Supervisor::new(Box::pin(input), Box::pin(read(output))))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if !*self.supervised.get_mut() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

fn read(output: tokio::process::ChildStdout) -> impl futures::Stream<Item = Result<Bytes, TestkitError>> {
    futures::stream::unfold(output, |mut output| async move {
        let mut chunk = bytes::BytesMut::with_capacity(4096);
        match tokio::io::AsyncReadExt::read_buf(&mut output, &mut chunk).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(chunk.freeze()), output)),
            Err(error) => Some((Err(TestkitError::io("reading the server's log")(error)), output)),
        }
    })
}

/// Runs a program of this machine to its end.
pub(crate) async fn run(
    command: Vec<String>,
    environment: &[(&str, &str)],
    stdin: Bytes,
) -> Result<Finished, TestkitError> {
    let doing = "running valkey-cli";
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(TestkitError::io(doing))?;
    let mut input = child.stdin.take().expect("stdin was asked for");
    let feed = async move {
        // A program that ends without reading it all is judged by its exit code, not by this.
        let _ = input.write_all(&stdin).await;
        drop(input);
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.map_err(TestkitError::io(doing))?;
    let code = output.status.code().map_or(-1, i64::from);
    Ok(Finished { code, stdout: output.stdout, stderr: output.stderr })
}
