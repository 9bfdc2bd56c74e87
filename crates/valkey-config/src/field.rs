//! The table of a settings struct: what each field is called, holds and does.

use std::borrow::Cow;
use std::fmt;

use crate::codec::Codec;

/// One setting, as errors, hints and the documentation see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Field {
    /// The key in the TOML section, which is also the name of the struct's field: `pool_size`.
    pub key: &'static str,
    /// What follows the prefix in a variable's name: `POOL_SIZE`.
    pub env: String,
    /// Other names, in the spelling of variables; in TOML they are written in lower case.
    pub aliases: Vec<&'static str>,
    /// What the documentation calls the type: `duration`.
    pub type_name: String,
    /// The default as one would write it; empty for none, redacted for a secret.
    pub default: String,
    /// Whether the setting does what its name says.
    pub status: Status,
    /// The doc comment of the field.
    pub doc: &'static str,
    /// Whether the value is never shown and may come from a file (`*_FILE`).
    pub secret: bool,
    /// Whether only a TOML file can hold it.
    pub toml_only: bool,
}

/// What a setting does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It does what it says.
    #[default]
    Honoured,
    /// It stands for something else, which the text names.
    Mapped(&'static str),
    /// It is accepted for the sake of existing deployments and has no effect, for the reason in the text; whoever sets
    /// it gets a [`Notice`](crate::Notice).
    Notice(&'static str),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Honoured => f.write_str("honoured"),
            Self::Mapped(to) => write!(f, "mapped: {to}"),
            Self::Notice(why) => write!(f, "accepted with a notice: {why}"),
        }
    }
}

/// An attribute of a field in [`settings!`](crate::settings!).
#[derive(Clone, Copy, Debug)]
pub enum Attribute {
    /// `#[alias("...")]`
    Alias(&'static [&'static str]),
    /// A doc comment, which is read as a whole elsewhere.
    Doc,
    /// `#[env("...")]`
    Env(&'static str),
    /// `#[mapped("...")]`
    Mapped(&'static str),
    /// `#[notice("...")]`
    Notice(&'static str),
    /// `#[text("...")]`, `#[optional_text("...")]`, `#[structured("...")]`
    TypeName(&'static str),
}

impl Field {
    /// A field without attributes.
    pub fn new<T, C: Codec<T>>(key: &'static str, doc: &'static str, default: &T) -> Self {
        Self {
            key,
            env: key.to_ascii_uppercase(),
            aliases: Vec::new(),
            type_name: C::type_name(),
            default: C::show(default),
            status: Status::Honoured,
            doc,
            secret: C::is_secret(),
            toml_only: C::TOML_ONLY,
        }
    }

    /// The same field with an attribute.
    #[must_use]
    pub fn with(mut self, attribute: Attribute) -> Self {
        match attribute {
            Attribute::Alias(aliases) => self.aliases.extend(aliases),
            Attribute::Doc => {}
            Attribute::Env(name) => name.clone_into(&mut self.env),
            Attribute::Mapped(to) => self.status = Status::Mapped(to),
            Attribute::Notice(why) => self.status = Status::Notice(why),
            Attribute::TypeName(name) => name.clone_into(&mut self.type_name),
        }
        self
    }

    /// What an entry called `name` is to this field.
    pub(crate) fn role(&self, name: &str, spelling: Spelling) -> Option<Role> {
        if self.names(spelling).any(|own| own == name) {
            return Some(Role::Value);
        }
        let stem = name.strip_suffix(spelling.file_suffix())?;
        (self.secret && self.names(spelling).any(|own| own == stem)).then_some(Role::File)
    }

    /// The names of the field, its own first.
    pub(crate) fn names(&self, spelling: Spelling) -> impl Iterator<Item = Cow<'_, str>> {
        let (own, lower) = match spelling {
            Spelling::Capitals => (self.env.as_str(), false),
            Spelling::Lower => (self.key, true),
        };
        let alias = move |alias: &&'static str| {
            if lower { Cow::Owned(alias.to_ascii_lowercase()) } else { Cow::Borrowed(*alias) }
        };
        std::iter::once(Cow::Borrowed(own)).chain(self.aliases.iter().map(alias))
    }
}

/// How a source spells names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// `POOL_SIZE`, as variables do.
    Capitals,
    /// `pool_size`, as files do.
    Lower,
}

impl Spelling {
    /// What turns the name of a secret into the name of the setting that holds its path.
    pub(crate) fn file_suffix(self) -> &'static str {
        match self {
            Self::Capitals => "_FILE",
            Self::Lower => "_file",
        }
    }
}

/// What an entry says about a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The path of a file with the value.
    File,
    /// The value.
    Value,
}
