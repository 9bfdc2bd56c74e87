//! What the errors of a consumer, and what a check found, come to as exit codes.

use freeipa_consumer::ConsumerError;
use freeipa_consumer::check::{Checkup, StoreReach};
use valkey_receiver::ReceiveError;
use valkit_service::Exit;

/// The code of why a consumer does not run.
pub(crate) fn of(error: &ConsumerError) -> Exit {
    match error {
        ConsumerError::Receive(ReceiveError::Join { source, .. }) | ConsumerError::Store(source) => {
            Exit::of_store(source)
        }
        ConsumerError::Receive(ReceiveError::NoQueue | ReceiveError::Settings(_))
        | ConsumerError::CaFile { .. }
        | ConsumerError::Directory(_)
        | ConsumerError::Keytab { .. }
        | ConsumerError::Server(_)
        | ConsumerError::Telegram(_)
        | ConsumerError::Texts(_) => Exit::Usage,
        _ => Exit::Failed,
    }
}

/// The code of what a check found.
pub(crate) fn of_checkup(checkup: &Checkup) -> Exit {
    match checkup.store {
        StoreReach::Refused => Exit::Denied,
        StoreReach::Unreached => Exit::Unreachable,
        _ if checkup.is_good() => Exit::Ok,
        _ => Exit::Failed,
    }
}
