//! User and password at the moment they are needed: a password file is read at every login.

use std::fmt;
use std::path::PathBuf;

use fred::error::{Error as FredError, ErrorKind as FredKind};
use fred::types::config::{CredentialProvider, Server};
use valkey_config::Secret;

use crate::settings::ConnectionSettings;

/// Answers the driver's question for credentials. `Debug` shows no password (the driver logs its configuration).
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
        let password = match &self.password_file {
            Some(path) => {
                let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                    FredError::new(
                        FredKind::Auth,
                        format!("the password file {} is not readable: {error}", path.display()),
                    )
                })?;
                // Editors and `echo` end a file with a newline, which is never part of the password.
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            None => self.password.as_ref().map(|password| password.expose().to_owned()),
        };
        Ok((self.username.clone(), password))
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
}
