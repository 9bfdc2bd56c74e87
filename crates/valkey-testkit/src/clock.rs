//! What moves the clock of one process.

use std::path::{Path, PathBuf};

/// Where libfaketime is (Debian's package `faketime`), to be named in the `LD_PRELOAD` of a process that is to be wrong
/// about the time of day; `None` where it is not installed.
#[must_use]
pub fn libfaketime() -> Option<PathBuf> {
    let directories = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    directories
        .iter()
        .map(|directory| Path::new(directory).join("faketime/libfaketime.so.1"))
        .find(|path| path.exists())
}
