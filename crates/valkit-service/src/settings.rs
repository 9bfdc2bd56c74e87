//! Where the settings of a program come from.

use std::ffi::OsString;
use std::path::PathBuf;

use valkey_config::{Invalid, Raw, Setting, Sources};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    #[default]
    Text,
}

/// A file, if one is given; on top of it variables that begin with `prefix`; and on top of all `shared` ones, which have no
/// prefix and the key that each sets.
pub fn sources(
    prefix: &str,
    shared: &[(&'static str, &'static str)],
    file: Option<PathBuf>,
    vars: impl IntoIterator<Item = (OsString, OsString)>,
) -> Sources {
    let vars: Vec<(OsString, OsString)> = vars.into_iter().collect();
    let mut sources = Sources::new(prefix);
    if let Some(file) = file {
        sources = sources.toml_file(file);
    }
    for (name, key) in shared {
        if let Some((_, value)) = vars.iter().find(|(given, _)| given == name) {
            sources = sources.explicit(*name, *key, value.to_string_lossy());
        }
    }
    sources.vars(vars)
}

// === impl LogFormat ===

impl Setting for LogFormat {
    fn type_name() -> String {
        "`text` or `json`".to_owned()
    }

    fn parse(raw: Raw) -> Result<Self, Invalid> {
        match raw.into_text().as_deref().map(str::trim) {
            Some("text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            _ => Err(Invalid::expected(Self::type_name())),
        }
    }

    fn show(&self) -> String {
        if *self == Self::Json { "json" } else { "text" }.to_owned()
    }
}
