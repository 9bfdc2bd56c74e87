//! Where a verb reads messages from.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::PathBuf,
};

use crate::failure::Failure;

/// A file, or stdin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Input(Option<PathBuf>);

// === impl Input ===

impl Input {
    /// `None` and `-` are stdin.
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self(file.filter(|path| path.as_os_str() != "-"))
    }

    pub(crate) fn name(&self) -> String {
        self.0.as_ref().map_or_else(|| "stdin".to_owned(), |path| path.display().to_string())
    }

    /// Whether somebody has to type it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.0.is_none() && io::stdin().is_terminal()
    }

    pub(crate) fn open(&self) -> Result<Box<dyn Read + Send>, Failure> {
        match &self.0 {
            None => Ok(Box::new(io::stdin())),
            Some(path) => {
                let file = File::open(path)
                    .map_err(|error| Failure::io(format!("reading {}", self.name()), error))?;
                Ok(Box::new(file))
            }
        }
    }

    pub(crate) fn read(&self) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        let mut input = self.open()?;
        input
            .read_to_end(&mut all)
            .map_err(|error| Failure::io(format!("reading {}", self.name()), error))?;
        Ok(all)
    }
}
