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
    /// Messages that consumers may claim a second, all together; above 0.
    pub rate: Option<f64>,
    /// Messages that may be claimed at once after a lull; 1 if there is only a rate.
    pub burst: Option<u64>,
    /// Messages that may be in flight at once, over all consumers.
    pub max_in_flight: Option<u64>,
}

/// A limit in the control hash that no tool of ours writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OddLimit {
    /// The field of the control hash.
    pub field: &'static str,
    /// What stands there.
    pub value: String,
    /// What senders and consumers make of it.
    pub effect: &'static str,
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
    /// [`Error::InvalidRate`]: nothing was changed; [`Error::Connection`].
    pub async fn set_limits(&self, queue: &QueueName, change: &LimitsChange) -> Result<u64, Error> {
        if let Change::Set(rate) = change.rate
            && !(rate.is_finite() && rate > 0.0)
        {
            return Err(Error::InvalidRate { rate });
        }
        let fields = change.fields();
        if fields.is_empty() {
            return Ok(0);
        }
        self.put(queue, fields).await
    }

    async fn put(&self, queue: &QueueName, fields: Vec<(&'static str, String)>) -> Result<u64, Error> {
        self.knows_format(queue).await?;
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
    const FIELDS: [&'static str; 4] = ["max_length", "rate", "burst", "max_in_flight"];

    /// Reads the fields of the control hash as the scripts apply them: whole messages, so that fractions are cut.
    pub(crate) fn read<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Self {
        let value = |name| field(name).and_then(number);
        Self {
            max_length: value("max_length").filter(|length| *length >= 0.0).map(whole),
            rate: value("rate").filter(|rate| *rate > 0.0),
            burst: value("burst").map(|burst| whole(burst.max(1.0))),
            max_in_flight: value("max_in_flight").map(whole),
        }
    }

    /// What stands in the control hash and no tool of ours would have written there.
    pub(crate) fn odd<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Vec<OddLimit> {
        Self::FIELDS
            .into_iter()
            .filter_map(|name| {
                let text = field(name)?;
                let effect = match (name, number(text)) {
                    ("max_length", None) => "each send that asks for room is refused",
                    ("max_length", Some(value)) if value < 0.0 => "each send that asks for room is refused",
                    (_, None) => "it is ignored",
                    ("rate", Some(value)) if value <= 0.0 => "it is ignored",
                    ("burst", Some(value)) if value < 1.0 => "it counts as 1",
                    ("max_in_flight", Some(value)) if value < 1.0 => "nothing is handed out",
                    ("rate", Some(value)) if value < SANE => return None,
                    (_, Some(value)) if value.fract() == 0.0 && value < SANE => return None,
                    (_, Some(value)) if value < SANE => "its fraction is cut",
                    _ => "it is as good as none",
                };
                Some(OddLimit { field: name, value: text.to_owned(), effect })
            })
            .collect()
    }
}

/// Beyond this no queue and no bound can be meant.
const SANE: f64 = 1e15;

/// A number as the scripts read it: what is none, or not a number, says nothing.
fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|value: &f64| !value.is_nan())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut and clamped on purpose")]
fn whole(value: f64) -> u64 {
    value as u64
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
    fn numbers_in_the_hash_are_read_as_the_scripts_apply_them() {
        for (field, text, expected) in [
            ("max_length", "100", Limits { max_length: Some(100), ..Limits::default() }),
            ("max_length", "2.5", Limits { max_length: Some(2), ..Limits::default() }),
            ("max_length", "-1", Limits::default()),
            ("rate", "0.5", Limits { rate: Some(0.5), ..Limits::default() }),
            ("rate", "-1", Limits::default()),
            ("rate", "nan", Limits::default()),
            ("burst", "many", Limits::default()),
            ("burst", "0.5", Limits { burst: Some(1), ..Limits::default() }),
            ("max_in_flight", "2.5", Limits { max_in_flight: Some(2), ..Limits::default() }),
            ("max_in_flight", "-1", Limits { max_in_flight: Some(0), ..Limits::default() }),
            ("max_in_flight", "1e300", Limits { max_in_flight: Some(u64::MAX), ..Limits::default() }),
        ] {
            assert_eq!(Limits::read(|name| (name == field).then_some(text)), expected, "{field} {text}");
        }
    }

    #[test]
    fn what_no_tool_writes_is_told_with_its_effect() {
        let odd = |field: &'static str, text: &'static str| {
            let mut found = Limits::odd(|name| (name == field).then_some(text));
            assert!(found.len() <= 1);
            found.pop().map(|odd| odd.effect)
        };
        for fine in [
            ("max_length", "0"),
            ("max_length", "100"),
            ("rate", "0.5"),
            ("burst", "3"),
            ("max_in_flight", "7"),
        ] {
            assert_eq!(odd(fine.0, fine.1), None, "{fine:?}");
        }
        for (field, text, effect) in [
            ("max_length", "abc", "each send that asks for room is refused"),
            ("max_length", "-1", "each send that asks for room is refused"),
            ("rate", "abc", "it is ignored"),
            ("rate", "0", "it is ignored"),
            ("burst", "-5", "it counts as 1"),
            ("max_in_flight", "abc", "it is ignored"),
            ("max_in_flight", "-1", "nothing is handed out"),
            ("max_in_flight", "2.5", "its fraction is cut"),
            ("max_in_flight", "1e300", "it is as good as none"),
            ("rate", "inf", "it is as good as none"),
            ("rate", "1e300", "it is as good as none"),
        ] {
            assert_eq!(odd(field, text), Some(effect), "{field} {text}");
        }
    }
}
