//! Which program of cargo's has the tests of a file, and under which names.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::rows::Link;
use crate::metadata::Package;

/// A program of tests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Program {
    pub(crate) package: String,
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The unit tests of the library.
    Lib,
    /// The unit tests of a program.
    Bin,
    /// A file or directory of `tests/`.
    Test,
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Kind::Lib | Kind::Bin => write!(f, "{} (unit tests)", self.package),
            Kind::Test => write!(f, "{} {}", self.package, self.name),
        }
    }
}

/// A test function, as the link and the manifest say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) program: Program,
    /// The module that the file is; empty for the program's first file.
    pub(crate) module: String,
    pub(crate) function: String,
}

impl Place {
    /// Where the function that the link names is.
    pub(crate) fn of(link: &Link, packages: &[Package], root: &Path) -> Result<Self> {
        let file = root.join(&link.file);
        let package = packages
            .iter()
            .find(|package| file.starts_with(home(package)))
            .with_context(|| format!("{} belongs to no crate", link.file.display()))?;
        let within = file.strip_prefix(home(package))?;
        let (kind, name, start) = if within.starts_with("src") {
            let (kind, target) = [(Kind::Lib, "lib"), (Kind::Bin, "bin")]
                .into_iter()
                .find_map(|(kind, word)| {
                    let targets = package.targets.iter();
                    let mut of_kind = targets.filter(|target| target.kind.iter().any(|kind| kind == word));
                    of_kind.next().map(|target| (kind, target))
                })
                .with_context(|| format!("{} has neither library nor program", package.name))?;
            (kind, target.name.clone(), home(package).join("src"))
        } else {
            let tests = package.targets.iter().filter(|target| target.kind.iter().any(|kind| kind == "test"));
            let mut holding =
                tests.filter(|target| target.src_path == file || is_root_of(&target.src_path, &file));
            let Some(target) = holding.next() else {
                bail!("{} is part of no test program", link.file.display())
            };
            let start = target.src_path.parent().map(Path::to_path_buf).unwrap_or_default();
            let start = if target.src_path == file { file.clone() } else { start };
            (Kind::Test, target.name.clone(), start)
        };
        let program = Program { package: package.name.clone(), kind, name };
        Ok(Self { program, module: module(&file, &start), function: link.test.clone() })
    }

    /// Whether the harness calls this function by that name.
    pub(crate) fn is(&self, harness: &str) -> bool {
        let rest = if self.module.is_empty() {
            harness
        } else {
            match harness.strip_prefix(&self.module).and_then(|rest| rest.strip_prefix("::")) {
                Some(rest) => rest,
                None => return false,
            }
        };
        // Modules inside of the file may stand between: `tests::`.
        rest.rsplit("::").next() == Some(&self.function)
    }
}

fn home(package: &Package) -> &Path {
    package.manifest_path.parent().unwrap_or(Path::new(""))
}

/// `tests/suite/main.rs` is the root of `tests/suite/dedup.rs`.
fn is_root_of(main: &Path, file: &Path) -> bool {
    main.ends_with("main.rs") && main.parent().is_some_and(|directory| file.starts_with(directory))
}

/// The module path of a file as seen from the directory of the program's first file.
fn module(file: &Path, start: &Path) -> String {
    let Ok(within) = file.strip_prefix(start) else { return String::new() };
    let mut parts: Vec<PathBuf> = within.with_extension("").iter().map(PathBuf::from).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].iter().any(|name| last.ends_with(name))) {
        parts.pop();
    }
    parts.iter().map(|part| part.display().to_string()).collect::<Vec<_>>().join("::")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::metadata::Target;

    fn packages() -> Vec<Package> {
        let target = |kind: &str, name: &str, path: &str| Target {
            kind: vec![kind.to_owned()],
            name: name.to_owned(),
            src_path: format!("/w/crates/{path}").into(),
        };
        let package = |name: &str, targets: Vec<Target>| Package {
            name: name.to_owned(),
            manifest_path: format!("/w/crates/{name}/Cargo.toml").into(),
            targets,
            ..Package::default()
        };
        vec![
            package(
                "a",
                vec![
                    target("lib", "a_lib", "a/src/lib.rs"),
                    target("bench", "speed", "a/benches/speed.rs"),
                    target("test", "kill", "a/tests/kill.rs"),
                    target("test", "suite", "a/tests/suite/main.rs"),
                ],
            ),
            package("ab", vec![target("bin", "ab", "ab/src/main.rs")]),
        ]
    }

    fn place(file: &str) -> Result<Place> {
        let link = Link { test: "t".to_owned(), file: format!("crates/{file}").into(), cases: Vec::new() };
        Place::of(&link, &packages(), Path::new("/w"))
    }

    #[test]
    fn a_file_leads_to_its_program_and_module() {
        for (file, shown, module, harness) in [
            ("a/tests/kill.rs", "a kill", "", "t"),
            ("a/tests/suite/main.rs", "a suite", "", "t"),
            ("a/tests/suite/dedup.rs", "a suite", "dedup", "dedup::t"),
            ("a/tests/suite/deep/mod.rs", "a suite", "deep", "deep::t"),
            ("a/src/lib.rs", "a (unit tests)", "", "tests::t"),
            ("a/src/lease.rs", "a (unit tests)", "lease", "lease::tests::t"),
            ("a/src/take/reply.rs", "a (unit tests)", "take::reply", "take::reply::tests::t"),
            ("ab/src/run.rs", "ab (unit tests)", "run", "run::tests::t"),
        ] {
            let place = place(file).unwrap();
            assert_eq!(
                (place.program.to_string().as_str(), place.module.as_str()),
                (shown, module),
                "{file}"
            );
            assert!(place.is(harness), "{file}");
            assert!(!place.is(&format!("{harness}wo")) && !place.is(&format!("other::{harness}x")), "{file}");
        }
        assert_eq!(place("a/src/lease.rs").unwrap().program.name, "a_lib");
    }

    #[test]
    fn a_function_of_another_module_is_another() {
        assert!(!place("a/tests/suite/dedup.rs").unwrap().is("model::t"));
        assert!(!place("a/tests/suite/dedup.rs").unwrap().is("t"));
    }

    #[test]
    fn a_file_of_no_program_is_an_error() {
        assert!(place("a/benches/speed.rs").is_err());
        assert!(place("c/src/lib.rs").is_err());
    }
}
