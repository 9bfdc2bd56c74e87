//! User and password at the moment they are needed: a password file is read at every login.

use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fred::error::{Error as FredError, ErrorKind as FredKind};
use fred::types::config::{CredentialProvider, Server};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use valkey_config::Secret;

use crate::settings::ConnectionSettings;

/// More than any password.
const LARGEST_FILE: u64 = 1 << 20;
/// How long a password file may take to be read: less than a dial, whose own limit would not name the file.
const READ_LIMIT: Duration = Duration::from_secs(2);

/// Answers the driver's question for credentials. `Debug` shows no password.
pub(crate) struct Credentials {
    username: Option<String>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
}

impl Credentials {
    pub(crate) fn new(settings: &ConnectionSettings) -> Self {
        Self {
            username: settings.effective_username().map(str::to_owned),
            password: settings.effective_password().cloned(),
            password_file: settings.password_file.clone(),
        }
    }

    /// Those for the Sentinels, who are not logged in to unless it is said how.
    pub(crate) fn of_sentinels(settings: &ConnectionSettings) -> Self {
        Self {
            username: settings.sentinel_username.clone(),
            password: settings.sentinel_password.clone(),
            password_file: None,
        }
    }

    /// User and password as the driver has to be given them.
    pub(crate) async fn read(&self) -> Result<(Option<String>, Option<String>), FredError> {
        let password = match &self.password_file {
            Some(path) => {
                let text = read(path).await.map_err(|error| {
                    let path = path.display();
                    FredError::new(
                        FredKind::Auth,
                        format!("the password file {path} is not readable: {error}"),
                    )
                })?;
                // Editors and `echo` end a file with a newline, which is never part of the password.
                Some(quoted(text.trim_end_matches(['\r', '\n'])))
            }
            None => match &self.password {
                Some(password) => Some(quoted(password.expose())),
                // Without any password the driver would not log in at all, and go on as the default user.
                None => self.username.as_ref().map(|_| quoted("")),
            },
        };
        Ok((self.username.as_deref().map(quoted), password))
    }
}

/// A pipe that nobody writes to, and a path like `/dev/zero`, end here.
async fn read(path: &Path) -> io::Result<String> {
    let content = async {
        let mut text = String::new();
        File::open(path).await?.take(LARGEST_FILE + 1).read_to_string(&mut text).await?;
        Ok(text)
    };
    let text = tokio::time::timeout(READ_LIMIT, content)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came out of it for 2 s")))?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(text)
}

/// The driver sends `HELLO 3 AUTH <user> <password>` as an inline command, split by the server at spaces: without quotes
/// a password with a space is another one, and one with a line break is two commands.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &self.password)
            .field("password_file", &self.password_file)
            .finish()
    }
}

#[async_trait::async_trait]
impl CredentialProvider for Credentials {
    async fn fetch(&self, _server: Option<&Server>) -> Result<(Option<String>, Option<String>), FredError> {
        self.read().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_password() {
        let settings = ConnectionSettings::default().password(Some("canary".into()));
        assert!(!format!("{:?}", Credentials::new(&settings)).contains("canary"));
    }

    #[test]
    fn everything_but_letters_and_digits_is_escaped() {
        assert_eq!(quoted(""), r#""""#);
        assert_eq!(quoted("a b\"\r\nü"), r#""a\x20b\x22\x0d\x0a\xc3\xbc""#);
    }
}
