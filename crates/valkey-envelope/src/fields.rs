//! JSON fields kept as the text they came in.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Named JSON values, each kept as its exact text, so that numbers too large for any type survive.
///
/// Iterates in the order of the names. `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Fields(BTreeMap<String, Box<RawValue>>);

// === impl Fields ===

impl Fields {
    /// The value under a name.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.get(name).map(|value| &**value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    pub(crate) fn insert(&mut self, name: String, value: Box<RawValue>) {
        self.0.insert(name, value);
    }
}

/// Equal names with equal texts.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().map(|(name, value)| (name, value.get())).eq(other.iter().map(|(n, v)| (n, v.get())))
    }
}

impl Eq for Fields {}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
