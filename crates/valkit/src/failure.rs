//! Everything a verb can fail with, and the exit code of each.

use std::io;

use valkey_admin::Admin;
use valkey_connection::ErrorKind;
use valkey_envelope::QueueName;
use valkey_ratelimit::{LimitError, RulesError};
use valkey_receiver::ReceiveError;
use valkey_sender::{CheckError, SendError};

use crate::exit::Exit;

/// Why a verb did not do, or not do all of, what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Admin(#[from] valkey_admin::Error),
    /// Some settings, from whatever source, are wrong.
    #[error(transparent)]
    Config(#[from] valkey_config::ConfigError),
    #[error(transparent)]
    Connection(#[from] valkey_connection::Error),
    /// It went wrong in a way that needs no finer distinction.
    #[error("{0}")]
    Failed(String),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The file of rules has no such rule.
    #[error("there is no rule {name}")]
    NoRule { name: String, hint: String },
    #[error("{0}")]
    NotFound(String),
    /// Part of it was done, or it is not known whether it was; the text says what, and why not the rest.
    #[error("{0}")]
    Partial(String),
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Not done, because it would not be safe.
    #[error("{what}")]
    Refused { what: String, hint: String },
    /// The durability asked for cannot be promised, or that could not be found out; nothing was sent.
    #[error(transparent)]
    Durability(#[from] CheckError),
    #[error(transparent)]
    Send(#[from] SendError),
    /// A limit was not asked: whatever the reason, it must not have the code of a refusal.
    #[error(transparent)]
    Unasked(Box<Failure>),
    /// The command line makes no sense in a way that its parser cannot see.
    #[error("{what}")]
    Usage { what: String, hint: String },
}

// === impl Failure ===

impl Failure {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), hint: hint.into() }
    }

    /// There is nothing under that name.
    pub(crate) fn no_queue(queue: &QueueName) -> Self {
        Self::NotFound(format!("no queue {queue}"))
    }

    /// As [`no_queue`](Self::no_queue), if that is so; a user who may not ask is told nothing.
    pub(crate) async fn unless_there(admin: &Admin, queue: &QueueName) -> Result<(), Self> {
        match admin.stats(queue).await {
            Ok(stats) if !stats.exists => Err(Self::no_queue(queue)),
            _ => Ok(()),
        }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        use valkey_admin::Error as Trouble;
        match self {
            Self::Admin(Trouble::Connection(error)) | Self::Connection(error) => Exit::of(error.kind()),
            Self::Admin(Trouble::NoDeadLetter { .. }) | Self::NoRule { .. } | Self::NotFound(_) => {
                Exit::NotFound
            }
            Self::Admin(Trouble::InvalidRate { .. } | Trouble::NotApplicable { .. })
            | Self::Config(_)
            | Self::Rules(_)
            | Self::Usage { .. } => Exit::Usage,
            // Whoever read our output has seen enough.
            Self::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::Admin(Trouble::NewerFormat { .. }) | Self::Receive(ReceiveError::NewerFormat { .. }) => {
                Exit::Refused
            }
            Self::Admin(_) | Self::Failed(_) | Self::Io { .. } => Exit::Failed,
            Self::Limit(error) => match error {
                LimitError::Unavailable { source, .. } => Exit::of(source.kind()),
                LimitError::Away { .. } | LimitError::Late { .. } => Exit::Unreachable,
                LimitError::CostAboveLimit { .. } | LimitError::Demands { .. } | LimitError::Rule(_) => {
                    Exit::Usage
                }
                _ => Exit::Failed,
            },
            Self::Partial(_) => Exit::Partial,
            Self::Unasked(failure) => match failure.exit() {
                Exit::Denied => Exit::Failed,
                exit => exit,
            },
            Self::Receive(error) => match error {
                ReceiveError::Join { source, .. } => Exit::of(source.kind()),
                ReceiveError::NoQueue | ReceiveError::Settings(_) => Exit::Usage,
                _ => Exit::Failed,
            },
            Self::Refused { .. } => Exit::Refused,
            Self::Durability(error) => match error {
                CheckError::Failed { source, .. } => Exit::of(source.kind()),
                _ => Exit::Refused,
            },
            Self::Send(error) => match error {
                SendError::BreakerOpen { .. } => Exit::Unreachable,
                SendError::DurabilityRefused { .. } => Exit::Refused,
                SendError::Rejected { source, .. } => Exit::of(source.kind()),
                // Neither done nor not done: whoever repeats it must know that it is no plain failure.
                SendError::Unknown { .. } => Exit::Partial,
                _ => Exit::Failed,
            },
        }
    }

    /// What to do about it, where the message does not say so itself.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoRule { hint, .. } | Self::Refused { hint, .. } | Self::Usage { hint, .. } => Some(hint.clone()),
            Self::Unasked(failure) => failure.hint(),
            Self::NotFound(_) => {
                Some("`valkit queue ls` lists them; an empty queue leaves no key behind".into())
            }
            // The id of the message is the one at hand: `send` says it, and so do handlers.
            Self::Admin(valkey_admin::Error::NoDeadLetter { queue, .. }) => Some(format!(
                "a dead letter has an id of its own, which is not its message's: valkit dead ls {queue}"
            )),
            Self::Send(SendError::Unknown { id, deduplicated: true, source, .. })
                if !source.as_ref().is_some_and(valkey_connection::Error::stopped_midway) =>
            {
                Some(format!("the same id is --id {id}"))
            }
            Self::Send(SendError::Rejected { source, .. })
                if source.kind() == ErrorKind::Denied && source.operation() == "push" =>
            {
                Some(
                    "a user who may only push does without the script: VALKEY_BOUNDED=false, which may push past \
                     the queue's limit; lanes, delays and dedup need the script"
                        .into(),
                )
            }
            _ => self.connection_error().and_then(hint_at).map(str::to_owned),
        }
    }

    /// What the connection said, under whatever verb it was.
    pub(crate) fn connection_error(&self) -> Option<&valkey_connection::Error> {
        match self {
            Self::Admin(valkey_admin::Error::Connection(error))
            | Self::Connection(error)
            | Self::Receive(ReceiveError::Join { source: error, .. })
            | Self::Durability(CheckError::Failed { source: error, .. })
            | Self::Limit(LimitError::Unavailable { source: error, .. })
            | Self::Send(SendError::Rejected { source: error, .. }) => Some(error),
            _ => None,
        }
    }

    /// Whether there is nothing to tell: the reader of a pipe has gone.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// What somebody at a command line can do about it.
fn hint_at(error: &valkey_connection::Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::Disconnected | ErrorKind::Timeout => Some("give the server with --url or VALKEY_URL"),
        ErrorKind::Auth if error.lacks_password() => Some(
            "set VALKEY_PASSWORD_FILE (or VALKEY_PASSWORD), and VALKEY_USERNAME unless it is the user `default`",
        ),
        ErrorKind::Protocol => {
            Some("is that port a Valkey's, and without TLS? With it, the URL begins with valkeys://")
        }
        ErrorKind::Configuration => {
            let text = error.to_string();
            if text.contains("belongs to a cluster") {
                Some("in the environment that is VALKEY_MODE=cluster")
            } else if text.contains("cluster support disabled") {
                Some("the server belongs to no cluster: leave VALKEY_MODE unset, or set it to standalone")
            } else {
                None
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_code() {
        let broken = |kind| Failure::io("writing", io::Error::from(kind));
        let no_letter =
            valkey_admin::Error::NoDeadLetter { queue: "q".parse().expect("a name"), id: "1".into() };
        let not_applicable = valkey_admin::Error::NotApplicable {
            verb: "purge",
            place: valkey_admin::Place::Dead,
            reason: "no",
        };
        let unknown = SendError::Unknown {
            queue: "q".parse().expect("a name"),
            id: "1".into(),
            deduplicated: false,
            source: None,
        };
        for (failure, exit) in [
            (Failure::Failed("x".into()), Exit::Failed),
            (broken(io::ErrorKind::BrokenPipe), Exit::Ok),
            (broken(io::ErrorKind::NotFound), Exit::Failed),
            (Failure::usage("x", "y"), Exit::Usage),
            (Failure::Admin(not_applicable), Exit::Usage),
            (Failure::Receive(ReceiveError::NoQueue), Exit::Usage),
            (Failure::Partial("x".into()), Exit::Partial),
            (Failure::NotFound("x".into()), Exit::NotFound),
            (Failure::Admin(no_letter), Exit::NotFound),
            (Failure::Refused { what: "x".into(), hint: "y".into() }, Exit::Refused),
            (Failure::Send(unknown), Exit::Partial),
        ] {
            assert_eq!(failure.exit(), exit, "{failure}");
        }
    }

    #[test]
    fn who_comes_with_the_id_of_a_message_is_shown_the_way_to_its_dead_letter() {
        let failure = Failure::Admin(valkey_admin::Error::NoDeadLetter {
            queue: "q".parse().expect("a name"),
            id: "0198a3c2-7b1e-7cc3-98c4-dc0c0c07398f".into(),
        });
        assert!(failure.hint().is_some_and(|hint| hint.ends_with("valkit dead ls q")));
    }
}
