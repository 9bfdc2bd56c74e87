//! Where settings are looked for.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::entry::{Entry, Value};
use crate::field::Spelling;
use crate::file::{FileSource, Refused};
use crate::load::Reader;
use crate::{ConfigError, Contradiction, Loaded, Origin, Section, SettingsSet, variables};

/// The places that settings come from: defaults < TOML files < environment < explicit values, in whatever order they
/// are added here.
///
/// Nothing is read before [`load`](Sources::load), and nothing is printed; a missing file is one problem among the
/// others.
///
/// ```no_run
/// # use valkey_config::{Sources, Validate, settings};
/// # settings! { /// a
/// # pub struct ConnectionSettings in [connection] { /// a
/// # pub pool_size: u32 = 1 } }
/// # impl Validate for ConnectionSettings {}
/// # settings! { /// a
/// # pub struct SenderSettings in [sender] { /// a
/// # pub max_retries: u32 = 1 } }
/// # impl Validate for SenderSettings {}
/// let sources = Sources::new("VALKEY_SENDER_").optional_toml_file("/etc/valkit.toml").env();
/// let loaded = sources.load_with_notices::<(ConnectionSettings, SenderSettings)>()?;
/// for notice in &loaded.notices {
///     eprintln!("warning: {notice}");
/// }
/// let (connection, sender) = loaded.settings;
/// # Ok::<(), valkey_config::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct Sources {
    prefix: String,
    except: Vec<String>,
    files: Vec<FileSource>,
    refused: Vec<Refused>,
    vars: Vec<(OsString, OsString)>,
    explicit: Vec<Explicit>,
}

#[derive(Clone)]
struct Explicit {
    label: String,
    key: String,
    value: String,
}

impl Sources {
    /// No source yet; variables will be those whose names begin with `prefix`. An underscore is added if it lacks one.
    pub fn new(prefix: impl Into<String>) -> Self {
        let mut prefix = prefix.into();
        if !prefix.is_empty() && !prefix.ends_with('_') {
            prefix.push('_');
        }
        Self { prefix, ..Self::default() }
    }

    /// Leaves the variables under a longer prefix to somebody else: with the prefix `VALKEY_`, those of
    /// `VALKEY_SENDER_` would otherwise be unknown ones.
    #[must_use]
    pub fn except(mut self, prefix: impl Into<String>) -> Self {
        self.except.push(prefix.into());
        self
    }

    /// Adds a TOML file, which must exist. Of several files, the later overrides the earlier.
    #[must_use]
    pub fn toml_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(FileSource::Path { path: path.into(), optional: false });
        self
    }

    /// Adds a TOML file, which need not exist.
    #[must_use]
    pub fn optional_toml_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(FileSource::Path { path: path.into(), optional: true });
        self
    }

    /// Adds a TOML text under the name that errors shall give it.
    #[must_use]
    pub fn toml_text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.files.push(FileSource::Text { name: name.into(), text: text.into() });
        self
    }

    /// Refuses a top-level table in all files, and says why. Other tables that nobody reads belong to somebody else, and are left
    /// alone.
    #[must_use]
    pub fn refuse_table(mut self, name: impl Into<String>, why: impl Into<String>) -> Self {
        self.refused.push(Refused { name: name.into(), why: why.into() });
        self
    }

    /// Adds the environment of the process, as it is now.
    #[must_use]
    pub fn env(self) -> Self {
        self.vars(std::env::vars_os())
    }

    /// Adds variables from elsewhere: a test, a file.
    #[must_use]
    pub fn vars<N, V>(mut self, vars: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        self.vars.extend(vars.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Adds a value that overrides all others, as from a command line: `label` is what errors call it (`--url`), `key`
    /// is `key` or `section.key` as in TOML, and the value is written as in a variable. An empty one is no value.
    #[must_use]
    pub fn explicit(
        mut self,
        label: impl Into<String>,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.explicit.push(Explicit { label: label.into(), key: key.into(), value: value.into() });
        self
    }

    /// Reads one settings struct, or a tuple of up to six. Notices are dropped: a program that runs for others wants
    /// [`load_with_notices`](Sources::load_with_notices).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with everything that is wrong.
    pub fn load<T: SettingsSet>(&self) -> Result<T, ConfigError> {
        self.load_with_notices().map(|loaded| loaded.settings)
    }

    /// Reads settings, with what the operator should hear and where each value came from.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with everything that is wrong.
    pub fn load_with_notices<T: SettingsSet>(&self) -> Result<Loaded<T>, ConfigError> {
        self.load_checked(|_| Vec::new())
    }

    /// Reads settings, and checks relations between several structs, whose contradictions are reported together with
    /// all other problems.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with everything that is wrong.
    pub fn load_checked<T: SettingsSet>(
        &self,
        check: impl FnOnce(&T) -> Vec<Contradiction>,
    ) -> Result<Loaded<T>, ConfigError> {
        let sections = T::sections();
        let mut problems = Vec::new();
        let mut notices = Vec::new();
        let mut documents = Vec::new();
        for file in &self.files {
            match file.read() {
                Ok(document) => documents.extend(document),
                Err(problem) => problems.push(problem),
            }
        }
        let mut layers: Vec<Vec<Entry<'_>>> = documents
            .iter()
            .map(|document| document.entries(&sections, &self.refused, &mut problems, &mut notices))
            .collect();
        layers.push(variables::entries(&self.vars, &self.prefix, &self.except, &mut problems));
        layers.push(self.explicit.iter().map(|explicit| explicit.entry(&sections)).collect());
        notices.extend(variables::misspelled_prefix(&self.vars, &self.prefix, &sections));

        let mut reader = Reader::new(&self.prefix, &layers, &sections);
        reader.found(problems, notices);
        reader.unknown();
        let settings = T::read(&mut reader);
        reader.contradict(check(&settings));
        reader.finish(settings)
    }
}

/// Names only: the values may be secret.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("prefix", &self.prefix)
            .field("files", &self.files.len())
            .field("variables", &self.vars.len())
            .field("explicit", &self.explicit.iter().map(|explicit| &explicit.label).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Explicit {
    fn entry(&self, sections: &[Section]) -> Entry<'static> {
        let (section, name) = match self.key.rsplit_once('.') {
            Some((section, name)) if sections.iter().any(|known| known.name == section) => {
                (Some(section.to_owned()), name)
            }
            _ => (None, self.key.as_str()),
        };
        Entry {
            section,
            name: name.to_owned(),
            spelling: Spelling::Lower,
            origin: Origin::Explicit(self.label.clone()),
            value: Value::Text(self.value.clone()),
        }
    }
}
