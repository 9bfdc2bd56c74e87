//! What is written in the end.

use serde::Serialize;

use super::super::{admission::Admission, memory::CHARGES, nodes::Nodes, way::Way};
use crate::{
    bench::{machine::Machine, median},
    output::Output,
    table::Column,
};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    #[serde(rename = "server")]
    pub(super) measurement: Measurement,
    pub(super) rows: Vec<Line>,
    pub(super) light_load: Vec<LightLine>,
    pub(super) bytes_a_key: Vec<MemoryLine>,
    pub(super) admission: Vec<AdmissionLine>,
    pub(super) nodes: Vec<NodesLine>,
    pub(super) checks: Vec<Check>,
}

/// On what it was measured, and how much of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measurement {
    #[serde(flatten)]
    pub(super) machine: Machine,
    pub(super) row_ms: u64,
    pub(super) rounds: usize,
}

/// The medians of one row; times are of one check.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    pub(super) row: String,
    pub(super) checks_a_second: f64,
    pub(super) of_plain: Option<f64>,
    /// The share of the requests that was.
    pub(super) admitted: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) server_cpu_us: f64,
    /// Of that within the script.
    pub(super) script_us: f64,
    pub(super) checks_a_call: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct LightLine {
    pub(super) way: &'static str,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct MemoryLine {
    way: &'static str,
    after_1: i64,
    after_10: i64,
    after_100: i64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct AdmissionLine {
    way: &'static str,
    /// The most that there may be in any window.
    stated: u64,
    /// The most that there certainly was, and possibly.
    at_least: u64,
    at_most: u64,
    admitted: u64,
    checks: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct NodesLine {
    processes: usize,
    checks_a_second: f64,
    limit: u64,
    admitted: u64,
    asked: u64,
}

/// A figure and what it should be.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    what: String,
    figure: f64,
    /// Round by round: the least and the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    rounds: Option<(f64, f64)>,
    at_least: Option<f64>,
    at_most: Option<f64>,
    holds: bool,
}

// === impl MemoryLine ===

impl MemoryLine {
    pub(super) fn new(way: Way, [after_1, after_10, after_100]: [i64; 3]) -> Self {
        const { assert!(CHARGES[0] == 1 && CHARGES[1] == 10 && CHARGES[2] == 100) }
        Self { way: way.name(), after_1, after_10, after_100 }
    }
}

// === impl AdmissionLine ===

impl AdmissionLine {
    pub(super) fn of(one: &Admission) -> Self {
        let Admission { way, stated, at_least, at_most, checks, admitted } = *one;
        Self { way: way.name(), stated, at_least, at_most, admitted, checks }
    }
}

// === impl NodesLine ===

impl NodesLine {
    pub(super) fn of(one: &Nodes) -> Self {
        let Nodes { processes: nodes, checks_a_second, limit, admitted, asked } = *one;
        Self { processes: nodes, checks_a_second, limit, admitted, asked }
    }
}

// === impl Check ===

impl Check {
    pub(super) fn at_least(what: String, least: f64, rounds: &[f64]) -> Self {
        let figure = median(rounds.iter().copied());
        let lowest = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let holds = figure >= least;
        Self { what, figure, rounds: Some((lowest, highest)), at_least: Some(least), at_most: None, holds }
    }

    pub(super) fn at_most(what: String, most: f64, figure: f64) -> Self {
        Self { what, figure, rounds: None, at_least: None, at_most: Some(most), holds: figure <= most }
    }

    pub(super) fn exactly(what: String, wanted: f64, figure: f64) -> Self {
        let holds = (figure - wanted).abs() < 0.5;
        Self { what, figure, rounds: None, at_least: Some(wanted), at_most: Some(wanted), holds }
    }

    fn wanted(&self) -> String {
        match (self.at_least, self.at_most) {
            (Some(least), Some(_)) => format!("= {least}"),
            (Some(least), None) => format!(">= {least}"),
            (None, Some(most)) => format!("<= {most}"),
            (None, None) => String::new(),
        }
    }
}

// === impl Report ===

impl Report {
    pub(crate) fn bars_hold(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    pub(crate) fn text(&self, output: &Output) -> String {
        let Measurement { machine, row_ms, rounds } = &self.measurement;
        let head = format!("{machine}; {row_ms} ms a row, median of {rounds} rounds\n");
        let tables = [
            ("", self.rows_text(output)),
            ("one task, us", self.light_text(output)),
            ("bytes a key, by charges that are spread over the window", self.memory_text(output)),
            ("the most in any window, 512 tasks on one key", self.admission_text(output)),
            (
                "processes, 64 tasks each: sliding_window over 1k keys, and one limit for all",
                self.nodes_text(output),
            ),
            ("what it should be", self.checks_text(output)),
        ];
        let tables = tables.into_iter().filter(|(_, table)| !table.is_empty());
        let tables = tables.map(|(title, table)| {
            if title.is_empty() { format!("\n{table}") } else { format!("\n{}\n{table}", output.bold(title)) }
        });
        head + &tables.collect::<String>()
    }

    fn rows_text(&self, output: &Output) -> String {
        let columns = [
            Column::left("row", |line: &Line| line.row.clone()),
            Column::right("checks/s", |line| format!("{:.0}", line.checks_a_second)),
            Column::right("of plain", |line| line.of_plain.map_or(String::new(), |of| format!("{of:.2}"))),
            Column::right("admitted", |line| format!("{:.1} %", line.admitted * 100.0)),
            Column::right("p50 us", |line| format!("{:.1}", line.p50_us)),
            Column::right("p99 us", |line| format!("{:.1}", line.p99_us)),
            Column::right("server CPU us", |line| format!("{:.2}", line.server_cpu_us)),
            Column::right("script us", |line| format!("{:.2}", line.script_us)),
            Column::right("checks a call", |line| format!("{:.1}", line.checks_a_call)),
        ];
        output.table(&columns, &self.rows)
    }

    fn light_text(&self, output: &Output) -> String {
        let columns = [
            Column::left("way", |line: &LightLine| line.way.to_owned()),
            Column::right("p50", |line| format!("{:.0}", line.p50_us)),
            Column::right("p99", |line| format!("{:.0}", line.p99_us)),
        ];
        output.table(&columns, &self.light_load)
    }

    fn memory_text(&self, output: &Output) -> String {
        let columns = [
            Column::left("way", |line: &MemoryLine| line.way.to_owned()),
            Column::right("1", |line| line.after_1.to_string()),
            Column::right("10", |line| line.after_10.to_string()),
            Column::right("100", |line| line.after_100.to_string()),
        ];
        output.table(&columns, &self.bytes_a_key)
    }

    fn admission_text(&self, output: &Output) -> String {
        let columns = [
            Column::left("way", |line: &AdmissionLine| line.way.to_owned()),
            Column::right("stated", |line| line.stated.to_string()),
            Column::right("certainly", |line| line.at_least.to_string()),
            Column::right("possibly", |line| line.at_most.to_string()),
            Column::right("in three windows", |line| line.admitted.to_string()),
            Column::right("checks", |line| line.checks.to_string()),
        ];
        output.table(&columns, &self.admission)
    }

    fn nodes_text(&self, output: &Output) -> String {
        let columns = [
            Column::right("processes", |line: &NodesLine| line.processes.to_string()),
            Column::right("checks/s", |line| format!("{:.0}", line.checks_a_second)),
            Column::right("limit", |line| line.limit.to_string()),
            Column::right("admitted", |line| line.admitted.to_string()),
            Column::right("of requests", |line| line.asked.to_string()),
        ];
        output.table(&columns, &self.nodes)
    }

    fn checks_text(&self, output: &Output) -> String {
        let columns = [
            Column::left("check", |check: &Check| check.what.clone()),
            Column::right("figure", |check| format!("{:.2}", check.figure)),
            Column::right("least", |check| {
                check.rounds.map_or(String::new(), |(least, _)| format!("{least:.2}"))
            }),
            Column::right("most", |check| {
                check.rounds.map_or(String::new(), |(_, most)| format!("{most:.2}"))
            }),
            Column::right("wanted", Check::wanted),
            Column::left("holds", |check| if check.holds { "yes" } else { "NO" }.to_owned()),
        ];
        output.table(&columns, &self.checks)
    }
}
