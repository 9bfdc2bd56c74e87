//! What logins with a keytab are built and tested with: the headers of Kerberos with libclang, a KDC, and Apache with
//! `mod_auth_gssapi`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::metadata::Package;
use crate::{run, workspace};

/// The feature that needs them, of these crates.
const FEATURE: &str = "keytab";
const CRATES: [&str; 2] = ["freeipa-client", "freeipa-consumer"];

/// What it is built with.
const HEADERS: [&str; 2] = ["libkrb5-dev", "libclang-dev"];
/// What it is tested with. Never installed, for that would start services: unpacked.
const PROGRAMS: [&str; 4] = ["krb5-kdc", "krb5-admin-server", "apache2-bin", "libapache2-mod-auth-gssapi"];
/// What of these the tests look for first.
const KDC: &str = "usr/sbin/krb5kdc";

/// Gets what is missing, with apt: the headers only as root. What cannot be had is said; without it less is built and tested, which
/// is said there.
pub(crate) fn get() {
    if !can_build() {
        run::step(format_args!(
            "getting {} with apt, to build the feature `{FEATURE}`",
            HEADERS.join(" and ")
        ));
        if let Err(error) = install() {
            run::step(format_args!("{error:#}; {}", without_headers()));
        }
    }
    if !Path::new("/").join(KDC).exists() && !tree().join(KDC).exists() {
        run::step("unpacking a KDC and Apache of Debian's packages, to test logins with a keytab");
        if let Err(error) = unpack() {
            run::step(format_args!(
                "{error:#}: these tests will say SKIPPED; on Debian the packages are {}",
                PROGRAMS.join(" ")
            ));
        }
    }
}

/// Why something is left out.
pub(crate) fn without_headers() -> String {
    format!(
        "without the feature `{FEATURE}`: on Debian as root, `apt-get install {}` helps",
        HEADERS.join(" ")
    )
}

/// Whether the feature can be built here.
pub(crate) fn can_build() -> bool {
    has_header() && has_libclang()
}

fn has_header() -> bool {
    let mut query = Command::new("pkg-config");
    let is_known = run::output(query.args(["--exists", "mit-krb5-gssapi"])).is_ok();
    is_known || Path::new("/usr/include/gssapi/gssapi.h").exists()
}

fn has_libclang() -> bool {
    let mut places: Vec<PathBuf> =
        ["/usr/lib", "/usr/lib64", "/usr/local/lib"].iter().map(PathBuf::from).collect();
    places.extend(std::env::var_os("LIBCLANG_PATH").map(PathBuf::from));
    places.push(format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH).into());
    places.extend(
        entries(Path::new("/usr/lib")).filter(|path| is_called(path, "llvm-")).map(|path| path.join("lib")),
    );
    places.iter().flat_map(|place| entries(place)).any(|file| is_libclang(&file))
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_called(path: &Path, beginning: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning))
}

/// `libclang.so`, `libclang-14.so.1`; none of the libraries for programs in C++, which are called nearly so.
fn is_libclang(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let version =
        name.strip_prefix("libclang").and_then(|rest| rest.split_once(".so")).map(|(version, _)| version);
    version.is_some_and(|version| {
        version.chars().all(|letter| letter == '-' || letter == '.' || letter.is_ascii_digit())
    })
}

/// The feature of these crates, as arguments to cargo; none where it cannot be built. No crate: all of the workspace.
pub(crate) fn features(packages: &[String]) -> Vec<String> {
    if !can_build() {
        return Vec::new();
    }
    features_of(packages)
}

fn features_of(packages: &[String]) -> Vec<String> {
    let is_built = |name: &&str| packages.is_empty() || packages.iter().any(|package| package == name);
    let features: Vec<String> =
        CRATES.iter().filter(|name| is_built(name)).map(|name| format!("{name}/{FEATURE}")).collect();
    if features.is_empty() { features } else { vec!["--features".to_owned(), features.join(",")] }
}

/// All features of all crates, as arguments to cargo, as far as they can be built here.
pub(crate) fn all_features(packages: &[Package]) -> Vec<String> {
    if can_build() { vec!["--all-features".to_owned()] } else { all_but_ours(packages) }
}

fn all_but_ours(packages: &[Package]) -> Vec<String> {
    let of = |package: &Package| {
        let name = package.name.clone();
        let features: Vec<String> =
            package.features.keys().filter(|feature| *feature != FEATURE).cloned().collect();
        features.into_iter().map(move |feature| format!("{name}/{feature}"))
    };
    let features: Vec<String> = packages.iter().flat_map(of).collect();
    if features.is_empty() { features } else { vec!["--features".to_owned(), features.join(",")] }
}

/// Whether a build of this crate, by its arguments to cargo, takes the headers.
pub(crate) fn is_needed(package: &Package, arguments: &[String]) -> bool {
    let names = |argument: &String| argument == "--all-features" || argument == FEATURE;
    package.features.contains_key(FEATURE) && arguments.iter().any(names)
}

/// Tells tests where the programs are, if they are not installed.
pub(crate) fn offer_to(tests: &mut Command) {
    if !Path::new("/").join(KDC).exists() && tree().join(KDC).exists() {
        tests.env("VALKIT_TEST_KERBEROS", tree());
    }
}

/// Where the programs are unpacked.
fn tree() -> PathBuf {
    workspace::target().join("kerberos")
}

fn apt(arguments: &[&str]) -> Command {
    let mut apt = Command::new("apt-get");
    apt.arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    apt
}

/// As it is, else once more with fresh package lists, which a fresh machine does not have.
fn or_after_update<T>(get: impl Fn() -> Result<T>) -> Result<T> {
    get().or_else(|_| {
        run::run(apt(&["update"]).stdout(Stdio::null()))?;
        get()
    })
}

fn install() -> Result<()> {
    if run::which("apt-get").is_none() {
        bail!("not a Debian");
    }
    or_after_update(|| {
        let mut install = apt(&["install", "-y", "--no-install-recommends"]);
        run::run(install.args(HEADERS).stdout(Stdio::null()))
    })
}

/// Unpacks the programs, and what they need that is not installed, for the tests alone. Needs no root.
fn unpack() -> Result<()> {
    if run::which("apt-get").is_none() || run::which("dpkg-deb").is_none() {
        bail!("not a Debian");
    }
    let (fresh, packages) = (tree().with_extension("new"), tree().with_extension("packages"));
    for directory in [&fresh, &packages] {
        let _ = std::fs::remove_dir_all(directory);
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    or_after_update(|| {
        let mut resolve = apt(&["-s", "install", "--no-install-recommends"]);
        let wanted = wanted(&run::output(resolve.args(PROGRAMS))?);
        run::output(apt(&["download"]).args(wanted).current_dir(&packages))
    })?;
    for package in entries(&packages) {
        run::run(Command::new("dpkg-deb").arg("-x").args([&package, &fresh]))?;
    }
    let _ = std::fs::remove_dir_all(packages);
    let _ = std::fs::remove_dir_all(tree());
    std::fs::rename(&fresh, tree()).context("cannot put the programs in place")
}

/// What apt would install, as `name=version`. Not the C library, of which there must be one in a process.
fn wanted(simulated: &str) -> Vec<String> {
    let package = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        let version = rest.split_once('(')?.1.split(' ').next()?;
        (!matches!(name, "libc6" | "libc-bin")).then(|| format!("{name}={version}"))
    };
    simulated.lines().filter_map(package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, features: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            features: features.iter().map(|feature| ((*feature).to_owned(), Vec::new())).collect(),
            ..Package::default()
        }
    }

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_apt_would_install_is_read_with_its_version() {
        let simulated = "Inst libapr1 (1.7.2-3 Debian:12 [amd64])\nInst libkrb5-3 [1.20-1] (1.20-2 Debian:12 [amd64]) []\n\
            Inst libc6 [2.36] (2.37 Debian:12 [amd64])\nConf libapr1 (1.7.2-3 Debian:12 [amd64])\n";
        assert_eq!(wanted(simulated), ["libapr1=1.7.2-3", "libkrb5-3=1.20-2"]);
    }

    #[test]
    fn libclang_is_told_from_its_neighbours() {
        for name in ["libclang.so", "libclang.so.1", "libclang-14.so.1", "libclang-14.so.14.0.6"] {
            assert!(is_libclang(Path::new(name)), "{name}");
        }
        for name in ["libclang-cpp.so.14", "libclang.a", "libclangAST.so", "clang"] {
            assert!(!is_libclang(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn only_builds_with_the_feature_need_the_headers() {
        let client = package("freeipa-client", &["keytab"]);
        assert!(is_needed(&client, &owned(&["check", "--all-features"])));
        assert!(is_needed(&client, &owned(&["check", "--no-default-features", "--features", "keytab"])));
        assert!(!is_needed(&client, &owned(&["check", "--all-targets"])));
        assert!(!is_needed(&package("valkit", &["top"]), &owned(&["check", "--all-features"])));
    }

    #[test]
    fn features_are_asked_of_the_crates_that_are_built() {
        assert_eq!(features_of(&[]), ["--features", "freeipa-client/keytab,freeipa-consumer/keytab"]);
        assert_eq!(
            features_of(&owned(&["valkit", "freeipa-client"])),
            ["--features", "freeipa-client/keytab"]
        );
        assert!(features_of(&owned(&["valkit"])).is_empty());
        let packages = [package("freeipa-client", &["keytab"]), package("valkit", &["a", "b"])];
        assert_eq!(all_but_ours(&packages), ["--features", "valkit/a,valkit/b"]);
    }
}
