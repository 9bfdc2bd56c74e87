//! Gets what the other verbs need: a Valkey, and the tools of `cargo xtask ci`.

pub(crate) mod clock;
pub(crate) mod kerberos;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{deny, run, workspace};

/// The Valkey the tests and the demo run on.
const SERIES: &str = "8.0";

/// All that the tests run on: what docker/build-valkey-image.sh is asked for, and for what instead when Debian has
/// moved on by now.
const ENGINES: [Engine; 4] = [(SERIES, None), ("8.1", Some("trixie")), NEWEST, ("redis:7.0", None)];

/// The one for tests of what [`SERIES`] is too old for.
const NEWEST: Engine = ("9.1", Some("sid"));

type Engine = (&'static str, Option<&'static str>);

/// How long Docker may take to answer at all.
const DOCKER_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Also get what `cargo xtask ci` needs: its tools, and with apt what logins with a keytab are built and tested with
    #[arg(long)]
    ci: bool,
    /// Only get the images of all servers that the tests run on, and print their names, with the versions really found
    #[arg(long, conflicts_with = "ci")]
    engines: bool,
    /// Agree to installing Valkey with apt, which may add a Debian source
    #[arg(long)]
    yes: bool,
}

impl Args {
    /// What the CI run needs.
    pub(crate) fn for_ci() -> Self {
        Self { ci: true, yes: true, engines: false }
    }
}

/// Gets everything and says what was found.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.engines {
        for image in engines()? {
            println!("{image}");
        }
        return Ok(());
    }
    let valkey = valkey(args.yes)?;
    run::step(format_args!("Valkey: {valkey}"));
    if args.ci {
        let tool = deny::tool()?;
        run::step(format_args!("cargo-deny: {}", tool.display()));
        kerberos::get();
    }
    Ok(())
}

/// Where a Valkey comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Valkey {
    /// A server somebody else runs.
    Url(String),
    /// An image that Docker has, and a newer one for tests of what it is too old for.
    Image { name: String, newest: Option<String> },
    /// A program on this machine.
    Program(PathBuf),
}

impl Valkey {
    /// This image alone.
    pub(crate) fn image(name: String) -> Self {
        Self::Image { name, newest: None }
    }

    /// With the newest image beside it; tests that need one are skipped without.
    pub(crate) fn with_newest(self) -> Self {
        match self {
            Self::Image { name, newest: None } => {
                let newest = provide_or_instead(NEWEST).inspect_err(|error| {
                    run::step(format_args!("{error:#}; tests that need it are skipped"));
                });
                Self::Image { name, newest: newest.ok() }
            }
            complete => complete,
        }
    }

    /// Tells tests, by their environment, to use this one and not to look for themselves.
    pub(crate) fn offer_to(&self, tests: &mut Command) {
        match self {
            Self::Url(_) => {}
            Self::Image { name, newest } => {
                tests.env("VALKIT_TEST_ENGINE", "docker").env("VALKIT_TEST_IMAGE", name);
                if let Some(newest) = newest {
                    tests.env("VALKIT_TEST_IMAGE_NEWEST", newest);
                }
            }
            Self::Program(_) => {
                tests.env("VALKIT_TEST_ENGINE", "binary");
            }
        }
    }
}

impl std::fmt::Display for Valkey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // The URL may hold a password.
            Self::Url(_) => write!(f, "the server of VALKIT_TEST_URL"),
            Self::Image { name, newest } => {
                write!(f, "image {name}")?;
                match newest {
                    Some(newest) if newest != name => write!(f, ", and {newest} where a test needs it"),
                    _ => Ok(()),
                }
            }
            Self::Program(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The first of these that works: the server given, an image (present, pulled or built), a program, one installed.
pub(crate) fn valkey(yes: bool) -> Result<Valkey> {
    if let Some(url) = variable("VALKIT_TEST_URL") {
        return Ok(Valkey::Url(url));
    }
    own_valkey(yes)
}

/// The same without a server that somebody else runs: for what kills it, or looks at everything in it.
pub(crate) fn own_valkey(yes: bool) -> Result<Valkey> {
    let mut tried = Vec::new();
    match docker_answers().and_then(|()| image()) {
        Ok(image) => return Ok(Valkey::image(image)),
        Err(error) => tried.push(format!("Docker: {error:#}")),
    }
    if let Some(program) = run::which("valkey-server") {
        return Ok(Valkey::Program(program));
    }
    tried.push("PATH: no valkey-server".to_owned());
    run::step(format_args!("no Valkey yet ({})", tried.join("; ")));
    match install(yes) {
        Ok(program) => Ok(Valkey::Program(program)),
        Err(error) => {
            tried.push(format!("apt: {error:#}"));
            bail!("{}", no_valkey(&tried))
        }
    }
}

/// A `valkey-server` on this machine, installed if need be.
pub(crate) fn program(yes: bool) -> Result<PathBuf> {
    run::which("valkey-server").map_or_else(|| install(yes), Ok)
}

fn no_valkey(tried: &[String]) -> String {
    format!(
        "there is no Valkey to run on, and none could be had.\n  tried: {}\n\
         Any one of these helps:\n  \
         1. start Docker (or install it), so that an image can be pulled or built\n  \
         2. put valkey-server {SERIES} or newer on PATH; on Debian as root: docker/install-valkey.sh (or run this with --yes)\n  \
         3. name a server that holds nothing of value: VALKIT_TEST_URL=valkey://host:port",
        tried.join("\n         ")
    )
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether Docker is installed and its engine answers.
pub(crate) fn docker_answers() -> Result<()> {
    if run::which("docker").is_none() {
        bail!("not installed");
    }
    let mut version = Command::new("docker");
    run::output_within(version.args(["version", "--format", "{{.Server.Version}}"]), DOCKER_LIMIT)
        .map(|_| ())
        .context("the engine does not answer")
}

/// Whether Docker has the image here.
pub(crate) fn is_present(image: &str) -> bool {
    run::output(Command::new("docker").args(["image", "inspect", image])).is_ok()
}

/// The image named by `VALKIT_TEST_IMAGE`, else ours of [`SERIES`], which the script pulls or builds if need be.
fn image() -> Result<String> {
    if let Some(image) = variable("VALKIT_TEST_IMAGE") {
        if !is_present(&image) {
            run::step(format_args!("pulling {image}, as VALKIT_TEST_IMAGE says"));
            run::run(Command::new("docker").args(["pull", &image]))?;
        }
        return Ok(image);
    }
    provide(SERIES)
}

/// The images of all [`ENGINES`], each by the version that is in it, whatever it was asked for as: the name
/// `valkey/valkey:8.0` says nothing of 8.0.1, and what Debian's newer suites hold moves.
pub(crate) fn engines() -> Result<Vec<String>> {
    docker_answers().context("Docker")?;
    let by_version = |engine: &Engine| {
        let image = provide_or_instead(*engine)?;
        let said =
            run::output(Command::new("docker").args(["run", "--rm", &image, server(&image), "--version"]))?;
        let version = version(&said).with_context(|| format!("{image} does not say its version: {said}"))?;
        let name = with_tag(&image, version);
        run::run(Command::new("docker").args(["tag", &image, &name]))?;
        Ok(name)
    };
    ENGINES.iter().map(by_version).collect()
}

fn provide_or_instead((series, instead): Engine) -> Result<String> {
    match (provide(series), instead) {
        (Err(error), Some(suite)) => {
            run::step(format_args!("{error:#}; taking what Debian {suite} has"));
            provide(suite)
        }
        (outcome, _) => outcome,
    }
}

/// The server's program in an image.
fn server(image: &str) -> &'static str {
    if image.starts_with("redis:") { "redis-server" } else { "valkey-server" }
}

/// What a server says of itself with `--version`: `Valkey server v=8.0.1 sha=...`.
fn version(said: &str) -> Option<&str> {
    said.split_whitespace().find_map(|word| word.strip_prefix("v="))
}

fn with_tag(image: &str, tag: &str) -> String {
    let name = image.rsplit_once(':').map_or(image, |(name, _)| name);
    format!("{name}:{tag}")
}

/// The image of a series, pulled or built if need be.
fn provide(series: &str) -> Result<String> {
    // The script says on stderr what it does, and on stdout only the image's name.
    let script = workspace::root().join("docker/build-valkey-image.sh");
    let output = Command::new("sh")
        .arg(&script)
        .arg(series)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start docker/build-valkey-image.sh")?;
    let image = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().trim().to_owned();
    if !output.status.success() || image.is_empty() {
        bail!("docker/build-valkey-image.sh got no image of {series}");
    }
    Ok(image)
}

/// Installs with apt. The script announces what it changes and refuses without root.
fn install(yes: bool) -> Result<PathBuf> {
    if run::which("apt-get").is_none() {
        bail!("not a Debian");
    }
    let mut script = Command::new("sh");
    script.arg(workspace::root().join("docker/install-valkey.sh"));
    if yes {
        script.arg("--yes");
    }
    // What it prints is for people; our own stdout stays for results.
    run::run(script.stdin(Stdio::null()).stdout(Stdio::null()))?;
    run::which("valkey-server")
        .context("docker/install-valkey.sh ended well, yet valkey-server is not on PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_three_ways_out() {
        let text = no_valkey(&["Docker: not installed".to_owned(), "PATH: no valkey-server".to_owned()]);
        for way in ["1. start Docker", "2. put valkey-server", "3. name a server", "Docker: not installed"] {
            assert!(text.contains(way), "{text}");
        }
    }

    #[test]
    fn an_image_is_named_by_the_version_in_it() {
        let said = "Valkey server v=9.1.2 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0";
        assert_eq!(version(said), Some("9.1.2"));
        assert_eq!(version("no such program"), None);
        assert_eq!(with_tag("valkey/valkey:9.1", "9.1.2"), "valkey/valkey:9.1.2");
        assert_eq!(with_tag("redis:7.0", "7.0.15"), "redis:7.0.15");
        assert_eq!((server("redis:7.0"), server("valkey/valkey:8.0")), ("redis-server", "valkey-server"));
    }

    #[test]
    fn a_server_given_by_url_is_not_shown_with_its_password() {
        let shown = Valkey::Url("valkey://app:hush@host:6379".to_owned()).to_string();
        assert!(!shown.contains("hush"), "{shown}");
    }
}
