//! Settings that can be read again.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use valkey_config::{ConfigError, Notice};

use super::GuardSettings;

/// A file of settings with the variables on top of it.
#[derive(Clone)]
pub struct SettingsFile {
    path: PathBuf,
    vars: Vec<(OsString, OsString)>,
}

impl SettingsFile {
    /// The file, and variables as [`GuardSettings::load`] takes them.
    pub fn new(path: impl Into<PathBuf>, vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self { path: path.into(), vars: vars.into_iter().collect() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says now.
    ///
    /// # Errors
    /// As [`GuardSettings::load`].
    pub fn load(&self) -> Result<(GuardSettings, Vec<Notice>), ConfigError> {
        GuardSettings::load(Some(self.path.clone()), self.vars.clone())
    }
}

/// Without the variables: there may be secrets among them.
impl fmt::Debug for SettingsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsFile").field("path", &self.path).finish_non_exhaustive()
    }
}
