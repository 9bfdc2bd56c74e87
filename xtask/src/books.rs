//! The books: what was expected, what was found, and whether the two are the same.

use std::fmt::Write as _;

use serde::Serialize;

/// All lines, scene after scene.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Books {
    pub(crate) lines: Vec<Line>,
    pub(crate) figures: Vec<Figure>,
}

/// How they are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// One thing that must hold.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    scene: &'static str,
    what: String,
    expected: String,
    found: String,
    balances: bool,
}

/// One thing that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
}

impl Books {
    /// What must be exactly so.
    pub(crate) fn equal<T: PartialEq + std::fmt::Debug>(
        &mut self,
        scene: &'static str,
        what: &str,
        expected: &T,
        found: &T,
    ) {
        let balances = expected == found;
        self.enter(scene, what, format!("{expected:?}"), format!("{found:?}"), balances);
    }

    /// What must be so by a test of the caller's; `expected` says which.
    pub(crate) fn holds(
        &mut self,
        scene: &'static str,
        what: &str,
        expected: &str,
        found: impl std::fmt::Display,
        holds: bool,
    ) {
        self.enter(scene, what, expected.to_owned(), found.to_string(), holds);
    }

    /// What was measured; nothing depends on it.
    pub(crate) fn figure(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        let figure = Figure { what: what.into(), value, unit };
        eprintln!("        {}: {} {}", figure.what, shown(value), unit);
        self.figures.push(figure);
    }

    fn enter(&mut self, scene: &'static str, what: &str, expected: String, found: String, balances: bool) {
        eprintln!("    {} {what}: {found}", if balances { "ok " } else { "NO " });
        self.lines.push(Line { scene, what: what.to_owned(), expected, found, balances });
    }

    /// Whether all lines balance, and there are any.
    pub(crate) fn balance(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.balances)
    }

    /// As a table for people.
    pub(crate) fn table(&self) -> String {
        let width = |column: fn(&Line) -> usize| self.lines.iter().map(column).max().unwrap_or(0);
        let (scene, what, expected, found) = (
            width(|line| line.scene.len()).max(5),
            width(|line| line.what.len()).max(4),
            width(|line| line.expected.len()).max(8),
            width(|line| line.found.len()).max(5),
        );
        let mut table = format!(
            "{:<scene$}  {:<what$}  {:<expected$}  {:<found$}  balances\n",
            "scene", "what", "expected", "found"
        );
        for line in &self.lines {
            let _ = writeln!(
                table,
                "{:<scene$}  {:<what$}  {:<expected$}  {:<found$}  {}",
                line.scene,
                line.what,
                line.expected,
                line.found,
                if line.balances { "yes" } else { "NO" }
            );
        }
        if !self.figures.is_empty() {
            let what = self.figures.iter().map(|figure| figure.what.len()).max().unwrap_or(0);
            table.push('\n');
            for figure in &self.figures {
                let _ =
                    writeln!(table, "{:<what$}  {:>10} {}", figure.what, shown(figure.value), figure.unit);
            }
        }
        table.push('\n');
        table.push_str(&self.verdict());
        table
    }

    /// All of it in a line.
    fn verdict(&self) -> String {
        match (self.lines.len(), self.lines.iter().filter(|line| !line.balances).count()) {
            (0, _) => "nothing was looked at\n".to_owned(),
            (all, 0) => format!("all {all} books balance\n"),
            (all, wrong) => format!("{wrong} of {all} books do NOT balance\n"),
        }
    }
}

/// Counts as they are; measures to what can be told apart.
fn shown(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_that_does_not_balance_is_enough() {
        let mut books = Books::default();
        assert!(!books.balance(), "nothing was looked at");
        books.equal("limit", "passed", &20, &20);
        assert!(books.balance());
        books.holds("limit", "first refusal", "within 5 s", "6.1 s", false);
        assert!(!books.balance());
        let table = books.table();
        assert!(table.lines().any(|line| line.starts_with("limit") && line.ends_with("NO")), "{table}");
        assert!(table.ends_with("\n1 of 2 books do NOT balance\n"), "{table}");
    }

    #[test]
    fn counts_have_no_fraction() {
        assert_eq!(["11", "0", "36.135", "262"], [11.0, 0.0, 36.1351, 261.7].map(shown)[..]);
    }
}
