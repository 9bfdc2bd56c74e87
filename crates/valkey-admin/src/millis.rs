//! Durations as whole milliseconds in JSON, which is what scripts and dashboards can compute with.

use std::time::Duration;

use serde::Serializer;

#[expect(clippy::ref_option, reason = "serde passes a reference")]
pub(crate) fn some<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.serialize_some(&whole(*duration)),
        None => serializer.serialize_none(),
    }
}

pub(crate) fn plain<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(whole(*duration))
}

pub(crate) fn whole(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
