//! What a rule says while the store cannot be asked.

use std::num::NonZeroU32;

/// What becomes of requests while the store cannot be asked. Nothing of it is charged later.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnUnavailable {
    /// They are allowed, uncounted ([`Source::Fallback`](crate::Source::Fallback)). For what should go on whatever happens,
    /// as mail.
    Allow,
    /// The caller gets the error, and decides: [`LimitError::is_unavailable`](crate::LimitError::is_unavailable). Never a
    /// refusal, since nobody is over a limit.
    #[default]
    Deny,
    /// Each process counts by itself, and allows its share of the limit, at least 1
    /// ([`Source::Local`](crate::Source::Local)): in any trailing window at most twice the share.
    Local {
        /// How many processes share the limit.
        nodes: NonZeroU32,
    },
}
