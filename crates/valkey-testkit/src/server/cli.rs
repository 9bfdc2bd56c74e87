//! Asking a server with the real `valkey-cli`.

use std::sync::Arc;

use bytes::Bytes;

use super::{Inner, Own};
use crate::engine::Programs;
use crate::place::{self, Finished};
use crate::{ServerVersion, TestServer, TestkitError, runtime};

/// Asking it with the real `valkey-cli`.
impl TestServer {
    /// Runs `valkey-cli` with these arguments and returns what it prints, without the last line break. Elements of
    /// an array stand on lines of their own, a nil is an empty line.
    ///
    /// # Errors
    /// [`TestkitError::Cli`] with the server's error, [`TestkitError::Invalid`] when the answer is no UTF-8.
    pub async fn cli(&self, arguments: &[&str]) -> Result<String, TestkitError> {
        let output = self.cli_raw(arguments, Bytes::new()).await?;
        String::from_utf8(output).map_err(|_| {
            TestkitError::Invalid(format!("valkey-cli {arguments:?} did not answer in UTF-8: use cli_raw"))
        })
    }

    /// What it is, by its own word.
    ///
    /// ```no_run
    /// # async fn f(server: valkey_testkit::TestServer) -> Result<(), valkey_testkit::TestkitError> {
    /// let version = server.version().await?;
    /// if !version.at_least(7, 2, 0) {
    ///     valkey_testkit::skipped(format_args!("{version} has no WAITAOF"));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`cli`](Self::cli).
    pub async fn version(&self) -> Result<ServerVersion, TestkitError> {
        let info = self.cli(&["INFO", "server"]).await?;
        let unknown = || TestkitError::Invalid(format!("no version in {info:?}"));
        ServerVersion::from_info(&info).ok_or_else(unknown)
    }

    /// Like [`cli`](Self::cli) for any bytes: `stdin` is what the argument `-x` stands for, the result is exactly
    /// what `valkey-cli` prints less one line break at the end.
    ///
    /// ```no_run
    /// # async fn f(server: valkey_testkit::TestServer) -> Result<(), valkey_testkit::TestkitError> {
    /// server.cli_raw(&["-x", "LPUSH", "queue:q"], &b"\xff\x00\r\n"[..]).await?;
    /// assert_eq!(server.cli_raw(&["RPOP", "queue:q"], "").await?, b"\xff\x00\r\n");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TestkitError::Cli`] with the server's error.
    pub async fn cli_raw(
        &self,
        arguments: &[&str],
        stdin: impl Into<Bytes>,
    ) -> Result<Vec<u8>, TestkitError> {
        let command = arguments.join(" ");
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let stdin = stdin.into();
        let finished = match &self.inner {
            Inner::Given(given) => {
                // Errors of the server become the exit code.
                let arguments = ["-e", "-u", &given.url].map(str::to_owned).into_iter().chain(arguments);
                let programs = Programs::find().map_err(TestkitError::Invalid)?;
                let command = std::iter::once(programs.cli).chain(arguments).collect();
                runtime::run(async move { place::run_here(command, &[], stdin).await }).await?
            }
            Inner::Own(own) => {
                let arguments = own.cli_arguments().into_iter().chain(arguments).collect();
                let own = Arc::clone(own);
                runtime::run(async move { own.cli(arguments, stdin).await }).await?
            }
        };
        let Finished { code, mut stdout, stderr } = finished;
        if code != 0 {
            let message = [stderr, stdout].concat();
            let message = String::from_utf8_lossy(&message).trim().to_owned();
            return Err(TestkitError::Cli { command, message });
        }
        stdout.pop_if(|last| *last == b'\n');
        Ok(stdout)
    }
}

impl Own {
    async fn cli(&self, arguments: Vec<String>, stdin: Bytes) -> Result<Finished, TestkitError> {
        let environment = match &self.operator {
            // Not an argument: those show in the process list. The older name is understood by all versions.
            Some((_, password)) => {
                vec![("REDISCLI_AUTH", password.as_str()), ("VALKEYCLI_AUTH", password.as_str())]
            }
            None => Vec::new(),
        };
        self.place.cli(arguments, &environment, stdin).await
    }

    fn cli_arguments(&self) -> Vec<String> {
        let port = self.place.ports().0.to_string();
        // Errors of the server become the exit code.
        let mut arguments =
            vec!["-e".to_owned(), "-h".to_owned(), "127.0.0.1".to_owned(), "-p".to_owned(), port];
        if let Some((user, _)) = &self.operator {
            arguments.extend(["--user".to_owned(), user.clone(), "--no-auth-warning".to_owned()]);
        }
        if self.authority.is_some() {
            let (directory, _) = self.place.directories();
            arguments.push("--tls".to_owned());
            for (option, file) in [("--cacert", "ca.pem"), ("--cert", "client.pem"), ("--key", "client.key")]
            {
                arguments.extend([option.to_owned(), format!("{directory}/{file}")]);
            }
        }
        arguments
    }
}
