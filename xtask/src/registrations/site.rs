//! What is the same for all programs of a run: names, groups, people who were there before.

/// The queue.
pub(crate) const QUEUE: &str = "user-registrations";

/// The account by which consumers work.
pub(crate) const SERVICE: &str = "svc-registrar";

/// What the directory is called.
pub(crate) const FQDN: &str = "ipa.example.test";

/// The group that every account gets.
pub(crate) const EVERYBODY: &str = "tg-members";

/// Groups that may be asked for, and that the service fills.
pub(crate) const OPEN_GROUPS: [&str; 2] = ["tg-users", "tg-testers"];

/// A group that may be asked for, though the service may not fill it.
pub(crate) const SEALED_GROUP: &str = "tg-sealed";

/// A group that may be asked for, though nobody has made it.
pub(crate) const MISSING_GROUP: &str = "tg-missing";

/// Groups of the directory that no setting names: their names are taken all the same.
pub(crate) const OTHER_GROUPS: [&str; 2] = ["payroll", "night-shift"];

/// The family name of those who have none.
pub(crate) const PLACEHOLDER: &str = "-";
