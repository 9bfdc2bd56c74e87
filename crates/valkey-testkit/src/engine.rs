//! Which way servers are started here: found out once per process, and said once on stderr.

use std::io::Write;
use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::TestkitError;
use crate::place::{Container, Local, Place, docker};
use crate::settings::{Settings, Wanted};

/// How this process gets its servers.
#[derive(Debug, Clone)]
pub(crate) enum Engine {
    /// `valkey-server` and `valkey-cli` of this machine.
    Binary(Programs),
    /// Containers of this image.
    Docker { image: String },
    /// One that runs already, by its URL.
    Given { url: String },
}

#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) server: PathBuf,
    pub(crate) cli: PathBuf,
}

impl Engine {
    /// The engine of this process.
    pub(crate) async fn get() -> Result<&'static Self, TestkitError> {
        static ENGINE: OnceCell<Engine> = OnceCell::const_new();
        ENGINE
            .get_or_try_init(|| async {
                let settings = Settings::from_env()?;
                let engine = Self::choose(settings).await?;
                engine.announce();
                Ok(engine)
            })
            .await
    }

    async fn choose(settings: Settings) -> Result<Self, TestkitError> {
        let Settings { url, wanted, image } = settings;
        if let Some(url) = url {
            return Ok(Self::Given { url });
        }
        let mut tried = Vec::new();
        if wanted != Wanted::Binary {
            match docker::provide(&image).await {
                Ok(()) => return Ok(Self::Docker { image }),
                Err(reason) => tried.push(reason),
            }
        }
        if wanted != Wanted::Docker {
            match Programs::find() {
                Ok(programs) => return Ok(Self::Binary(programs)),
                Err(reason) => tried.push(reason),
            }
        }
        Err(TestkitError::NoEngine { image, tried })
    }

    // A test run should say what it ran against; there is no other channel to a person who reads test output.
    // Not `eprintln`: that is swallowed with the output of whichever test comes first.
    fn announce(&self) {
        let what = match self {
            Self::Binary(programs) => programs.server.display().to_string(),
            Self::Docker { image } => format!("Docker with {image}"),
            Self::Given { url } => format!("the server at {}", without_password(url)),
        };
        let _ = writeln!(std::io::stderr(), "testkit: using {what}");
    }

    /// Makes room for one server.
    pub(crate) async fn place(&self) -> Result<Place, TestkitError> {
        match self {
            Self::Binary(programs) => Local::make(programs.clone()).map(Place::Local),
            Self::Docker { image } => Container::start(image).await.map(Place::Container),
            Self::Given { .. } => Err(TestkitError::NeedsOwnServer { what: "starts one" }),
        }
    }
}

impl Programs {
    pub(crate) fn find() -> Result<Self, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let find = |name: &str| {
            std::env::split_paths(&path)
                .map(|directory| directory.join(name))
                .find(|file| is_executable(file))
                .ok_or_else(|| format!("{name} is not on PATH"))
        };
        Ok(Self { server: find("valkey-server")?, cli: find("valkey-cli")? })
    }
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// `valkey://user:secret@host` without its user part.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_holds_no_password() {
        assert_eq!(without_password("valkey://app:p@ss@h:1/0"), "valkey://h:1/0");
        assert_eq!(without_password("valkey://h:1"), "valkey://h:1");
    }
}
