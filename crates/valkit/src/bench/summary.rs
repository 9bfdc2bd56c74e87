//! Medians of the rounds, and what they are held against.

use std::time::Duration;

use serde::Serialize;

use super::{
    counters::Counters,
    lab::{Lab, MESSAGE_BYTES},
    load::Measured,
    machine::Machine,
    median,
    rows::Row,
};
use crate::{failure::Failure, output::Output, table::Column};

pub(crate) struct Summary {
    server: Server,
    rows: Vec<(Row, Vec<Measured>)>,
    bare: Vec<Duration>,
    ours: Vec<Duration>,
}

/// On what it was measured.
#[derive(Clone, Debug, Serialize)]
struct Server {
    #[serde(flatten)]
    machine: Machine,
    messages: usize,
    rounds: usize,
    batch: usize,
    message_bytes: usize,
    bytes_a_waiting_message: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    server: Server,
    rows: Vec<Line>,
    idle_delivery: IdleDelivery,
    checks: Vec<Check>,
}

/// The medians of one row.
#[derive(Clone, Debug, Serialize)]
struct Line {
    row: &'static str,
    messages_a_second: f64,
    server_cpu_us_a_message: f64,
    round_trips_a_message: f64,
}

#[derive(Clone, Debug, Serialize)]
struct IdleDelivery {
    bare: Latency,
    ours: Latency,
}

/// In microseconds.
#[derive(Clone, Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

/// A figure and what it should be.
#[derive(Clone, Debug, Serialize)]
struct Check {
    what: &'static str,
    /// A bar must hold; a goal is a wish.
    bar: bool,
    figure: f64,
    at_least: Option<f64>,
    at_most: Option<f64>,
    holds: bool,
}

// === impl Summary ===

impl Summary {
    pub(crate) async fn new(lab: &Lab, messages: usize, rounds: usize) -> Result<Self, Failure> {
        let server = Server {
            machine: Machine::of(&lab.connection).await?,
            messages,
            rounds,
            batch: lab.batch,
            message_bytes: MESSAGE_BYTES,
            bytes_a_waiting_message: waiting_bytes(lab, messages).await?,
        };
        let rows = Row::ALL.map(|row| (row, Vec::with_capacity(rounds))).into();
        Ok(Self { server, rows, bare: Vec::new(), ours: Vec::new() })
    }

    pub(crate) fn add(&mut self, row: Row, measured: Measured) {
        if let Some((_, all)) = self.rows.iter_mut().find(|(known, _)| *known == row) {
            all.push(measured);
        }
    }

    pub(crate) fn add_latencies(&mut self, bare: Vec<Duration>, ours: Vec<Duration>) {
        self.bare.extend(bare);
        self.ours.extend(ours);
    }

    pub(crate) fn report(self) -> Report {
        let line = |(row, all): &(Row, Vec<Measured>)| Line {
            row: row.name(),
            messages_a_second: median(all.iter().map(|one| one.messages as f64 / one.time.as_secs_f64())),
            server_cpu_us_a_message: median(all.iter().map(|one| one.counters.cpu_us / one.messages as f64)),
            round_trips_a_message: median(all.iter().map(|one| one.counters.reads / one.messages as f64)),
        };
        let rows: Vec<Line> = self.rows.iter().map(line).collect();
        let idle = IdleDelivery { bare: Latency::of(&self.bare), ours: Latency::of(&self.ours) };
        let of = |row: Row| rows.iter().find(|line| line.row == row.name());
        let rate = |row| of(row).map_or(f64::NAN, |line| line.messages_a_second);
        let checks = vec![
            Check::at_most(
                "round trips a message, receive and ack",
                0.05,
                of(Row::Receive).map_or(f64::NAN, |line| line.round_trips_a_message),
            ),
            Check::at_most(
                "server CPU us a message, receive and ack",
                6.0,
                of(Row::Receive).map_or(f64::NAN, |line| line.server_cpu_us_a_message),
            ),
            Check::at_least(
                "receive and ack / BLMOVE and LREM",
                true,
                5.0,
                rate(Row::Receive) / rate(Row::MoveAndRemove),
            ),
            Check::at_most("idle delivery p50 / bare BRPOP", 3.0, idle.ours.p50 / idle.bare.p50),
            Check::at_most("idle delivery p99 / bare BRPOP", 3.0, idle.ours.p99 / idle.bare.p99),
            Check::at_least("send_all / raw send", false, 0.85, rate(Row::Send) / rate(Row::RawSend)),
            Check::at_least(
                "receive and ack / raw receive",
                false,
                0.40,
                rate(Row::Receive) / rate(Row::RawReceive),
            ),
            Check::at_least(
                "the same with four consumers",
                false,
                0.60,
                rate(Row::ReceiveFour) / rate(Row::RawReceiveFour),
            ),
        ];
        Report { server: self.server, rows, idle_delivery: idle, checks }
    }
}

async fn waiting_bytes(lab: &Lab, messages: usize) -> Result<f64, Failure> {
    let before = Counters::read(&lab.connection).await?;
    lab.fill(messages).await?;
    let memory = Counters::read(&lab.connection).await?.since(before).memory;
    lab.clear().await?;
    Ok(memory / messages as f64)
}

// === impl Latency ===

impl Latency {
    fn of(values: &[Duration]) -> Self {
        Self { p50: percentile(values, 50), p99: percentile(values, 99) }
    }
}

// === impl Check ===

impl Check {
    fn at_most(what: &'static str, most: f64, figure: f64) -> Self {
        Self { what, bar: true, figure, at_least: None, at_most: Some(most), holds: figure <= most }
    }

    fn at_least(what: &'static str, bar: bool, least: f64, figure: f64) -> Self {
        Self { what, bar, figure, at_least: Some(least), at_most: None, holds: figure >= least }
    }

    fn wanted(&self) -> String {
        match (self.at_least, self.at_most) {
            (Some(least), _) => format!(">= {least}"),
            (_, Some(most)) => format!("<= {most}"),
            _ => String::new(),
        }
    }
}

// === impl Report ===

impl Report {
    pub(crate) fn bars_hold(&self) -> bool {
        self.checks.iter().all(|check| check.holds || !check.bar)
    }

    pub(crate) fn text(&self, output: &Output) -> String {
        let Server { machine, messages, rounds, batch, message_bytes, bytes_a_waiting_message } =
            &self.server;
        let head = format!(
            "{machine}; {messages} messages of \
             {message_bytes} bytes a row, batches of {batch}, median of {rounds} rounds; a waiting message takes \
             {bytes_a_waiting_message:.0} bytes\n\n"
        );
        let rows = output.table(
            &[
                Column::left("row", |line: &Line| line.row.to_owned()),
                Column::right("messages/s", |line| format!("{:.0}", line.messages_a_second)),
                Column::right("server CPU us", |line| format!("{:.2}", line.server_cpu_us_a_message)),
                Column::right("round trips", |line| format!("{:.4}", line.round_trips_a_message)),
            ],
            &self.rows,
        );
        let IdleDelivery { bare, ours } = &self.idle_delivery;
        let idle = format!(
            "\nidle delivery, us: bare BRPOP p50 {:.0}, p99 {:.0}; ours p50 {:.0}, p99 {:.0}\n\n",
            bare.p50, bare.p99, ours.p50, ours.p99
        );
        let checks = output.table(
            &[
                Column::left("check", |check: &Check| check.what.to_owned()),
                Column::left("", |check| if check.bar { "bar" } else { "goal" }.to_owned()),
                Column::right("figure", |check| format!("{:.3}", check.figure)),
                Column::right("wanted", Check::wanted),
                Column::left("holds", |check| if check.holds { "yes" } else { "NO" }.to_owned()),
            ],
            &self.checks,
        );
        head + &rows + &idle + &checks
    }
}

/// In microseconds.
pub(crate) fn percentile(values: &[Duration], hundredths: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    let rank = (values.len() * hundredths).div_ceil(100).max(1) - 1;
    values.get(rank).map_or(f64::NAN, |value| value.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks() {
        let values: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        assert!((percentile(&values, 50) - 50.0).abs() < 1e-6);
        assert!((percentile(&values, 99) - 99.0).abs() < 1e-6);
    }
}
