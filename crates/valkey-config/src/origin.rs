//! Where a value comes from.

use std::fmt;

/// Where a value comes from; later variants override earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// A TOML file.
    File {
        /// The file's path, or the name given with the text.
        file: String,
        /// The line of the value, from 1.
        line: usize,
        /// `section.key` as written.
        key: String,
    },
    /// An environment variable, by its full name.
    Variable(String),
    /// An explicit value, by its label: for example the flag of a command line.
    Explicit(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line, key } => write!(f, "{file}:{line}: {key}"),
            Self::Variable(name) | Self::Explicit(name) => f.write_str(name),
        }
    }
}
