//! Dependencies between our crates go strictly down.
//!
//! ```text
//! L4  valkit  freeipa-consumer  smtp-guard
//! L3  valkey-dashboard  valkit-service
//! L2  valkey-sender  valkey-receiver  valkey-ratelimit  valkey-admin      never see each other
//!     freeipa-client                                                      knows no Valkey at all
//! L1  valkey-connection                                                   the only crate with fred
//! L0  valkey-envelope  valkey-config                                      no runtime, no client
//!     valkey-testkit  freeipa-double                                      for tests only, know no crate of ours
//! ```

use anyhow::Result;

use crate::metadata::{self, Dependency, Kind, Package};
use crate::workspace;

/// Every crate and its layer. A new crate is a line here and a row in `docs/ARCHITECTURE.md`.
const LAYERS: &[(&str, u8)] = &[
    ("valkey-envelope", 0),
    ("valkey-config", 0),
    ("valkey-connection", 1),
    ("valkey-sender", 2),
    ("valkey-receiver", 2),
    ("valkey-ratelimit", 2),
    ("valkey-admin", 2),
    ("freeipa-client", 2),
    ("valkey-dashboard", 3),
    ("valkit-service", 3),
    ("valkit", 4),
    ("freeipa-consumer", 4),
    ("smtp-guard", 4),
];

/// For tests only: others take them as dev-dependencies, they themselves take none of ours.
const FOR_TESTS: &[&str] = &["valkey-testkit", "freeipa-double"];

/// This program: builds without any of our crates, may use them in its tests and examples.
const XTASK: &str = "xtask";

/// Foreign crates that only some layers may name: the crate, who may, and why.
const RESTRICTED: &[(&str, Allowed, &str)] = &[
    ("fred", Allowed::Only("valkey-connection"), "the client can then be replaced in one place"),
    ("redis", Allowed::Only("valkey-connection"), "the client can then be replaced in one place"),
    ("tokio", Allowed::From(1), "L0 is pure: no runtime, usable from any program"),
    ("tower", Allowed::From(1), "L0 is pure: no runtime, usable from any program"),
    ("axum", Allowed::From(3), "queues and limits know nothing of the web"),
    ("hyper", Allowed::From(3), "queues and limits know nothing of the web"),
    ("clap", Allowed::From(4), "libraries have no command line"),
];

#[derive(Debug, Clone, Copy)]
enum Allowed {
    /// This crate alone, also in tests.
    Only(&'static str),
    /// This layer and those above it; in tests everyone.
    From(u8),
}

/// Checks this workspace.
pub(crate) fn run() -> Result<()> {
    workspace::report("layers", &violations(&metadata::packages()?))
}

/// What breaks the rules, one sentence each.
fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        for dependency in &package.dependencies {
            let verdict = if dependency.path.is_some() {
                inner_edge(&package.name, dependency)
            } else {
                foreign_edge(&package.name, dependency)
            };
            found.extend(verdict);
        }
        if layer(&package.name).is_none() && !is_for_tests(&package.name) && package.name != XTASK {
            found.push(format!(
                "{} has no layer: add it to LAYERS in xtask/src/layers.rs and to docs/ARCHITECTURE.md",
                package.name
            ));
        }
    }
    found
}

fn is_for_tests(name: &str) -> bool {
    FOR_TESTS.contains(&name)
}

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

/// An edge between two crates of ours.
fn inner_edge(from: &str, Dependency { name: to, kind, .. }: &Dependency) -> Option<String> {
    if is_for_tests(from) {
        return (from != to).then(|| format!("{from} -> {to}: what is for tests knows no crate of ours"));
    }
    if from == XTASK {
        return (*kind != Some(Kind::Dev)).then(|| {
            format!("{from} -> {to}: xtask must build when {to} does not; only as a dev-dependency")
        });
    }
    if from == to {
        return None; // in its tests, for its own features
    }
    if is_for_tests(to) {
        return (*kind != Some(Kind::Dev)).then(|| format!("{from} -> {to}: only as a dev-dependency"));
    }
    if to == XTASK {
        return Some(format!("{from} -> {to}: nothing depends on the chores"));
    }
    let (above, below) = (layer(from)?, layer(to)?);
    (above <= below).then(|| format!("{from} (L{above}) -> {to} (L{below}): edges go strictly down"))
}

/// An edge to a crate from elsewhere.
fn foreign_edge(from: &str, Dependency { name: to, kind, .. }: &Dependency) -> Option<String> {
    let (_, allowed, reason) = RESTRICTED.iter().find(|(known, ..)| known == to)?;
    match *allowed {
        Allowed::Only(owner) if owner == from => None,
        Allowed::Only(owner) => Some(format!("{from} -> {to}: only {owner} may: {reason}")),
        Allowed::From(_) if *kind == Some(Kind::Dev) => None,
        Allowed::From(lowest) => {
            let layer = layer(from)?;
            (layer < lowest).then(|| format!("{from} (L{layer}) -> {to}: from L{lowest} up: {reason}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[Dependency]) -> Package {
        Package { name: name.to_owned(), dependencies: dependencies.to_vec(), ..Package::default() }
    }

    fn ours(name: &str, kind: Option<Kind>) -> Dependency {
        Dependency { name: name.to_owned(), kind, path: Some("/somewhere".into()) }
    }

    fn foreign(name: &str, kind: Option<Kind>) -> Dependency {
        Dependency { name: name.to_owned(), kind, path: None }
    }

    fn one(from: &str, edge: Dependency) -> Option<String> {
        let found = violations(&[package(from, &[edge])]);
        assert!(found.len() <= 1, "{found:?}");
        found.into_iter().next()
    }

    #[test]
    fn down_is_fine_and_up_is_not() {
        assert_eq!(one("valkey-sender", ours("valkey-connection", None)), None);
        assert_eq!(one("valkit", ours("valkey-envelope", None)), None);
        assert!(
            one("valkey-connection", ours("valkey-sender", None))
                .is_some_and(|v| v.contains("strictly down"))
        );
    }

    #[test]
    fn the_same_layer_is_not_down_not_even_in_tests() {
        for kind in [None, Some(Kind::Dev), Some(Kind::Build)] {
            assert!(one("valkey-sender", ours("valkey-receiver", kind)).is_some(), "{kind:?}");
            assert!(one("valkey-config", ours("valkey-envelope", kind)).is_some(), "{kind:?}");
        }
    }

    #[test]
    fn for_its_tests_a_crate_may_ask_itself_for_features() {
        assert_eq!(one("valkey-ratelimit", ours("valkey-ratelimit", Some(Kind::Dev))), None);
    }

    #[test]
    fn what_is_for_tests_knows_nobody() {
        for name in FOR_TESTS {
            assert_eq!(one("valkey-connection", ours(name, Some(Kind::Dev))), None);
            assert!(one("valkey-connection", ours(name, None)).is_some());
            assert!(one(name, ours("valkey-envelope", Some(Kind::Dev))).is_some());
            assert_eq!(one(name, foreign("tokio", None)), None);
        }
        assert!(one(FOR_TESTS[0], ours(FOR_TESTS[1], Some(Kind::Dev))).is_some());
    }

    #[test]
    fn only_the_connection_has_the_client() {
        assert_eq!(one("valkey-connection", foreign("fred", None)), None);
        assert!(one("valkey-receiver", foreign("fred", None)).is_some());
        assert!(one("valkit", foreign("fred", Some(Kind::Dev))).is_some());
        assert!(one(FOR_TESTS[0], foreign("fred", None)).is_some());
    }

    #[test]
    fn the_lowest_layer_has_no_runtime_except_in_tests() {
        assert!(one("valkey-envelope", foreign("tokio", None)).is_some());
        assert_eq!(one("valkey-envelope", foreign("tokio", Some(Kind::Dev))), None);
        assert_eq!(one("valkey-connection", foreign("tokio", None)), None);
    }

    #[test]
    fn the_web_stays_upstairs() {
        assert!(one("valkey-admin", foreign("axum", None)).is_some());
        assert_eq!(one("valkey-dashboard", foreign("axum", None)), None);
    }

    #[test]
    fn an_unknown_crate_is_told_where_to_register() {
        let found = violations(&[package("valkey-surprise", &[])]);
        assert!(found.len() == 1 && found[0].contains("xtask/src/layers.rs"), "{found:?}");
    }

    #[test]
    fn xtask_builds_without_the_crates_it_checks() {
        assert!(one(XTASK, ours("valkey-config", None)).is_some());
        assert_eq!(one(XTASK, ours("valkey-config", Some(Kind::Dev))), None);
        assert!(one("valkit", ours(XTASK, None)).is_some());
    }

    #[test]
    fn every_violation_is_listed() {
        let packages = [
            package("valkey-config", &[foreign("tokio", None), foreign("fred", None)]),
            package("valkey-admin", &[ours("valkey-sender", None)]),
        ];
        assert_eq!(violations(&packages).len(), 3);
    }
}
