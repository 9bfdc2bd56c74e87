//! What [`settings!`](crate::settings!) makes of a struct, and what its owner adds.

use serde::de::DeserializeOwned;

use crate::Field;
use crate::load::Reader;

/// A struct declared with [`settings!`](crate::settings!).
pub trait Settings: Default + Clone + Validate + 'static {
    /// The struct's fields, all optional, all flat: what one source says.
    type Layer: DeserializeOwned;

    /// The TOML table of the struct, dotted if nested.
    const SECTION: &'static str;

    /// The fields in the order of their declaration.
    fn fields() -> &'static [Field];

    /// Takes what a layer has set.
    fn absorb(&mut self, layer: Self::Layer);

    /// The values in the order of [`Settings::fields`], as one would write them, redacted where secret.
    fn shown(&self) -> Vec<String>;
}

/// The relations between settings that their owner insists on.
///
/// A value that is wrong by itself is a matter of its type; here stand values that are wrong together.
pub trait Validate {
    /// Everything that contradicts itself; empty if all is well.
    fn validate(&self) -> Vec<Contradiction> {
        Vec::new()
    }
}

/// Settings that are each valid and wrong together.
///
/// ```
/// use valkey_config::Contradiction;
///
/// Contradiction::new(["lease", "heartbeat"], "the heartbeat must be shorter than the lease");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    pub(crate) fields: Vec<&'static str>,
    pub(crate) message: String,
}

impl Contradiction {
    /// Names the keys that do not fit (`key`, or `section.key` in a check across structs) and what would be right.
    ///
    /// The error adds the values and where they came from. A contradiction about a field whose value could not even be
    /// read is dropped: that field's own error says more.
    pub fn new(fields: impl IntoIterator<Item = &'static str>, message: impl Into<String>) -> Self {
        Self { fields: fields.into_iter().collect(), message: message.into() }
    }

    /// The keys that do not fit.
    pub fn fields(&self) -> &[&'static str] {
        &self.fields
    }

    /// What would be right.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A settings struct as the documentation and the reader see it: a TOML table with its fields.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Section {
    /// The TOML table, dotted if nested.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

impl Section {
    /// The section of a settings struct.
    pub fn of<S: Settings>() -> Self {
        Self { name: S::SECTION, fields: S::fields() }
    }
}

/// What [`Sources::load`](crate::Sources::load) can load at once: one settings struct, or a tuple of up to six that
/// share a prefix.
pub trait SettingsSet: Sized {
    /// The sections of all structs.
    fn sections() -> Vec<Section>;

    /// Reads all structs.
    #[doc(hidden)]
    fn read(reader: &mut Reader<'_>) -> Self;
}

impl<S: Settings> SettingsSet for S {
    fn sections() -> Vec<Section> {
        vec![Section::of::<S>()]
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        reader.read()
    }
}

macro_rules! tuples {
    ($(($($name:ident),+);)*) => { $(
        impl<$($name: Settings),+> SettingsSet for ($($name,)+) {
            fn sections() -> Vec<Section> {
                vec![$(Section::of::<$name>()),+]
            }

            fn read(reader: &mut Reader<'_>) -> Self {
                ($(reader.read::<$name>(),)+)
            }
        }
    )* };
}

tuples! {
    (A);
    (A, B);
    (A, B, C);
    (A, B, C, D);
    (A, B, C, D, E);
    (A, B, C, D, E, F);
}
