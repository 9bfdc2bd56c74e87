//! Pause, resume and the limits of a queue.

use std::time::Duration;

use serde::Serialize;
use valkey_connection::Command;
use valkey_envelope::QueueName;

use crate::{
    admin::Admin,
    error::Error,
    scripts::{self, CONTROL},
};

/// The limits of a queue; `None` = no limit. They hold for every sender and consumer of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Limits {
    /// Messages that may wait (ready and delayed); senders block, fail or shed beyond it.
    pub max_length: Option<u64>,
    /// Messages that consumers may claim a second, all together.
    pub rate: Option<f64>,
    /// Messages that may be claimed at once after a lull; 1 if there is only a rate.
    pub burst: Option<u64>,
    /// Messages that may be in flight at once, over all consumers.
    pub max_in_flight: Option<u64>,
}

/// What becomes of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is lifted.
    Lift,
    /// It becomes this.
    Set(T),
}

/// Which limits change, and to what.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LimitsChange {
    /// See [`Limits::max_length`].
    pub max_length: Change<u64>,
    /// See [`Limits::rate`].
    pub rate: Change<f64>,
    /// See [`Limits::burst`].
    pub burst: Change<u64>,
    /// See [`Limits::max_in_flight`].
    pub max_in_flight: Change<u64>,
}

// === impl Admin ===

impl Admin {
    /// Stops consumers from claiming more. Who is at work finishes; senders go on. Returns whether that is new.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub async fn pause(&self, queue: &QueueName) -> Result<bool, Error> {
        self.put(queue, vec![("paused", "1".to_owned())]).await.map(|changed| changed > 0)
    }

    /// Lets consumers claim again, and wakes the idle ones. Returns whether the queue was paused.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub async fn resume(&self, queue: &QueueName) -> Result<bool, Error> {
        self.put(queue, vec![("paused", String::new())]).await.map(|changed| changed > 0)
    }

    /// Whether the queue is paused.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub async fn is_paused(&self, queue: &QueueName) -> Result<bool, Error> {
        let keys = queue.keys();
        let reply = self.connection.execute(Command::new("HGET").key(keys.control()).arg("paused")).await?;
        Ok(!reply.is_nil() && reply.into_string()? == "1")
    }

    /// Changes limits of a queue. Consumers follow with their next take, senders within five seconds (at once those that are
    /// built bounded). Returns how many limits differ from before.
    ///
    /// # Errors
    /// [`Error::Connection`].
    pub async fn set_limits(&self, queue: &QueueName, change: &LimitsChange) -> Result<u64, Error> {
        let fields = change.fields();
        if fields.is_empty() {
            return Ok(0);
        }
        self.put(queue, fields).await
    }

    async fn put(&self, queue: &QueueName, fields: Vec<(&'static str, String)>) -> Result<u64, Error> {
        let keys = queue.keys();
        let mut call = CONTROL.call().key(keys.control()).key(keys.bell()).timeout(Duration::from_secs(10));
        for (field, value) in fields {
            call = call.arg(field).arg(value);
        }
        scripts::count(self.connection.invoke(call).await?)
    }
}

// === impl Limits ===

impl Limits {
    /// Reads the fields of the control hash; what cannot be read counts as absent, as it does for consumers.
    pub(crate) fn read<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Self {
        let whole = |name| field(name).and_then(|text| text.parse().ok());
        Self {
            max_length: whole("max_length"),
            rate: field("rate").and_then(|text| text.parse().ok()).filter(|rate| *rate > 0.0),
            burst: whole("burst"),
            max_in_flight: whole("max_in_flight"),
        }
    }
}

// === impl LimitsChange ===

impl LimitsChange {
    fn fields(&self) -> Vec<(&'static str, String)> {
        fn text<T: ToString>(change: Change<T>) -> Option<String> {
            match change {
                Change::Keep => None,
                Change::Lift => Some(String::new()),
                Change::Set(value) => Some(value.to_string()),
            }
        }
        [
            ("max_length", text(self.max_length)),
            ("rate", text(self.rate)),
            ("burst", text(self.burst)),
            ("max_in_flight", text(self.max_in_flight)),
        ]
        .into_iter()
        .filter_map(|(field, value)| Some((field, value?)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Limits, LimitsChange};

    #[test]
    fn only_what_changes_is_written() {
        assert!(LimitsChange::default().fields().is_empty());
        let change = LimitsChange { rate: Change::Set(2.5), burst: Change::Lift, ..LimitsChange::default() };
        assert_eq!(change.fields(), [("rate", "2.5".to_owned()), ("burst", String::new())]);
    }

    #[test]
    fn nonsense_in_the_hash_is_no_limit() {
        let limits = Limits::read(|name| match name {
            "max_length" => Some("100"),
            "rate" => Some("-1"),
            "burst" => Some("many"),
            _ => None,
        });
        assert_eq!(limits, Limits { max_length: Some(100), ..Limits::default() });
    }
}
