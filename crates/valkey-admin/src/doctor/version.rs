//! What stands in a queue's control hash as its format.

use valkey_envelope::QueueKeys;

use super::{Finding, Severity};
use crate::{format::is_known, stats::QueueStats};

pub(super) fn judge(about: &str, stats: &QueueStats) -> Option<Finding> {
    let found = stats.format.as_deref()?;
    let known = QueueKeys::FORMAT;
    let whole = found.parse::<u32>().ok().filter(|number| *number > 0);
    let key = stats.queue.keys();
    let hdel = format!("HDEL {} version (a queue without one is of format 1)", key.control());
    Some(match whole {
        Some(number) if number <= known => return None,
        Some(number) => Finding::new(
            Severity::Warning,
            about,
            format!("it is of format {number}, this program knows formats up to {known}"),
            "receivers of this version do not join it, and verbs of this version do not change it",
            "use a newer version; it knows both",
        ),
        // Whoever knows a format at all takes what is below its own for older.
        None if is_known(found) => Finding::new(
            Severity::Warning,
            about,
            format!("its format is {found:?}, which no format is"),
            "senders, receivers and verbs take it for an older one and go on; a later version may not",
            hdel,
        ),
        None => Finding::new(
            Severity::Critical,
            about,
            format!("its format is {found:?}, which no format is"),
            "receivers do not join it and verbs do not change it: all take it for a newer one. No tool of ours writes this",
            hdel,
        ),
    })
}
