//! Judges each row by what was heard of its tests and by what they measured.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::figures::Figure;
use super::places::Place;
use super::rows::{Promise, Row};
use crate::test::Verdict;

/// A row with its tests.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) row: &'a Row,
    /// In the order of the row's links.
    pub(crate) tests: Vec<Run>,
}

/// One test of a row, and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) place: Place,
    /// `None`: it was not heard of.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) took: Option<Duration>,
}

/// How a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    Green,
    Failed,
    /// A test was not done, and said why.
    Skipped,
    /// A test was not run, although the row links it.
    Missing,
    /// The row says that nothing tests it.
    Untested,
}

impl Standing {
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Failed => "FAILED",
            Self::Skipped => "SKIPPED",
            Self::Missing => "MISSING",
            Self::Untested => "untested",
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Line {
    pub(crate) row: String,
    pub(crate) result: Standing,
    pub(crate) sent: Option<u64>,
    pub(crate) lost: Option<u64>,
    /// Whether the row promises that nothing is lost.
    pub(crate) promised: bool,
    pub(crate) twice: Option<u64>,
    pub(crate) recovery_ms: Option<u64>,
    pub(crate) seconds: Option<f32>,
    pub(crate) tests: usize,
    /// Why it is not green.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remarks: Vec<String>,
}

/// What became of the sends of one case: a line of the table of loss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Sends {
    pub(crate) row: String,
    pub(crate) case: String,
    pub(crate) sent: u64,
    pub(crate) confirmed: u64,
    pub(crate) unknown: u64,
    pub(crate) rejected: u64,
    /// Of those confirmed.
    pub(crate) lost: u64,
    pub(crate) promised: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// The books of all rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) rows: usize,
    pub(crate) green: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    pub(crate) missing: usize,
    pub(crate) untested: usize,
    /// Messages of all tests, each counted once.
    pub(crate) sent: u64,
    /// Lost where that was promised not to happen.
    pub(crate) lost: u64,
    /// Lost where the row says so.
    pub(crate) lost_as_stated: u64,
}

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Line>,
    pub(crate) sends: Vec<Sends>,
    pub(crate) summary: Summary,
}

impl Report {
    pub(crate) fn new(cases: &[Case<'_>], figures: &[Figure]) -> Self {
        let mut report = Self { rows: Vec::new(), sends: Vec::new(), summary: Summary::default() };
        let (mut counted, mut shown) = (BTreeSet::new(), BTreeSet::new());
        // Rows that promise come first in the books: what both kinds count is held to the promise.
        let mut order: Vec<&Case<'_>> = cases.iter().collect();
        order.sort_by_key(|case| case.row.promise == Promise::AsStated);
        for case in order {
            let promised = case.row.promise == Promise::NothingLost;
            for index in meant(case, figures) {
                let figure = &figures[index];
                if counted.insert(index) {
                    report.summary.sent += figure.sent.unwrap_or(0);
                    let lost = figure.lost.unwrap_or(0);
                    if promised {
                        report.summary.lost += lost;
                    } else {
                        report.summary.lost_as_stated += lost;
                    }
                }
            }
        }
        for case in cases {
            let meant = meant(case, figures);
            report.sends.extend(
                meant
                    .iter()
                    .filter(|index| shown.insert(**index))
                    .filter_map(|index| sends(case.row, &figures[*index])),
            );
            let figures: Vec<&Figure> = meant.iter().map(|index| &figures[*index]).collect();
            report.rows.push(line(case, &figures));
        }
        report.count();
        report
    }

    fn count(&mut self) {
        let of = |standing| self.rows.iter().filter(|line| line.result == standing).count();
        self.summary = Summary {
            rows: self.rows.len(),
            green: of(Standing::Green),
            failed: of(Standing::Failed),
            skipped: of(Standing::Skipped),
            missing: of(Standing::Missing),
            untested: of(Standing::Untested),
            ..self.summary.clone()
        };
    }

    /// Whether every promise was seen to be kept. A row that says that nothing tests it does not count.
    pub(crate) fn is_green(&self) -> bool {
        let Summary { failed, skipped, missing, lost, .. } = self.summary;
        failed + skipped + missing == 0 && lost == 0
    }

    /// Whether no promise was seen to be broken: what did not run says nothing.
    pub(crate) fn is_unbroken(&self) -> bool {
        self.summary.failed == 0 && self.summary.lost == 0
    }
}

/// The figures that the row is about: those of its tests, less cases that it does not name.
fn meant(case: &Case<'_>, figures: &[Figure]) -> Vec<usize> {
    let belongs = |figure: &Figure| {
        case.tests.iter().zip(&case.row.links).any(|(run, link)| {
            figure.package == run.place.program.package
                && run.place.is(&figure.test)
                && figure.case.as_ref().is_none_or(|name| link.cases.is_empty() || link.cases.contains(name))
        })
    };
    (0..figures.len()).filter(|index| belongs(&figures[*index])).collect()
}

fn line(case: &Case<'_>, figures: &[&Figure]) -> Line {
    let row = case.row;
    let promised = row.promise == Promise::NothingLost;
    let sum =
        |of: fn(&Figure) -> Option<u64>| figures.iter().filter_map(|figure| of(figure)).reduce(|a, b| a + b);
    let lost = sum(|figure| figure.lost);
    let mut remarks = Vec::new();
    let mut result = if row.links.is_empty() { Standing::Untested } else { Standing::Green };
    let mut worse = |standing: Standing, remark: String| {
        let rank = |standing| match standing {
            Standing::Failed => 3,
            Standing::Missing => 2,
            Standing::Skipped => 1,
            Standing::Green | Standing::Untested => 0,
        };
        if rank(standing) > rank(result) {
            result = standing;
        }
        remarks.push(remark);
    };
    for (run, link) in case.tests.iter().zip(&row.links) {
        let test = &link.test;
        match &run.verdict {
            Some(Verdict::Passed) => {
                let told = |name: &String| {
                    figures
                        .iter()
                        .any(|figure| run.place.is(&figure.test) && figure.case.as_ref() == Some(name))
                };
                for name in link.cases.iter().filter(|name| !told(name)) {
                    worse(Standing::Failed, format!("{test} told no figures for the case `{name}`"));
                }
            }
            Some(Verdict::Failed) => worse(Standing::Failed, format!("{test} failed")),
            Some(Verdict::Skipped(why)) => worse(Standing::Skipped, format!("{test} was skipped: {why}")),
            None => worse(Standing::Missing, format!("{test} did not run")),
        }
    }
    if promised && lost.is_some_and(|lost| lost > 0) {
        worse(Standing::Failed, format!("lost {}, and promised is 0", lost.unwrap_or(0)));
    }
    let took: Vec<Duration> = case.tests.iter().filter_map(|run| run.took).collect();
    Line {
        row: row.name.clone(),
        result,
        sent: sum(|figure| figure.sent),
        lost,
        promised,
        twice: sum(|figure| figure.twice),
        recovery_ms: figures.iter().filter_map(|figure| figure.recovery_ms).max(),
        seconds: (!took.is_empty()).then(|| took.iter().sum::<Duration>().as_secs_f32()),
        tests: case.tests.len(),
        remarks,
    }
}

/// Figures of a case that tells which sends were answered with a promise.
fn sends(row: &Row, figure: &Figure) -> Option<Sends> {
    Some(Sends {
        row: row.name.clone(),
        case: figure.case.clone()?,
        sent: figure.sent.unwrap_or(0),
        confirmed: figure.confirmed?,
        unknown: figure.unknown.unwrap_or(0),
        rejected: figure.rejected.unwrap_or(0),
        lost: figure.lost.unwrap_or(0),
        promised: row.promise == Promise::NothingLost,
        note: figure.note.clone(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::places::{Kind, Program};
    use super::super::rows::Link;
    use super::*;

    pub(in crate::faults) fn row(name: &str, promise: Promise, links: &[(&str, &[&str])]) -> Row {
        let links = links
            .iter()
            .map(|(test, cases)| Link {
                test: (*test).to_owned(),
                file: "crates/p/tests/t.rs".into(),
                cases: cases.iter().map(ToString::to_string).collect(),
            })
            .collect();
        Row { name: name.to_owned(), fault: "it dies".to_owned(), promise, links, line: 1 }
    }

    pub(in crate::faults) fn case<'a>(row: &'a Row, verdict: Option<&Verdict>) -> Case<'a> {
        let program = Program { package: "p".to_owned(), kind: Kind::Test, name: "t".to_owned() };
        let run = |link: &Link| Run {
            place: Place { program: program.clone(), module: String::new(), function: link.test.clone() },
            verdict: verdict.cloned(),
            took: Some(Duration::from_millis(1500)),
        };
        Case { row, tests: row.links.iter().map(run).collect() }
    }

    pub(in crate::faults) fn figure(test: &str, case: Option<&str>, sent: u64, lost: u64) -> Figure {
        Figure {
            package: "p".to_owned(),
            test: test.to_owned(),
            case: case.map(str::to_owned),
            sent: Some(sent),
            lost: Some(lost),
            twice: Some(2),
            recovery_ms: Some(sent * 10),
            ..Figure::default()
        }
    }

    const PASSED: Option<&Verdict> = Some(&Verdict::Passed);

    #[test]
    fn figures_of_a_rows_tests_add_up_and_the_slowest_recovery_counts() {
        let row = row("kill", Promise::NothingLost, &[("a", &[]), ("b", &[])]);
        let figures = [
            figure("a", None, 10, 0),
            figure("b", Some("x"), 5, 0),
            figure("c", None, 100, 1),
            figure("b", None, 1, 0),
        ];
        let report = Report::new(&[case(&row, PASSED)], &figures);
        let line = &report.rows[0];
        assert_eq!(
            (line.sent, line.lost, line.twice, line.recovery_ms),
            (Some(16), Some(0), Some(6), Some(100))
        );
        assert_eq!((line.result, line.tests, line.seconds), (Standing::Green, 2, Some(3.0)));
        assert!(report.is_green() && report.is_unbroken());
    }

    #[test]
    fn a_row_with_a_case_has_its_figures_and_those_of_the_whole_test() {
        let safe = row("safe", Promise::NothingLost, &[("a", &["replicated"])]);
        let fast = row("fast", Promise::AsStated, &[("a", &["fast"])]);
        let figures = [
            figure("a", None, 100, 0),
            figure("a", Some("replicated"), 10, 0),
            figure("a", Some("fast"), 20, 7),
        ];
        let report = Report::new(&[case(&fast, PASSED), case(&safe, PASSED)], &figures);
        assert_eq!((report.rows[0].sent, report.rows[0].lost), (Some(120), Some(7)));
        assert_eq!((report.rows[1].sent, report.rows[1].lost), (Some(110), Some(0)));
        // Each figure once, and what is lost as stated breaks nothing.
        let Summary { sent, lost, lost_as_stated, .. } = report.summary;
        assert_eq!((sent, lost, lost_as_stated), (130, 0, 7));
        assert!(report.is_green());
    }

    #[test]
    fn whatever_is_not_seen_to_hold_is_not_green() {
        let skipped = Verdict::Skipped("no Docker".to_owned());
        for (verdict, figures, standing, remark) in [
            (Some(&Verdict::Failed), vec![], Standing::Failed, "a failed"),
            (Some(&skipped), vec![], Standing::Skipped, "no Docker"),
            (None, vec![], Standing::Missing, "did not run"),
            (PASSED, vec![], Standing::Failed, "no figures for the case `x`"),
            (PASSED, vec![figure("a", Some("x"), 9, 1)], Standing::Failed, "lost 1"),
            (PASSED, vec![figure("a", Some("x"), 9, 0), figure("a", None, 9, 2)], Standing::Failed, "lost 2"),
        ] {
            let row = row("kill", Promise::NothingLost, &[("a", &["x"])]);
            let report = Report::new(&[case(&row, verdict)], &figures);
            assert_eq!(report.rows[0].result, standing, "{remark}");
            assert!(report.rows[0].remarks[0].contains(remark), "{:?}", report.rows[0].remarks);
            assert!(!report.is_green());
            assert_eq!(report.is_unbroken(), standing != Standing::Failed, "{remark}");
        }
    }

    #[test]
    fn a_row_without_tests_says_so_and_passes() {
        let row = row("power", Promise::NothingLost, &[]);
        let report = Report::new(&[case(&row, None)], &[]);
        assert_eq!((report.rows[0].result, report.summary.untested), (Standing::Untested, 1));
        assert!(report.is_green());
    }

    #[test]
    fn cases_with_confirmed_sends_make_the_table_of_loss() {
        let row = row("failover", Promise::AsStated, &[("a", &[])]);
        let fast = Figure { confirmed: Some(8), unknown: Some(2), ..figure("a", Some("fast"), 10, 3) };
        let report = Report::new(&[case(&row, PASSED), case(&row, PASSED)], &[fast, figure("a", None, 1, 0)]);
        assert_eq!(report.sends.len(), 1, "once, however many rows link it");
        let sends = &report.sends[0];
        assert_eq!(
            (sends.sent, sends.confirmed, sends.unknown, sends.rejected, sends.lost),
            (10, 8, 2, 0, 3)
        );
        assert!(!sends.promised);
    }
}
