//! A group.

/// One group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// Its number, if it is a POSIX group.
    pub(crate) id: Option<String>,
    pub(crate) users: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) manager_users: Vec<String>,
    pub(crate) manager_groups: Vec<String>,
    /// The user whose private group it is.
    pub(crate) private_of: Option<String>,
    pub(crate) unique: String,
}

// === impl Group ===

impl Group {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_lowercase(), unique: uuid::Uuid::new_v4().to_string(), ..Self::default() }
    }
}
