//! Each crate stands by itself: with its own features only, without any, with each, with all.
//!
//! A build of the whole workspace hides what a crate forgot to ask for, because cargo unites the features that all
//! crates ask for.

use anyhow::Result;

use crate::metadata::{self, Package};
use crate::run;
use crate::setup::kerberos;

/// Checks every crate in every way.
pub(crate) fn run() -> Result<()> {
    let can_build = kerberos::can_build();
    let mut skipped = 0;
    for package in metadata::packages()? {
        for way in ways(&package) {
            let shown = way.join(" ");
            if !can_build && kerberos::is_needed(&package, &way) {
                run::step(format_args!("SKIPPED cargo {shown}"));
                skipped += 1;
                continue;
            }
            run::step(format_args!("cargo {shown}"));
            run::run(run::cargo().args(&way).arg("--quiet"))?;
        }
    }
    if skipped > 0 {
        run::step(format_args!("{skipped} builds skipped, {}", kerberos::without_headers()));
    }
    Ok(())
}

/// The builds a crate must pass, as arguments to cargo.
fn ways(package: &Package) -> Vec<Vec<String>> {
    let check = |extra: &[&str]| {
        let mut way: Vec<String> = ["check", "--locked", "-p"].map(String::from).to_vec();
        way.push(package.name.clone());
        way.extend(extra.iter().map(ToString::to_string));
        way
    };
    let features: Vec<&str> =
        package.features.keys().map(String::as_str).filter(|feature| *feature != "default").collect();

    let mut ways = vec![check(&[])];
    if !features.is_empty() {
        ways.push(check(&["--no-default-features"]));
        // With a single feature, each one is also all of them.
        if features.len() > 1 {
            ways.extend(
                features.iter().map(|feature| check(&["--no-default-features", "--features", feature])),
            );
        }
        ways.push(check(&["--all-features"]));
    }
    ways.push(check(&["--all-targets"]));
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(features: &[&str]) -> Package {
        Package {
            name: "x".to_owned(),
            features: features.iter().map(|name| ((*name).to_owned(), Vec::new())).collect(),
            ..Package::default()
        }
    }

    fn shown(features: &[&str]) -> Vec<String> {
        ways(&package(features)).iter().map(|way| way.join(" ")).collect()
    }

    #[test]
    fn without_features_there_is_the_crate_and_its_tests() {
        assert_eq!(shown(&[]), ["check --locked -p x", "check --locked -p x --all-targets"]);
    }

    #[test]
    fn features_are_tried_off_one_by_one_and_together() {
        assert_eq!(
            shown(&["default", "a", "b"]),
            [
                "check --locked -p x",
                "check --locked -p x --no-default-features",
                "check --locked -p x --no-default-features --features a",
                "check --locked -p x --no-default-features --features b",
                "check --locked -p x --all-features",
                "check --locked -p x --all-targets",
            ]
        );
    }

    #[test]
    fn a_single_feature_is_not_tried_twice() {
        assert_eq!(shown(&["a"]).len(), 4);
    }
}
