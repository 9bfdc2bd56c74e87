//! What a failure means for whoever called.

use std::fmt;

/// What kind of failure it was, by what is to be done about it.
///
/// ```
/// use freeipa_client::{Class, Retry};
///
/// assert_eq!(Class::Unavailable.retry(), Retry::Later);
/// assert!(Class::Denied.concerns_every_call()); // pause, rather than fail one request after another
/// assert!(!Class::Invalid.concerns_every_call());
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// The server, its directory or its KDC is away. It comes back by itself.
    Unavailable,
    /// The server is there, and has reached a limit of its own: time, size, connections.
    Overloaded,
    /// Something inside the server went wrong with this very call.
    Failed,
    /// Somebody else changed the entry in the same moment.
    Collision,
    /// The session was lost in the middle. The next call logs in again.
    Session,
    /// The service account cannot log in, and trying again does harm. See [`ServiceLogin`](crate::ServiceLogin).
    LoginRejected,
    /// The service account lacks a right.
    Denied,
    /// Names, certificates or the server's set-up are wrong: a person must change something.
    Configuration,
    /// The call itself is wrong, or too new for this server: a mistake in the program.
    Misuse,
    /// The data are not acceptable; [`CallError::field`](crate::CallError::field) says which.
    Invalid,
    /// There is no such entry.
    NotFound,
    /// There is one already, perhaps made by an earlier attempt.
    Exists,
    /// It was so before: nothing was left to do.
    AlreadyDone,
}

/// Whether the same call makes sense again.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Retry {
    /// It would fail in the same way until somebody changes something.
    Never,
    /// At once.
    Now,
    /// With growing pauses, for as long as it takes.
    Later,
    /// With growing pauses, a few times.
    Limited,
}

/// What became of a call that failed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// The server did not do it. The same call may be made again.
    NotDone,
    /// The server may have done it, in whole or in part, or may still do it. Look before the call is repeated.
    Unknown,
}

impl Class {
    /// Whether the same call makes sense again. After [`Outcome::Unknown`] only once somebody has looked.
    #[must_use]
    pub const fn retry(self) -> Retry {
        match self {
            Self::Unavailable | Self::Overloaded => Retry::Later,
            Self::Failed | Self::Session => Retry::Limited,
            Self::Collision => Retry::Now,
            Self::LoginRejected
            | Self::Denied
            | Self::Configuration
            | Self::Misuse
            | Self::Invalid
            | Self::NotFound
            | Self::Exists
            | Self::AlreadyDone => Retry::Never,
        }
    }

    /// Whether the next call, about something else, would fail for the same reason. Whoever works through a queue
    /// pauses then.
    #[must_use]
    pub const fn concerns_every_call(self) -> bool {
        matches!(self, Self::Unavailable | Self::LoginRejected | Self::Denied | Self::Configuration)
    }

    /// The class as a word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::Failed => "failed",
            Self::Collision => "collision",
            Self::Session => "session",
            Self::LoginRejected => "login_rejected",
            Self::Denied => "denied",
            Self::Configuration => "configuration",
            Self::Misuse => "misuse",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::AlreadyDone => "already_done",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
