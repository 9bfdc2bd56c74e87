//! Commands that documents show exist: verbs of `cargo xtask`, and verbs and options of `valkit`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::markdown::Document;
use crate::{cli, run, workspace};

/// Commands that nothing understands.
pub(crate) fn check(documents: &[Document]) -> Result<Vec<String>> {
    let shown: Vec<Shown> = documents.iter().flat_map(commands).collect();
    let mut found: Vec<String> = shown.iter().filter_map(unknown_chore).collect();
    if shown.iter().any(|shown| shown.words[0] == "valkit") {
        let mut valkit = Program::valkit()?;
        for shown in shown.iter().filter(|shown| shown.words[0] == "valkit") {
            found.extend(fault(shown, &mut |words| valkit.help(words))?);
        }
    }
    Ok(found)
}

/// A command of ours in a document.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    /// `docs/a.md:12`
    place: String,
    words: Vec<String>,
}

/// Our own commands in the shell blocks and code spans of a document.
fn commands(document: &Document) -> Vec<Shown> {
    let mut lines: Vec<(usize, String)> = document.spans();
    for block in &document.blocks {
        if ["sh", "bash", "console", "shell"].contains(&block.language()) {
            lines.extend(joined(&block.lines).into_iter().map(|(offset, line)| (block.line + offset, line)));
        }
    }
    let mut found = Vec::new();
    for (number, line) in lines {
        let line = line.trim().trim_start_matches("$ ");
        let line = line.split(" # ").next().unwrap_or_default();
        for part in line.split(['|', ';', '&']) {
            if let Some(words) = ours(part) {
                found.push(Shown { place: format!("{}:{number}", document.path.display()), words });
            }
        }
    }
    found
}

/// Lines that end in a backslash go on in the next one.
fn joined(lines: &[String]) -> Vec<(usize, String)> {
    let mut joined: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (offset, line) in lines.iter().enumerate() {
        let (text, more) = line.strip_suffix('\\').map_or((line.as_str(), false), |text| (text, true));
        match joined.last_mut() {
            Some((_, last)) if continues => {
                last.push(' ');
                last.push_str(text.trim());
            }
            _ => joined.push((offset, text.to_owned())),
        }
        continues = more;
    }
    joined
}

/// The words of a command of ours: `xtask ...` or `valkit ...`.
fn ours(command: &str) -> Option<Vec<String>> {
    let words: Vec<&str> =
        command.split_whitespace().skip_while(|word| word.contains('=') && !word.starts_with('-')).collect();
    let words = match words[..] {
        ["cargo", "xtask", ..] => &words[1..],
        ["cargo", "run", ..] if words.contains(&"valkit") => {
            &words[words.iter().position(|word| *word == "--")?..]
        }
        ["valkit", _, ..] => &words[..],
        _ => return None,
    };
    let mut words: Vec<String> = words.iter().map(ToString::to_string).collect();
    if words[0] == "--" {
        "valkit".clone_into(&mut words[0]);
    }
    (words.len() > 1).then_some(words)
}

fn unknown_chore(shown: &Shown) -> Option<String> {
    let [program, verb, ..] = &shown.words[..] else { return None };
    let known = program != "xtask" || verb.starts_with(['-', '<', '[']) || cli::verbs().contains(verb);
    (!known).then(|| format!("{}: `cargo xtask {verb}`: no such verb", shown.place))
}

/// Follows the words through the help of each verb; the options must be in the last one.
fn fault(shown: &Shown, help: &mut dyn FnMut(&[String]) -> Result<String>) -> Result<Option<String>> {
    let mut path: Vec<String> = Vec::new();
    let mut text = help(&path)?;
    for word in &shown.words[1..] {
        let verbs = verbs_in(&text);
        if word.starts_with('-') || verbs.is_empty() {
            break;
        }
        // A placeholder stands for any of them.
        if word.starts_with(['<', '[', '…']) || word.chars().all(|c| c.is_ascii_uppercase()) {
            return Ok(None);
        }
        if !verbs.contains(word) {
            return Ok(Some(format!("{}: `{}`: no verb `{word}`", shown.place, shown.words.join(" "))));
        }
        path.push(word.clone());
        text = help(&path)?;
    }
    for option in shown.words.iter().filter(|word| word.starts_with("--") && word.len() > 2) {
        let option = option.split(['=', ']', ',']).next().unwrap_or(option);
        if !text.split(|c: char| !c.is_alphanumeric() && c != '-').any(|known| known == option) {
            return Ok(Some(format!("{}: `{}`: no option `{option}`", shown.place, shown.words.join(" "))));
        }
    }
    Ok(None)
}

/// The names under `Commands:` of a help text.
fn verbs_in(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| line.trim() != "Commands:")
        .skip(1)
        .take_while(|line| !line.trim().is_empty())
        // Long descriptions go on further to the right.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

/// A built program that is asked for its help, once for each verb.
struct Program {
    path: PathBuf,
    known: BTreeMap<Vec<String>, String>,
}

impl Program {
    fn valkit() -> Result<Self> {
        run::run(run::cargo().args(["build", "--locked", "--package", "valkit"]))?;
        Ok(Self { path: workspace::target().join("debug").join("valkit"), known: BTreeMap::new() })
    }

    fn help(&mut self, verbs: &[String]) -> Result<String> {
        if let Some(text) = self.known.get(verbs) {
            return Ok(text.clone());
        }
        let text = run::output(Command::new(&self.path).args(verbs).arg("--help"))?;
        self.known.insert(verbs.to_vec(), text.clone());
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn found(text: &str) -> Vec<String> {
        let document = Document::new(Path::new("a.md"), text);
        commands(&document)
            .into_iter()
            .map(|shown| format!("{} {}", shown.place, shown.words.join(" ")))
            .collect()
    }

    #[test]
    fn commands_are_found_in_blocks_and_spans() {
        let text = "Run `cargo xtask demo`, not `make`.\n```console\n$ A=b valkit send q \\\n    --raw # all of it\nsent 1\n\
                    $ echo x | valkit send q && cargo run -p valkit -- dead ls q\n```\n```text\nvalkit nonsense\n```\n";
        assert_eq!(
            found(text),
            [
                "a.md:1 xtask demo",
                "a.md:3 valkit send q --raw",
                "a.md:6 valkit send q",
                "a.md:6 valkit dead ls q"
            ]
        );
    }

    #[test]
    fn verbs_of_this_program_are_known() {
        let shown = |verb: &str| Shown { place: "a.md:1".to_owned(), words: words(&format!("xtask {verb}")) };
        assert_eq!(unknown_chore(&shown("demo")), None);
        assert_eq!(unknown_chore(&shown("--help")), None);
        assert!(unknown_chore(&shown("dance")).unwrap().contains("a.md:1"));
    }

    /// `valkit` with the verbs `send` and `dead ls`.
    fn help(verbs: &[String]) -> Result<String> {
        Ok(match verbs.join(" ").as_str() {
            "" => "Usage: x\n\nCommands:\n  send  Sends\n          a lot\n  dead  Dead\n\nOptions:\n  -h, --help\n",
            "send" => "Usage: x\n\nOptions:\n      --delay <DELAY>  Later\n      --raw\n",
            "dead" => "Usage: x\n\nCommands:\n  ls\n\nOptions:\n  -h, --help\n",
            "dead ls" => "Usage: x\n\nOptions:\n  -h, --help\n",
            other => anyhow::bail!("nobody asks for {other}"),
        }
        .to_owned())
    }

    fn verdict(command: &str) -> Option<String> {
        fault(&Shown { place: "a.md:1".to_owned(), words: words(command) }, &mut help).unwrap()
    }

    #[test]
    fn verbs_and_options_are_followed() {
        for good in
            ["valkit send q --delay=5s --raw", "valkit dead ls q", "valkit --help", "valkit VERB --what"]
        {
            assert_eq!(verdict(good), None, "{good}");
        }
        for bad in [
            "valkit post q",
            "valkit dead list q",
            "valkit send q --later",
            "valkit send q --del",
            "valkit a",
        ] {
            assert!(verdict(bad).is_some(), "{bad}");
        }
    }
}
