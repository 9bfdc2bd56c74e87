//! What tests measured, as they wrote it into the directory that `VALKIT_FIGURES` names.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use serde::Deserialize;

/// Where the tests are told to write.
pub(crate) const VARIABLE: &str = "VALKIT_FIGURES";

/// The figures of one test, or of one case of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Figure {
    pub(crate) package: String,
    pub(crate) test: String,
    pub(crate) case: Option<String>,
    pub(crate) sent: Option<u64>,
    pub(crate) confirmed: Option<u64>,
    pub(crate) unknown: Option<u64>,
    pub(crate) rejected: Option<u64>,
    pub(crate) lost: Option<u64>,
    pub(crate) twice: Option<u64>,
    pub(crate) recovery_ms: Option<u64>,
    pub(crate) note: Option<String>,
}

/// An empty directory for figures; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("valkit-figures-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// All that was written so far, ordered by test and case.
    pub(crate) fn figures(&self) -> Result<Vec<Figure>> {
        let mut figures = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path)?;
            let figure: Figure =
                serde_json::from_str(&text).with_context(|| format!("no figures: {text}"))?;
            figures.push(figure);
        }
        figures.sort_by(|a, b| (&a.package, &a.test, &a.case).cmp(&(&b.package, &b.test, &b.case)));
        Ok(figures)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left there is only clutter.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_tests_wrote_is_read_and_the_directory_goes_with_its_holder() {
        let directory = Directory::new().unwrap();
        let path = directory.path().to_owned();
        std::fs::write(path.join("2-0.json"), r#"{"package":"p","test":"t","case":"b","lost":1}"#).unwrap();
        std::fs::write(path.join("1-0.json"), r#"{"package":"p","test":"t","sent":7,"more":"x"}"#).unwrap();
        let figures = directory.figures().unwrap();
        assert_eq!(figures.len(), 2);
        assert_eq!((figures[0].sent, figures[0].lost), (Some(7), None));
        assert_eq!((figures[1].case.as_deref(), figures[1].lost), (Some("b"), Some(1)));
        drop(directory);
        assert!(!path.exists());
    }
}
