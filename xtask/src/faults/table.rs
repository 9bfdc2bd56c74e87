//! The report as people read it.

use std::fmt::Write as _;
use std::time::Duration;

use super::report::{Line, Report, Sends, Summary};

/// The tables and the summary.
pub(crate) fn text(report: &Report, took: Option<Duration>) -> String {
    let mut text = aligned(
        &["row", "result", "sent", "lost", "twice", "recovery", "seconds", "tests"],
        &report.rows.iter().map(cells).collect::<Vec<_>>(),
        2,
    );
    if !report.sends.is_empty() {
        text.push_str("\nWhat became of the sends, and how many of those that were confirmed are gone:\n\n");
        text.push_str(&aligned(
            &["row", "case", "sent", "confirmed", "unknown", "rejected", "lost", ""],
            &report.sends.iter().map(sends).collect::<Vec<_>>(),
            2,
        ));
    }
    let remarks: Vec<String> = report
        .rows
        .iter()
        .flat_map(|line| line.remarks.iter().map(move |remark| format!("  {}: {remark}\n", line.row)))
        .collect();
    if !remarks.is_empty() {
        let _ = write!(text, "\n{}", remarks.concat());
    }
    let _ = write!(text, "\n{}", summary(&report.summary, took));
    text
}

fn cells(line: &Line) -> Vec<String> {
    let lost = match line.lost {
        Some(lost) if !line.promised => format!("{} as stated", number(Some(lost))),
        lost => number(lost),
    };
    vec![
        line.row.clone(),
        line.result.shown().to_owned(),
        number(line.sent),
        lost,
        number(line.twice),
        line.recovery_ms.map_or_else(none, |ms| format!("{}.{:03} s", ms / 1000, ms % 1000)),
        line.seconds.map_or_else(none, |seconds| format!("{seconds:.1}")),
        line.tests.to_string(),
    ]
}

fn sends(sends: &Sends) -> Vec<String> {
    let promise = if sends.promised { "promised: 0" } else { "as stated" };
    let note = sends.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
    let mut cells = vec![sends.row.clone(), sends.case.clone()];
    cells.extend(
        [sends.sent, sends.confirmed, sends.unknown, sends.rejected, sends.lost].map(|n| number(Some(n))),
    );
    cells.push(format!("{promise}{note}"));
    cells
}

fn summary(summary: &Summary, took: Option<Duration>) -> String {
    let mut text = format!("{} rows: {} green", summary.rows, summary.green);
    for (count, word) in [
        (summary.failed, "failed"),
        (summary.skipped, "skipped"),
        (summary.missing, "not run"),
        (summary.untested, "without a test"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {word}");
        }
    }
    let _ = write!(text, "; {} messages, lost {}", number(Some(summary.sent)), summary.lost);
    if summary.lost_as_stated > 0 {
        let _ = write!(text, " (and {} where the row says so)", number(Some(summary.lost_as_stated)));
    }
    if let Some(took) = took {
        let _ = write!(text, "; {:.0} s", took.as_secs_f64());
    }
    text + "\n"
}

fn none() -> String {
    "-".to_owned()
}

/// With a comma between thousands.
fn number(number: Option<u64>) -> String {
    let Some(number) = number else { return none() };
    let digits = number.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Columns as wide as they need to be; words to the left, from column `numbers` on to the right, but for the last when
/// it has no heading.
pub(crate) fn aligned(headings: &[&str], rows: &[Vec<String>], numbers: usize) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    let heading: Vec<String> = headings.iter().map(ToString::to_string).collect();
    for row in std::iter::once(&heading).chain(rows) {
        let cells =
            row.iter().zip(&widths).zip(headings).enumerate().map(|(at, ((cell, width), heading))| {
                if at < numbers || heading.is_empty() {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::figures::Figure;
    use super::super::report::Report;
    use super::super::report::tests::{case, figure, row};
    use super::super::rows::Promise;
    use super::*;
    use crate::test::Verdict;

    #[test]
    fn the_tables_show_each_row_the_sends_and_the_sum() {
        let kill = row("kill", Promise::NothingLost, &[("a", &[])]);
        let fast = row("failover-fast", Promise::AsStated, &[("b", &["fast"])]);
        let none = row("none", Promise::NothingLost, &[]);
        let figures = [
            figure("a", None, 200_000, 0),
            Figure {
                confirmed: Some(1_850),
                unknown: Some(3),
                note: Some("cut 4 s".into()),
                ..figure("b", Some("fast"), 1_853, 1_462)
            },
        ];
        let passed = Some(&Verdict::Passed);
        let report = Report::new(&[case(&kill, passed), case(&fast, passed), case(&none, passed)], &figures);
        assert_eq!(
            text(&report, Some(Duration::from_secs(12))),
            "\
row            result       sent             lost  twice    recovery  seconds  tests
kill           green     200,000                0      2  2000.000 s      1.5      1
failover-fast  green       1,853  1,462 as stated      2    18.530 s      1.5      1
none           untested        -                -      -           -        -      0

What became of the sends, and how many of those that were confirmed are gone:

row            case   sent  confirmed  unknown  rejected   lost
failover-fast  fast  1,853      1,850        3         0  1,462  as stated; cut 4 s

3 rows: 2 green, 1 without a test; 201,853 messages, lost 0 (and 1,462 where the row says so); 12 s
"
        );
    }

    #[test]
    fn why_a_row_is_not_green_is_said() {
        let kill = row("kill", Promise::NothingLost, &[("a", &[])]);
        let report = Report::new(&[case(&kill, Some(&Verdict::Failed))], &[]);
        let text = text(&report, None);
        assert!(
            text.contains("\n  kill: a failed\n")
                && text.contains("1 rows: 0 green, 1 failed; 0 messages, lost 0\n"),
            "{text}"
        );
    }

    #[test]
    fn thousands_are_told_apart() {
        for (n, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(Some(n)), shown);
        }
    }
}
