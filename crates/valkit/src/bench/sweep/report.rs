//! The medians of all points, as tables and plots.

use std::path::Path;

use serde::Serialize;
use valkey_sender::Durability;

use super::{
    super::{load::Measured, machine::Machine, median, plot::Plot},
    axis::{Axis, Curve},
};
use crate::{failure::Failure, output::Output, table::Column};

#[derive(Serialize)]
pub(super) struct Report {
    machine: Machine,
    durability: String,
    rounds: usize,
    axes: Vec<Table>,
}

/// All measurements along one axis.
pub(super) struct Series {
    axis: Axis,
    points: Vec<Point>,
}

struct Point {
    /// Which of the axis's places it is.
    at: usize,
    place: f64,
    curve: &'static str,
    rounds: Vec<Measured>,
}

#[derive(Serialize)]
struct Table {
    axis: &'static str,
    #[serde(skip)]
    kind: Axis,
    points: Vec<Line>,
}

/// The medians of one point.
#[derive(Clone, Debug, Serialize)]
struct Line {
    place: f64,
    label: String,
    curve: &'static str,
    messages_a_second: f64,
    megabytes_a_second: f64,
    server_cpu_us_a_message: f64,
    round_trips_a_message: f64,
}

// === impl Series ===

impl Series {
    pub(super) fn new(axis: Axis, quick: bool) -> Self {
        let points = axis.curves().iter().flat_map(|curve| {
            axis.places(quick).into_iter().enumerate().map(|(at, place)| Point {
                at,
                place,
                curve: curve.name,
                rounds: Vec::new(),
            })
        });
        Self { axis, points: points.collect() }
    }

    pub(super) const fn axis(&self) -> Axis {
        self.axis
    }

    pub(super) fn add(&mut self, at: usize, curve: &Curve, measured: Measured) {
        let known = self.points.iter_mut().find(|point| point.at == at && point.curve == curve.name);
        if let Some(point) = known {
            point.rounds.push(measured);
        }
    }

    fn table(self) -> Table {
        let axis = self.axis;
        let line = |Point { place, curve, rounds, .. }: Point| {
            let of = |figure: fn(&Measured) -> f64| median(rounds.iter().map(figure));
            let messages_a_second = of(|one| one.messages as f64 / one.time.as_secs_f64());
            Line {
                place,
                label: axis.label(place),
                curve,
                messages_a_second,
                megabytes_a_second: messages_a_second * axis.message_bytes(place) as f64 / 1e6,
                server_cpu_us_a_message: of(|one| one.counters.cpu_us / one.messages as f64),
                round_trips_a_message: of(|one| one.counters.reads / one.messages as f64),
            }
        };
        Table { axis: axis.title(), kind: axis, points: self.points.into_iter().map(line).collect() }
    }
}

// === impl Report ===

impl Report {
    pub(super) fn new(machine: Machine, durability: Durability, rounds: usize, series: Vec<Series>) -> Self {
        let durability = durability.to_string();
        Self { machine, durability, rounds, axes: series.into_iter().map(Series::table).collect() }
    }

    pub(super) fn text(&self, output: &Output) -> String {
        let Self { machine, durability, rounds, .. } = self;
        let mut text = format!("{machine}; {durability} sends; median of {rounds} rounds\n");
        for Table { axis, points: lines, .. } in &self.axes {
            text += "\n";
            text += &output.table(
                &[
                    Column::left("way", |line: &Line| line.curve.to_owned()),
                    Column::right(axis, |line| line.label.clone()),
                    Column::right("messages/s", |line| format!("{:.0}", line.messages_a_second)),
                    Column::right("MB/s", |line| format!("{:.1}", line.megabytes_a_second)),
                    Column::right("server CPU us", |line| format!("{:.2}", line.server_cpu_us_a_message)),
                    Column::right("round trips", |line| format!("{:.4}", line.round_trips_a_message)),
                ],
                lines,
            );
        }
        text
    }

    /// One picture an axis, named after it. Two places make no curve worth drawing.
    pub(super) fn draw(&self, directory: &Path) -> Result<(), Failure> {
        for Table { axis, kind, points: lines } in &self.axes {
            if *kind == Axis::Encryption {
                continue;
            }
            let by_bytes = *kind == Axis::Size;
            let figures = |name: &'static str| {
                let lines = lines.iter().filter(move |line| line.curve == name);
                lines.map(move |line| if by_bytes { line.megabytes_a_second } else { line.messages_a_second })
            };
            let first = kind.curves().first().map_or("", |curve| curve.name);
            let plot = Plot {
                x: kind.unit(),
                y: if by_bytes { "MB/s" } else { "messages/s" },
                places: lines
                    .iter()
                    .filter(|line| line.curve == first)
                    .map(|line| line.label.clone())
                    .collect(),
                curves: kind
                    .curves()
                    .iter()
                    .map(|curve| (curve.name, figures(curve.name).collect()))
                    .collect(),
            };
            plot.save(&directory.join(format!("{axis}.svg")))?;
        }
        Ok(())
    }
}
