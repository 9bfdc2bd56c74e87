//! Medians of the rounds, and what they are held against.

mod report;

use std::time::Duration;

pub(crate) use self::report::Report;
use self::report::{AdmissionLine, Check, LightLine, Line, Measurement, MemoryLine, NodesLine};
use super::{
    admission::Admission,
    light,
    nodes::Nodes,
    rows::{Measured, Place, Row, Site},
    way::{Counting, Way},
};
use crate::{
    bench::{machine::Machine, median, summary::percentile},
    failure::Failure,
};

/// All that was measured.
pub(crate) struct Summary {
    measurement: Measurement,
    rows: Vec<(Row, Vec<Figures>)>,
    light: Vec<Vec<Duration>>,
    pub(crate) memory: Vec<(Way, [i64; 3])>,
    pub(crate) admission: Vec<Admission>,
    pub(crate) nodes: Vec<Nodes>,
}

/// One row in one round.
struct Figures {
    checks_a_second: f64,
    admitted: f64,
    p50: f64,
    p99: f64,
    server_us: f64,
    script_us: f64,
    checks_a_call: f64,
}

/// What our fast paths are to be worth, in checks of the plain script by as many tasks.
const BARS: [(Way, Place, usize, f64); 12] = [
    (Way::Ours(Counting::Gcra), Place::Many, 64, 2.5),
    (Way::Ours(Counting::Gcra), Place::Many, 512, 2.5),
    (Way::Ours(Counting::SlidingWindow), Place::Many, 64, 2.0),
    (Way::Ours(Counting::SlidingWindow), Place::Many, 512, 2.0),
    (Way::Ours(Counting::Gcra), Place::Hot, 64, 2.5),
    (Way::Ours(Counting::Gcra), Place::Hot, 512, 8.0),
    (Way::Ours(Counting::SlidingWindow), Place::Hot, 64, 2.5),
    (Way::Ours(Counting::SlidingWindow), Place::Hot, 512, 8.0),
    (Way::Leased, Place::Hot, 64, 50.0),
    (Way::Leased, Place::Hot, 512, 50.0),
    (Way::Ours(Counting::SlidingWindow), Place::Denied, 64, 50.0),
    (Way::Ours(Counting::SlidingWindow), Place::Denied, 512, 50.0),
];

// === impl Summary ===

impl Summary {
    pub(crate) async fn new(site: &Site, row_time: Duration, rounds: usize) -> Result<Self, Failure> {
        let machine = Machine::of(&site.connection).await?;
        Ok(Self {
            measurement: Measurement { machine, row_ms: row_time.as_millis() as u64, rounds },
            rows: Vec::new(),
            light: vec![Vec::new(); light::WAYS.len()],
            memory: Vec::new(),
            admission: Vec::new(),
            nodes: Vec::new(),
        })
    }

    pub(crate) fn add(&mut self, row: Row, measured: &Measured) {
        let figures = Figures::of(measured);
        match self.rows.iter_mut().find(|(known, _)| *known == row) {
            Some((_, all)) => all.push(figures),
            None => self.rows.push((row, vec![figures])),
        }
    }

    pub(crate) fn add_light(&mut self, latencies: Vec<Vec<Duration>>) {
        for (all, more) in self.light.iter_mut().zip(latencies) {
            all.extend(more);
        }
    }

    pub(crate) fn report(self) -> Report {
        let light: Vec<LightLine> = light::WAYS
            .into_iter()
            .zip(&self.light)
            .map(|(way, all)| LightLine {
                way: light::name(way),
                p50_us: percentile(all, 50),
                p99_us: percentile(all, 99),
            })
            .collect();
        let mut checks: Vec<Check> = BARS.into_iter().filter_map(|bar| self.speed(bar)).collect();
        for (row, all) in self.rows.iter().filter(|(row, _)| row.way == Way::Leased) {
            let admitted: Vec<f64> = all.iter().map(|one| one.admitted).collect();
            checks.push(Check::at_least(format!("{}, admitted", row.name()), 0.99, &admitted));
        }
        for (line, way) in light.iter().zip(light::WAYS) {
            if matches!(way, Some(Way::Ours(_))) {
                let against = |hundredths: &str, ours: f64, bare: f64| {
                    Check::at_most(format!("{}, light load, {hundredths} / PING", line.way), 2.0, ours / bare)
                };
                checks.push(against("p50", line.p50_us, light[0].p50_us));
                checks.push(against("p99", line.p99_us, light[0].p99_us));
            }
        }
        checks.extend(self.admission.iter().map(|one| {
            let what = format!("{}, certainly admitted in a window", one.way.name());
            Check::at_most(what, one.stated as f64, one.at_least as f64)
        }));
        checks.extend(self.nodes.iter().map(|one| {
            let what = format!("{} processes, admitted of {}", one.processes, one.limit);
            Check::exactly(what, one.limit as f64, one.admitted as f64)
        }));
        Report {
            measurement: self.measurement.clone(),
            rows: self.rows.iter().map(|(row, all)| self.line(*row, all)).collect(),
            light_load: light,
            bytes_a_key: self.memory.iter().map(|(way, bytes)| MemoryLine::new(*way, *bytes)).collect(),
            admission: self.admission.iter().map(AdmissionLine::of).collect(),
            nodes: self.nodes.iter().map(NodesLine::of).collect(),
            checks,
        }
    }

    fn line(&self, row: Row, all: &[Figures]) -> Line {
        let middle = |figure: fn(&Figures) -> f64| median(all.iter().map(figure));
        Line {
            row: row.name(),
            checks_a_second: middle(|one| one.checks_a_second),
            of_plain: self.ratios(row).map(|ratios| median(ratios.into_iter())),
            admitted: middle(|one| one.admitted),
            p50_us: middle(|one| one.p50),
            p99_us: middle(|one| one.p99),
            server_cpu_us: middle(|one| one.server_us),
            script_us: middle(|one| one.script_us),
            checks_a_call: middle(|one| one.checks_a_call),
        }
    }

    fn speed(&self, (way, place, tasks, least): (Way, Place, usize, f64)) -> Option<Check> {
        let row = Row { way, place, tasks };
        let ratios = self.ratios(row)?;
        Some(Check::at_least(format!("{} / plain", row.name()), least, &ratios))
    }

    /// How the row does beside the plain script, round by round.
    fn ratios(&self, row: Row) -> Option<Vec<f64>> {
        let of = |row: Row| self.rows.iter().find(|(known, _)| *known == row).map(|(_, all)| all);
        let ratio = |(ours, plain): (&Figures, &Figures)| ours.checks_a_second / plain.checks_a_second;
        Some(of(row)?.iter().zip(of(row.base())?).map(ratio).collect())
    }
}

// === impl Figures ===

impl Figures {
    fn of(Measured { done, counters }: &Measured) -> Self {
        let checks = done.checks as f64;
        Self {
            checks_a_second: checks / done.time.as_secs_f64(),
            admitted: done.admitted as f64 / checks,
            p50: percentile(&done.latencies, 50),
            p99: percentile(&done.latencies, 99),
            server_us: counters.cpu_us / checks,
            script_us: counters.script_us / checks,
            checks_a_call: if counters.script_calls > 0.0 { checks / counters.script_calls } else { 0.0 },
        }
    }
}
