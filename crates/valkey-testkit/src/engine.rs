//! Which way servers are started here: found out once per process, and said once on stderr.

use std::io::Write;
use std::path::Path;

use tokio::sync::OnceCell;

use crate::place::{Container, Local, Place, docker};
use crate::settings::{Settings, Wanted};
use crate::version::ServerVersion;
use crate::{TestkitError, place};

/// How this process gets its servers.
#[derive(Debug)]
pub(crate) enum Engine {
    /// `valkey-server` and `valkey-cli` of this machine.
    Binary(Programs),
    /// Containers of this image. What it holds is known when there is a first one.
    Docker { image: String, programs: OnceCell<Programs> },
    /// One that runs already, by its URL.
    Given { url: String },
}

#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) server: String,
    pub(crate) cli: String,
}

/// The programs of an image, and what the server says of itself.
const FIND: &str = r#"
for product in valkey redis; do
    if command -v "$product-server" && command -v "$product-cli"; then
        exec "$product-server" --version
    fi
done
"#;

impl Engine {
    /// The engine of this process.
    pub(crate) async fn get() -> Result<&'static Self, TestkitError> {
        static ENGINE: OnceCell<Engine> = OnceCell::const_new();
        ENGINE
            .get_or_try_init(|| async {
                let settings = Settings::from_env()?;
                Self::choose(settings).await
            })
            .await
    }

    /// That of the newest image where Docker is used and has it or can pull it; else the engine of this process.
    pub(crate) async fn newest() -> Result<&'static Self, TestkitError> {
        static NEWEST: OnceCell<Option<Engine>> = OnceCell::const_new();
        let usual = Self::get().await?;
        let Self::Docker { image: used, .. } = usual else { return Ok(usual) };
        let image = Settings::from_env()?.newest;
        if *used == image {
            return Ok(usual);
        }
        let found = NEWEST.get_or_init(|| async {
            match docker::provide(&image).await {
                Ok(()) => Some(Self::Docker { image, programs: OnceCell::new() }),
                Err(reason) => {
                    tracing::debug!(%reason, "no newer server");
                    None
                }
            }
        });
        Ok(found.await.as_ref().unwrap_or(usual))
    }

    async fn choose(settings: Settings) -> Result<Self, TestkitError> {
        let Settings { url, wanted, image, newest: _ } = settings;
        if let Some(url) = url {
            announce(&format!("the server at {}", without_password(&url)), version_of_given(&url).await);
            return Ok(Self::Given { url });
        }
        let mut tried = Vec::new();
        if wanted != Wanted::Binary {
            match docker::provide(&image).await {
                Ok(()) => return Ok(Self::Docker { image, programs: OnceCell::new() }),
                Err(reason) => tried.push(reason),
            }
        }
        if wanted != Wanted::Docker {
            match Programs::find() {
                Ok(programs) => {
                    announce(&programs.server, programs.version().await);
                    return Ok(Self::Binary(programs));
                }
                Err(reason) => tried.push(reason),
            }
        }
        Err(TestkitError::NoEngine { image, tried })
    }

    /// Makes room for one server.
    pub(crate) async fn place(&'static self) -> Result<Place, TestkitError> {
        match self {
            Self::Binary(programs) => Local::make(programs.clone()).map(Place::Local),
            Self::Docker { image, programs } => {
                let container = Container::start(image).await?;
                let programs = programs.get_or_try_init(|| Programs::of_image(image, &container)).await?;
                Ok(Place::Container(container, programs))
            }
            Self::Given { .. } => Err(TestkitError::NeedsOwnServer { what: "starts one" }),
        }
    }
}

// A test run should say what it ran against; there is no other channel to a person who reads test output.
// Not `eprintln`: that is swallowed with the output of whichever test comes first.
fn announce(what: &str, version: Option<ServerVersion>) {
    let version = version.map_or_else(|| "version unknown".to_owned(), |version| version.to_string());
    let _ = writeln!(std::io::stderr(), "testkit: using {what} ({version})");
}

async fn version_of_given(url: &str) -> Option<ServerVersion> {
    let programs = Programs::find().ok()?;
    let command = [&programs.cli, "-u", url, "INFO", "server"].map(str::to_owned).to_vec();
    let finished = place::run_here(command, &[], bytes::Bytes::new()).await.ok()?;
    ServerVersion::from_info(&String::from_utf8_lossy(&finished.stdout))
}

impl Programs {
    pub(crate) fn find() -> Result<Self, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let find = |name: &str| {
            std::env::split_paths(&path)
                .map(|directory| directory.join(name))
                .find(|file| is_executable(file))
                .map(|file| file.display().to_string())
                .ok_or_else(|| format!("{name} is not on PATH"))
        };
        Ok(Self { server: find("valkey-server")?, cli: find("valkey-cli")? })
    }

    /// Asks an image which programs it has, and says which version that is.
    async fn of_image(image: &str, container: &Container) -> Result<Self, TestkitError> {
        let command = ["sh", "-c", FIND].map(str::to_owned).to_vec();
        let found = container.run(command, &[], bytes::Bytes::new()).await?;
        let said = String::from_utf8_lossy(&found.stdout);
        let [server, cli, version] = said.lines().collect::<Vec<_>>()[..] else {
            let text = format!(
                "image {image} has neither valkey-server and valkey-cli nor redis-server and redis-cli"
            );
            return Err(TestkitError::Invalid(text));
        };
        announce(&format!("Docker with {image}"), ServerVersion::from_program(version));
        Ok(Self { server: server.to_owned(), cli: cli.to_owned() })
    }

    async fn version(&self) -> Option<ServerVersion> {
        let command = vec![self.server.clone(), "--version".to_owned()];
        let finished = place::run_here(command, &[], bytes::Bytes::new()).await.ok()?;
        ServerVersion::from_program(&String::from_utf8_lossy(&finished.stdout))
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
