//! The fault matrix: every test that the guarantees link to a fault is run, and what it measured becomes a table.

mod display;
mod figures;
mod places;
mod programs;
mod report;
mod rows;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::docs::Document;
use crate::metadata::{self, Package};
use crate::test::{self, Heard};
use crate::{setup, workspace};
use display::Display;
use figures::{Directory, Figure};
use places::{Place, Program};
use programs::{Built, Event, Runner};
use report::{Case, Report, Run, Standing};
use rows::{Row, Rows};

pub(crate) use table::aligned;

/// Where the rows are.
const GUARANTEES: &str = "docs/guarantees.md";

/// Tests of one program that run at the same time, at least. On one thread they would not run on a thread of their own.
const LEAST_THREADS: usize = 2;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Only these rows of docs/guarantees.md: a name, or how names begin, as `kill` in `kill-handling`
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// Longer sweeps and outages: a million messages and more
    #[arg(long)]
    long: bool,
    /// Only list the rows
    #[arg(long)]
    list: bool,
    /// How the result is written to standard output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Agree to installing Valkey with apt, which may add a Debian source
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
}

/// Runs the tests of the rows. The exit status is 0 only if all are green and nothing was lost against a promise.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    let matrix = Matrix::read()?;
    let chosen = matrix.choose(&args.rows)?;
    if args.list {
        list(&chosen, args.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let valkey = test::valkey(args.yes)?;
    let wanted: BTreeSet<&Place> = chosen.iter().flat_map(|(_, places)| places).collect();
    let programs: BTreeSet<&Program> = wanted.iter().map(|place| &place.program).collect();
    let built = programs::build(&programs, &matrix.packages)?;

    let figures = Directory::new()?;
    let logs = workspace::target().join("faults");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let environment = |command: &mut Command| {
        valkey.offer_to(command);
        command.env(figures::VARIABLE, figures.path());
        if args.long {
            command.env("VALKIT_LONG", "1");
        }
    };
    let threads = std::thread::available_parallelism().map_or(LEAST_THREADS, |n| n.get().max(LEAST_THREADS));
    let runner = Runner { environment: &environment, threads, logs };
    let mut books = Books { chosen: &chosen, ..Books::default() };
    let mut display = Display::new(wanted.len(), chosen.len());
    let outcome = programs.iter().try_for_each(|program| {
        let Some(built) = built.get(*program) else { return Ok(()) };
        books.run(program, built, &runner, &figures, &mut display)
    });
    display.end();
    if matches!(valkey, setup::Valkey::Image { .. }) {
        test::remove_leftovers();
    }
    outcome?;
    let report = Report::new(&books.cases(), &figures.figures()?);
    match args.output {
        Output::Table => print!("\n{}", table::text(&report, Some(started.elapsed()))),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(if report.is_green() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The table of a run of all tests, which has run them already.
#[derive(Debug)]
pub(crate) struct Afterwards {
    matrix: Matrix,
    built: BTreeMap<Program, Built>,
    figures: Directory,
}

impl Afterwards {
    /// Builds all tests, so that it is known which program is whose.
    pub(crate) fn prepare() -> Result<Self> {
        let matrix = Matrix::read()?;
        let built = programs::build(&BTreeSet::new(), &matrix.packages)?;
        Ok(Self { matrix, built, figures: Directory::new()? })
    }

    /// Tells the tests where to write what they measure.
    pub(crate) fn environment(&self, command: &mut Command) {
        command.env(figures::VARIABLE, self.figures.path());
    }

    /// The table, and whether no promise was seen to be broken.
    pub(crate) fn table(&self, heard: &Heard) -> Result<(String, bool)> {
        let chosen = self.matrix.choose(&[])?;
        let mut books = Books { chosen: &chosen, ..Books::default() };
        for (program, built) in &self.built {
            books.hear(program, built, heard);
        }
        let report = Report::new(&books.cases(), &self.figures.figures()?);
        Ok((table::text(&report, None), report.is_unbroken()))
    }
}

/// What is wrong with the rows and with other links to tests in the guarantees.
pub(crate) fn check(documents: &[Document]) -> Result<Vec<String>> {
    let Some(document) = documents.iter().find(|document| document.path == Path::new(GUARANTEES)) else {
        bail!("there is no {GUARANTEES}");
    };
    let mut findings = rows::check(document, workspace::read);
    if findings.is_empty() {
        let packages = metadata::packages()?;
        for row in Rows::of(document).rows {
            for link in &row.links {
                if let Err(error) = Place::of(link, &packages, &workspace::root()) {
                    findings.push(format!("{GUARANTEES}:{}: {error:#}", row.line));
                }
            }
        }
    }
    Ok(findings)
}

/// The rows of the guarantees, and the crates that their tests are in.
#[derive(Debug)]
struct Matrix {
    rows: Vec<Row>,
    packages: Vec<Package>,
}

/// A row, and where the tests are that it links.
type Chosen<'a> = (&'a Row, Vec<Place>);

impl Matrix {
    fn read() -> Result<Self> {
        let path = Path::new(GUARANTEES);
        let document = Document::new(path, &workspace::read(path)?);
        let findings = rows::check(&document, workspace::read);
        if !findings.is_empty() {
            bail!("the rows are not in order:\n  {}", findings.join("\n  "));
        }
        Ok(Self { rows: Rows::of(&document).rows, packages: metadata::packages()? })
    }

    /// The rows of these names or with names that begin so; all without any.
    fn choose(&self, names: &[String]) -> Result<Vec<Chosen<'_>>> {
        let root = workspace::root();
        let mut chosen = Vec::new();
        if let Some(unknown) = names.iter().find(|name| !self.rows.iter().any(|row| is_meant(row, name))) {
            bail!("no row `{unknown}`; `cargo xtask faults --list` shows them");
        }
        for row in &self.rows {
            if names.is_empty() || names.iter().any(|name| is_meant(row, name)) {
                let links = row.links.iter();
                let places =
                    links.map(|link| Place::of(link, &self.packages, &root)).collect::<Result<_>>()?;
                chosen.push((row, places));
            }
        }
        Ok(chosen)
    }
}

/// `kill` means `kill` and `kill-in-handler`, not `killed`.
fn is_meant(row: &Row, name: &str) -> bool {
    row.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// What is known of the tests so far.
#[derive(Debug, Default)]
struct Books<'a> {
    chosen: &'a [Chosen<'a>],
    runs: BTreeMap<Place, Run>,
    told: BTreeSet<&'a str>,
}

impl<'a> Books<'a> {
    /// Runs those tests of the program that rows link.
    fn run(
        &mut self,
        program: &Program,
        built: &Built,
        runner: &Runner<'_>,
        figures: &Directory,
        display: &mut Display,
    ) -> Result<()> {
        let all = runner.names(program, built)?;
        let mut names: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for place in self.places_in(program) {
            match &all.iter().filter(|name| place.is(name)).collect::<Vec<_>>()[..] {
                [name] => names.entry((*name).clone()).or_default().push(place),
                // It was there in the source: left out by a condition, which the table tells.
                [] => {}
                several => bail!("{program} has more than one test `{}`: {several:?}", place.function),
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        let mut heard = Heard::default();
        let mut took: BTreeMap<String, Duration> = BTreeMap::new();
        display.program(program);
        let only: BTreeSet<String> = names.keys().cloned().collect();
        let log = runner.run(program, built, &only, &mut heard, &mut |event| match event {
            Event::Ended(name, time) => {
                took.insert(name.to_owned(), time);
                display.ended();
            }
            Event::Progress(text) => display.progress(text),
            Event::Silence(time) => display.silence(time),
            Event::Tick => display.tick(),
        })?;
        self.hear(program, built, &heard);
        for (name, places) in &names {
            for place in places {
                if let Some(run) = self.runs.get_mut(place) {
                    run.took = took.get(name).copied();
                }
            }
        }
        self.tell(&figures.figures()?, display);
        let passed =
            heard.of(&built.path).iter().filter(|(_, verdict)| *verdict != test::Verdict::Failed).count();
        if passed < only.len() {
            display.say(&format!("{}\nall of it: {}", programs::failures(&log), log.display()));
        }
        Ok(())
    }

    fn places_in(&self, program: &Program) -> BTreeSet<Place> {
        let places = self.chosen.iter().flat_map(|(_, places)| places);
        places.filter(|place| place.program == *program).cloned().collect()
    }

    /// Notes what the program said of its tests.
    fn hear(&mut self, program: &Program, built: &Built, heard: &Heard) {
        let verdicts = heard.of(&built.path);
        for place in self.places_in(program) {
            let verdict =
                verdicts.iter().find(|(name, _)| place.is(name)).map(|(_, verdict)| verdict.clone());
            self.runs.insert(place.clone(), Run { place, verdict, took: None });
        }
    }

    /// Shows the rows that are through now.
    fn tell(&mut self, figures: &[Figure], display: &mut Display) {
        for case in self.cases() {
            let through = case.tests.iter().all(|run| self.runs.contains_key(&run.place));
            if through && !case.tests.is_empty() && self.told.insert(&case.row.name) {
                let report = Report::new(&[case], figures);
                report.rows.iter().for_each(|line| display.row(line));
            }
        }
    }

    fn cases(&self) -> Vec<Case<'a>> {
        let case = |(row, places): &'a Chosen<'a>| {
            let run = |place: &Place| {
                let unheard = || Run { place: place.clone(), verdict: None, took: None };
                self.runs.get(place).cloned().unwrap_or_else(unheard)
            };
            Case { row, tests: places.iter().map(run).collect() }
        };
        self.chosen.iter().map(case).collect()
    }
}

fn list(chosen: &[Chosen<'_>], output: Output) -> Result<()> {
    let standing = |row: &Row| if row.links.is_empty() { Standing::Untested.shown() } else { "" };
    match output {
        Output::Table => {
            let cells = |(row, _): &Chosen<'_>| {
                vec![
                    row.name.clone(),
                    row.fault.clone(),
                    row.links.len().to_string(),
                    standing(row).to_owned(),
                ]
            };
            let rows: Vec<Vec<String>> = chosen.iter().map(cells).collect();
            print!("{}", aligned(&["row", "fault", "tests", ""], &rows, 2));
        }
        Output::Json => {
            let row = |(row, _): &Chosen<'_>| {
                let tests: Vec<&str> = row.links.iter().map(|link| link.test.as_str()).collect();
                serde_json::json!({ "row": row.name, "fault": row.fault, "tests": tests })
            };
            let rows: Vec<_> = chosen.iter().map(row).collect();
            println!("{}", serde_json::to_string_pretty(&rows)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::report::tests::row;
    use super::rows::Promise;
    use super::*;

    #[test]
    fn a_name_means_rows_that_begin_with_it() {
        let row = row("kill-in-handler", Promise::NothingLost, &[]);
        for (name, meant) in
            [("kill", true), ("kill-in-handler", true), ("kil", false), ("in-handler", false)]
        {
            assert_eq!(is_meant(&row, name), meant, "{name}");
        }
    }

    #[test]
    fn a_row_nobody_knows_is_an_error_and_not_an_empty_run() {
        let matrix = Matrix {
            rows: vec![row("kill", Promise::NothingLost, &[]), row("stop", Promise::NothingLost, &[])],
            packages: Vec::new(),
        };
        let error = matrix.choose(&["kill".to_owned(), "cure".to_owned()]).map(|rows| rows.len());
        assert!(error.is_err_and(|error| error.to_string().contains("`cure`")));
        assert!(matrix.choose(&["stop".to_owned()]).is_ok_and(|rows| rows.len() == 1));
        assert!(matrix.choose(&[]).is_ok_and(|rows| rows.len() == 2));
    }
}
