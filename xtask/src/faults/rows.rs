//! The tables of faults in the guarantees, as data.
//!
//! A table counts as one of faults when its first column is headed `row`. Its cells in that column are names in code
//! spans; the column `lost` begins with `0`, which is a promise, or with `as stated`, which is none; the column `test`
//! links test functions: [`name`][reference]. Behind a link, `case` and names in code spans say which of the test's
//! figures are meant.

use std::path::{Path, PathBuf};

use crate::docs::{Document, resolve};

/// A fault, and what shows that the promise about it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// The first cell behind the name, in words.
    pub(crate) fault: String,
    pub(crate) promise: Promise,
    pub(crate) links: Vec<Link>,
    /// Its line in the document.
    pub(crate) line: usize,
}

/// What is said about loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    NothingLost,
    /// The row says what is lost.
    AsStated,
}

/// A link to a test function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) test: String,
    /// From the root.
    pub(crate) file: PathBuf,
    /// The figures meant; all when none is named.
    pub(crate) cases: Vec<String>,
}

/// The rows of a document and what is wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Row>,
    pub(crate) findings: Vec<String>,
}

impl Rows {
    /// Reads every table of faults.
    pub(crate) fn of(document: &Document) -> Self {
        let mut found = Self::default();
        let mut columns: Option<Columns> = None;
        let mut inside = false;
        let mut last = 0;
        for (number, line) in &document.prose {
            let starts = line.starts_with('|') && (!inside || *number != last + 1);
            inside = line.starts_with('|');
            last = *number;
            if !inside {
                columns = None;
            } else if starts {
                columns = match Columns::of(&cells(line)) {
                    Ok(columns) => columns,
                    Err(missing) => {
                        found.find(document, *number, format_args!("a table of faults without `{missing}`"));
                        None
                    }
                };
            } else if let Some(columns) = &columns
                && !line.starts_with("|--")
            {
                found.row(document, *number, &cells(line), columns);
            }
        }
        found
    }

    fn row(&mut self, document: &Document, line: usize, cells: &[String], columns: &Columns) {
        let cell = |column: usize| cells.get(column).map(String::as_str).unwrap_or_default();
        let name = cell(0).trim_matches('`').to_owned();
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !cell(0).starts_with('`') || name.is_empty() || !name.chars().all(fine) {
            self.find(
                document,
                line,
                format_args!("`{name}` is no name of a row: small letters, digits and `-` in backquotes"),
            );
        }
        if let Some(other) = self.rows.iter().find(|row| row.name == name) {
            let other = other.line;
            self.find(document, line, format_args!("the row `{name}` is there already, in line {other}"));
        }
        let lost = cell(columns.lost);
        let promise = if lost.starts_with('0') { Promise::NothingLost } else { Promise::AsStated };
        if promise == Promise::AsStated && !lost.starts_with("as stated") {
            self.find(
                document,
                line,
                format_args!("`{name}`: what is lost begins with `0` or with `as stated`"),
            );
        }
        let tests = cell(columns.test);
        let links = links(document, tests);
        if links.is_empty() && !tests.contains("not tested") {
            self.find(
                document,
                line,
                format_args!("`{name}` links no test, and does not say that it is not tested"),
            );
        }
        self.rows.push(Row { name, fault: plain(cell(1)), promise, links, line });
    }

    fn find(&mut self, document: &Document, line: usize, what: std::fmt::Arguments<'_>) {
        self.findings.push(format!("{}:{line}: {what}", document.path.display()));
    }
}

/// Where in a row the cells are that count.
#[derive(Debug)]
struct Columns {
    lost: usize,
    test: usize,
}

impl Columns {
    /// `None` for a table of something else; the heading that is missing in one of faults.
    fn of(headings: &[String]) -> Result<Option<Self>, &'static str> {
        if headings.first().map(String::as_str) != Some("row") {
            return Ok(None);
        }
        let at = |name: &'static str| headings.iter().position(|heading| heading == name).ok_or(name);
        Ok(Some(Self { lost: at("lost")?, test: at("test")? }))
    }
}

/// Every link to a test function in the document, with its line.
pub(crate) fn all_links(document: &Document) -> Vec<(usize, Link)> {
    let lines = document.prose.iter();
    lines.flat_map(|(line, text)| links(document, text).into_iter().map(|link| (*line, link))).collect()
}

/// The links to Rust files: [`name`][reference].
fn links(document: &Document, text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once("[`") {
        rest = behind;
        let Some((name, behind)) = behind.split_once("`][") else { break };
        let Some((reference, behind)) = behind.split_once(']') else { break };
        if name.contains(['`', '[']) {
            continue;
        }
        rest = behind;
        let Some(file) = target(document, reference) else { continue };
        if file.extension().is_some_and(|extension| extension == "rs") {
            let until_next = behind.split("[`").next().unwrap_or_default();
            found.push(Link { test: name.to_owned(), file, cases: cases(until_next) });
        }
    }
    found
}

/// The code spans behind the word `case`.
fn cases(text: &str) -> Vec<String> {
    let Some((_, named)) = text.split_once("case") else { return Vec::new() };
    named.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The path that `[reference]: path` gives, from the root.
fn target(document: &Document, reference: &str) -> Option<PathBuf> {
    let opening = format!("[{reference}]: ");
    let path = document.prose.iter().find_map(|(_, line)| line.strip_prefix(&opening))?;
    Some(resolve(&document.path, path.trim()))
}

/// Cells of a line of a table; `\|` is no border.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|').trim_end_matches('|').replace("\\|", "\u{0}");
    line.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

/// The cell without the marks of code and links.
fn plain(cell: &str) -> String {
    let mut text = String::new();
    let mut rest = cell;
    while let Some((before, behind)) = rest.split_once("](") {
        text.push_str(before);
        rest = behind.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    text.replace(['`', '['], "")
}

/// Whether the Rust source has a test function of that name.
pub(crate) fn has_test(source: &str, name: &str) -> bool {
    let opening = format!("fn {name}(");
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let Some(before) = line.strip_suffix('{').unwrap_or(line).split(&opening).next() else {
            return false;
        };
        line.contains(&opening)
            && ["", "async ", "pub ", "pub async "].contains(&before)
            && lines[..at]
                .iter()
                .rev()
                .take_while(|line| !line.is_empty() && !line.ends_with(['}', ';']))
                .any(|line| {
                    line.starts_with("#[test]") || (line.starts_with("#[") && line.contains("::test"))
                })
    })
}

/// What is wrong with the rows, and with every other link of the document that leads to a test.
pub(crate) fn check(document: &Document, read: impl Fn(&Path) -> anyhow::Result<String>) -> Vec<String> {
    let Rows { rows, mut findings } = Rows::of(document);
    if rows.is_empty() {
        findings.push(format!("{}: no table of faults", document.path.display()));
    }
    for (line, link) in all_links(document) {
        // That the file is there is checked with the other links.
        let Ok(source) = read(&link.file) else { continue };
        if !has_test(&source, &link.test) {
            findings.push(format!(
                "{}:{line}: no test `{}` in {}",
                document.path.display(),
                link.test,
                link.file.display()
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Promises
| row | fault | lost | test |
|---|---|---|---|
| `kill` | killed in a [`handler`](a.md) | 0 | [`dies`][kill], [`lives`][unit] |
| `failover-fast` | failover, `fast` | as stated: the tail | [`moves`][kill] case `fast`, `again`; [`dies`][kill] |
| `power` | power cut | 0 | not tested yet |

| promise | test |
|---|---|
| order | [`ordered`][kill] |

[kill]: ../crates/a/tests/kill.rs
[unit]: ../crates/a/src/lease.rs
[page]: page.md
";

    fn rows(text: &str) -> Rows {
        Rows::of(&Document::new(Path::new("docs/g.md"), text))
    }

    fn link(test: &str, file: &str, cases: &[&str]) -> Link {
        let cases = cases.iter().map(ToString::to_string).collect();
        Link { test: test.to_owned(), file: file.into(), cases }
    }

    #[test]
    fn rows_are_read_with_their_tests_and_cases() {
        let Rows { rows, findings } = rows(TEXT);
        assert_eq!(findings, [""; 0]);
        let names: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.promise, row.line)).collect();
        assert_eq!(
            names,
            [
                ("kill", Promise::NothingLost, 4),
                ("failover-fast", Promise::AsStated, 5),
                ("power", Promise::NothingLost, 6)
            ]
        );
        assert_eq!(rows[0].fault, "killed in a handler");
        assert_eq!(
            rows[0].links,
            [link("dies", "crates/a/tests/kill.rs", &[]), link("lives", "crates/a/src/lease.rs", &[])]
        );
        assert_eq!(
            rows[1].links,
            [
                link("moves", "crates/a/tests/kill.rs", &["fast", "again"]),
                link("dies", "crates/a/tests/kill.rs", &[])
            ]
        );
        assert_eq!(rows[2].links, []);
    }

    #[test]
    fn a_row_that_is_not_clear_is_found() {
        let row = "| `kill` | killed | 0 | [`dies`][kill] |";
        for (bad, finding) in [
            ("| kill | killed | 0 | [`dies`][kill] |", "no name"),
            ("| `Kill 9` | killed | 0 | [`dies`][kill] |", "no name"),
            ("| `kill` | killed | nothing much | [`dies`][kill] |", "begins with"),
            ("| `kill` | killed | 0 | the same |", "links no test"),
            ("| `kill` | killed | 0 | [`dies`][nowhere] |", "links no test"),
            ("| `kill` | killed | 0 | [`dies`][page] |", "links no test"),
            ("| `power` | killed | 0 | [`dies`][kill] |", "there already"),
        ] {
            let text = TEXT.replace(
                "| `kill` | killed in a [`handler`](a.md) | 0 | [`dies`][kill], [`lives`][unit] |",
                bad,
            );
            let findings = rows(&text).findings;
            assert!(findings.len() == 1 && findings[0].contains(finding), "{bad}: {findings:?}");
        }
        let findings = rows(&format!("| row | fault | test |\n|---|---|---|\n{row}\n")).findings;
        assert!(findings[0].contains("without `lost`"), "{findings:?}");
    }

    #[test]
    fn a_link_to_a_test_that_is_not_there_is_found() {
        let document = Document::new(Path::new("docs/g.md"), TEXT);
        let read = |path: &Path| {
            Ok(if path.ends_with("kill.rs") {
                "#[test]\nfn dies() {}\n\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn moves() {\n}\nfn ordered() {}\n"
            } else {
                "mod tests {\n    #[test]\n    fn lives() {}\n}\n"
            }
            .to_owned())
        };
        assert_eq!(check(&document, read), ["docs/g.md:10: no test `ordered` in crates/a/tests/kill.rs"]);
    }

    #[test]
    fn a_test_is_told_from_what_only_has_its_name() {
        let source = "/// Not #[test].\nfn a() {}\n#[test]\nfn b() {}\nfn c() {}\n#[test]\n#[should_panic]\nfn d() {}\n// fn e()\nlet f = c();\n\
                      proptest! {\n    #[test]\n    fn g(x in 0..9) {\n";
        for (name, expected) in
            [("a", false), ("b", true), ("c", false), ("d", true), ("e", false), ("f", false), ("g", true)]
        {
            assert_eq!(has_test(source, name), expected, "{name}");
        }
    }

    #[test]
    fn borders_can_be_escaped() {
        assert_eq!(cells(r"| a \| b | c |"), ["a | b", "c"]);
    }
}
