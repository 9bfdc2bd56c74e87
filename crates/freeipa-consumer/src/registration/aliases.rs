//! Names that a deployment has for the fields.

use std::fmt;
use std::str::FromStr;

use serde_json::value::RawValue;

use super::extra::Pairs;
use super::{Field, UnknownField};

/// A further name of a field: `first_name=GivenName`, or `email=profile.contact.mail` where it stands in objects of its own.
///
/// Names are taken to the letter, and win over those that are known anyway: with `requested_login=Username` the key `Username`
/// is no longer the name in Telegram.
///
/// ```
/// use freeipa_consumer::registration::FieldAlias;
///
/// let alias: FieldAlias = "email=profile.mail".parse()?;
/// assert_eq!(alias.to_string(), "email=profile.mail");
/// # Ok::<(), freeipa_consumer::registration::InvalidAlias>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldAlias {
    field: Field,
    path: Vec<String>,
}

/// A text that is no further name of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAlias {
    /// The left side is no field.
    #[error(transparent)]
    Field(#[from] UnknownField),
    /// There is no right side, or a part of it is empty.
    #[error("expected `field=Name`, or `field=object.Name` where it stands in an object of its own")]
    Name,
}

/// The names that a deployment has for the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldMap(Vec<FieldAlias>);

impl FieldMap {
    /// These names besides those that are known anyway.
    pub fn new(aliases: impl IntoIterator<Item = FieldAlias>) -> Self {
        Self(aliases.into_iter().collect())
    }

    /// The field that a key at the top is called by here.
    pub(super) fn of_key(&self, key: &str) -> Option<Field> {
        self.0.iter().find(|alias| alias.path.len() == 1 && alias.path[0] == key).map(|alias| alias.field)
    }

    /// What stands at the places in objects of their own. The objects are left as they are.
    pub(super) fn nested<'a>(
        &'a self,
        pairs: &'a [(String, Box<RawValue>)],
    ) -> impl Iterator<Item = (Field, Box<RawValue>)> + 'a {
        self.0.iter().filter(|alias| alias.path.len() > 1).flat_map(move |alias| {
            let (last, objects) = alias.path.split_last().expect("a path has at least one part");
            descend(pairs, objects, last).into_iter().map(|value| (alias.field, value))
        })
    }
}

/// All values at the end of a path: a key may be there more than once.
fn descend(pairs: &[(String, Box<RawValue>)], objects: &[String], last: &str) -> Vec<Box<RawValue>> {
    let Some((first, rest)) = objects.split_first() else {
        return pairs.iter().filter(|(key, _)| key == last).map(|(_, value)| value.clone()).collect();
    };
    let inner = pairs.iter().filter(|(key, _)| key == first);
    let inner = inner.filter_map(|(_, object)| serde_json::from_str::<Pairs>(object.get()).ok());
    inner.flat_map(|Pairs(pairs)| descend(&pairs, rest, last)).collect()
}

impl FromStr for FieldAlias {
    type Err = InvalidAlias;

    fn from_str(text: &str) -> Result<Self, InvalidAlias> {
        let (field, path) = text.split_once('=').ok_or(InvalidAlias::Name)?;
        let path: Vec<String> = path.split('.').map(|part| part.trim().to_owned()).collect();
        if path.iter().any(String::is_empty) {
            return Err(InvalidAlias::Name);
        }
        Ok(Self { field: field.trim().parse()?, path })
    }
}

impl fmt::Display for FieldAlias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.field, self.path.join("."))
    }
}
