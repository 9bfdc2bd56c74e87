//! What the errors of a guard come to as exit codes.

use smtp_guard::GuardError;
use valkey_ratelimit::LimitError;
use valkit_service::Exit;

/// The code of why a guard does not run.
pub(crate) fn of(error: &GuardError) -> Exit {
    match error {
        GuardError::Limits(_) => Exit::Usage,
        GuardError::Store(error) | GuardError::Probe(LimitError::Unavailable { source: error, .. }) => {
            Exit::of_store(error)
        }
        GuardError::Probe(error) if error.is_unavailable() => Exit::Unreachable,
        _ => Exit::Failed,
    }
}
