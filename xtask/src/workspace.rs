//! Where things are in this checkout.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or(manifest.clone(), Path::to_path_buf)
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Paths, relative to the root, of all files git tracks or would track.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    let list = run::output(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root()),
    )?;
    let mut files: Vec<PathBuf> = list
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        // A file deleted but not yet committed is still listed.
        .filter(|path| root().join(path).is_file())
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// The file's text; bytes that are not UTF-8 are replaced.
pub(crate) fn read(path: &Path) -> Result<String> {
    let bytes =
        std::fs::read(root().join(path)).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Turns findings into an error that lists them all.
pub(crate) fn report(what: &str, findings: &[String]) -> Result<()> {
    if findings.is_empty() {
        run::step(format_args!("{what}: holds"));
        return Ok(());
    }
    for finding in findings {
        eprintln!("  {finding}");
    }
    anyhow::bail!("{what}: {} finding{}", findings.len(), if findings.len() == 1 { "" } else { "s" })
}
