//! `valkit queue limit Q`

use std::num::NonZeroU64;

use serde::Serialize;
use valkey_admin::{Change, Limits, LimitsChange, OddLimit, QueueStats};
use valkey_envelope::QueueName;

use super::pause::note_unless_there;
use crate::{
    context::Context,
    exit::Exit,
    failure::Failure,
    text::{self, counted},
};

const EXAMPLES: &str = "\
Limits belong to the queue and hold for all its senders and consumers together. Without options the limits in force are \
shown. Consumers follow with their next take. Senders that ask for room with each send (BOUNDED; `valkit send` is one unless \
VALKEY_BOUNDED=false) follow at once, others within five seconds; plain LPUSH producers, and `valkit send --raw`, know of no \
limit.

  --max-length     messages that may wait, ready and delayed; beyond it senders block, fail or
                   shed (ON_FULL). Retries and replays always find room
  --max-in-flight  messages that consumers may hold at once, over all of them
  --rate           messages that consumers may take: 100/s, 30/1m, 1000/1h
  --burst          messages that may be taken at once after a lull; 1 unless set

Nothing is lost by a limit: a lower one takes effect as messages leave. To stop consumers altogether, pause the queue.

Examples:
  valkit queue limit user-registrations
  valkit queue limit user-registrations --max-length 10000
  valkit queue limit user-registrations --rate 30/1m --burst 5
  valkit queue limit user-registrations --rate none --max-in-flight none -o json";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The queue
    queue: QueueName,
    /// Messages that may wait
    #[arg(long, value_name = "N|none", value_parser = number)]
    max_length: Option<Wish<u64>>,
    /// Messages that may be in flight at once
    #[arg(long, value_name = "N|none", value_parser = in_flight)]
    max_in_flight: Option<Wish<u64>>,
    /// Messages that may be taken in a time
    #[arg(long, value_name = "N/TIME|none", value_parser = rate)]
    rate: Option<Wish<f64>>,
    /// Messages that may be taken at once within the rate
    #[arg(long, value_name = "N|none", value_parser = burst)]
    burst: Option<Wish<u64>>,
}

/// What an option asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wish<T> {
    Lift,
    Set(T),
}

#[derive(Serialize)]
struct State {
    queue: QueueName,
    #[serde(flatten)]
    limits: Limits,
    #[serde(skip_serializing_if = "<[OddLimit]>::is_empty")]
    odd_limits: Vec<OddLimit>,
    /// How many differ from before.
    changed: u64,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { queue, max_length, max_in_flight, rate, burst } = arguments;
    let change = LimitsChange {
        max_length: change(max_length),
        rate: change(rate),
        burst: change(burst),
        max_in_flight: change(max_in_flight),
    };
    let admin = context.admin().await?;
    let looks = change == LimitsChange::default();
    if !looks {
        note_unless_there(&admin, &queue, context).await;
    }
    let changed = if looks { 0 } else { admin.set_limits(&queue, &change).await? };
    let stats = admin.stats(&queue).await?;
    if looks && !stats.exists {
        return Err(Failure::no_queue(&queue));
    }
    for odd in &stats.odd_limits {
        context.hint(&format!("{} is {:?}: {}", odd.field, odd.value, odd.effect));
    }
    if !looks {
        explain(&stats, &change, context);
    }
    let QueueStats { queue, limits, odd_limits, .. } = stats;
    let told = State { queue, limits, odd_limits, changed };
    context.output.object(&told, || render(&told.limits, context))?;
    Ok(Exit::Ok)
}

/// What a limit that was just set does not do at once.
fn explain(stats: &QueueStats, change: &LimitsChange, context: &Context) {
    let waiting = stats.ready.total() + stats.delayed;
    if let Change::Set(limit) = change.max_length
        && waiting > limit
    {
        context.hint(&format!(
            "{} here already: nothing is removed, and senders find the queue full until fewer are left",
            counted(waiting, "message")
        ));
    }
    if let Change::Set(limit) = change.max_in_flight
        && stats.in_flight > limit
    {
        context.hint(&format!(
            "consumers hold {} already: they finish them, and get no more until fewer are left",
            counted(stats.in_flight, "message")
        ));
    }
    if matches!(change.burst, Change::Set(_)) && stats.limits.rate.is_none() {
        context.hint("a burst says nothing without a rate: --rate N/TIME");
    }
}

fn render(limits: &Limits, context: &Context) -> String {
    let none = || "none".to_owned();
    let number = |limit: Option<u64>| limit.map_or_else(none, |limit| limit.to_string());
    context.output.pairs(&[
        ("max length", number(limits.max_length)),
        ("max in flight", number(limits.max_in_flight)),
        ("rate", limits.rate.map_or_else(none, text::rate)),
        ("burst", number(limits.burst)),
    ])
}

fn change<T>(wish: Option<Wish<T>>) -> Change<T> {
    match wish {
        None => Change::Keep,
        Some(Wish::Lift) => Change::Lift,
        Some(Wish::Set(value)) => Change::Set(value),
    }
}

fn number(text: &str) -> Result<Wish<u64>, String> {
    wish(text, |text| text.parse().map_err(|_| "expected a whole number, or none".to_owned()))
}

fn in_flight(text: &str) -> Result<Wish<u64>, String> {
    above_zero(text, "expected a whole number above 0, or none; to stop consumers: valkit queue pause")
}

fn burst(text: &str) -> Result<Wish<u64>, String> {
    above_zero(text, "expected a whole number above 0, or none")
}

fn above_zero(text: &str, expected: &str) -> Result<Wish<u64>, String> {
    wish(text, |text| text.parse::<NonZeroU64>().map(NonZeroU64::get).map_err(|_| expected.to_owned()))
}

/// `100/s`, `30/1m`: messages, and the time they are meant for.
fn rate(text: &str) -> Result<Wish<f64>, String> {
    const EXPECTED: &str = "expected messages a time such as 100/s or 30/1m, above 0, or none; to stop consumers: valkit queue pause";
    wish(text, |text| {
        let (count, time) = text.split_once('/').ok_or(EXPECTED)?;
        let count: f64 = count.parse().map_err(|_| EXPECTED)?;
        let time =
            if time.starts_with(|c: char| c.is_ascii_digit()) { time.to_owned() } else { format!("1{time}") };
        let time = valkey_config::parse_duration(&time).map_err(|_| EXPECTED)?.as_secs_f64();
        let rate = count / time;
        // Slower than one in three years, or faster than the server's clock can tell: no rate is meant.
        if (1e-8..=1e9).contains(&rate) { Ok(rate) } else { Err(EXPECTED.to_owned()) }
    })
}

fn wish<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Wish<T>, String> {
    if text == "none" { Ok(Wish::Lift) } else { parse(text).map(Wish::Set) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_messages_a_time() {
        for (text, expected) in [
            ("100/s", 100.0),
            ("100/1s", 100.0),
            ("30/1m", 0.5),
            ("30/m", 0.5),
            ("0.5/s", 0.5),
            ("3600/1h", 1.0),
            ("1/250ms", 4.0),
        ] {
            assert_eq!(rate(text), Ok(Wish::Set(expected)), "{text}");
        }
        assert_eq!(rate("none"), Ok(Wish::Lift));
        for text in [
            "", "5", "5/", "/s", "x/s", "0/s", "-1/s", "1/0s", "nan/s", "inf/s", "1e300/s", "1/1x",
            "1/2000d", "None",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_rate_is_shown_as_is_read_as_the_same() {
        for text in ["100/s", "30/1m", "1/1h", "7/1d", "2.5/s"] {
            let Ok(Wish::Set(meant)) = rate(text) else { panic!("{text}") };
            assert_eq!(rate(&text::rate(meant)), Ok(Wish::Set(meant)), "{text} as {}", text::rate(meant));
        }
    }

    #[test]
    fn nothing_in_flight_is_no_limit_but_a_pause() {
        assert_eq!(in_flight("1"), Ok(Wish::Set(1)));
        assert!(in_flight("0").is_err_and(|why| why.contains("queue pause")));
        assert_eq!(number("0"), Ok(Wish::Set(0)), "a closed entrance is a limit");
        assert!(number("-1").is_err() && number("1.5").is_err() && burst("0").is_err());
    }
}
