//! The Lua scripts: each opens with what it does, lives beside the file that runs it, and uses nothing forbidden.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::workspace;

/// What the comment at the top of a script says, in this order.
const HEADER: [&str; 5] = ["transition", "KEYS", "ARGV", "Returns", "Keeps"];

/// Commands that walk a key of any size, or the whole keyspace, inside the server's only thread.
const FORBIDDEN_COMMANDS: [&str; 6] = ["KEYS", "SCAN", "SSCAN", "HSCAN", "ZSCAN", "LREM"];

/// Modules that scripts leave alone: a foreign message must not be able to fail a script half way.
const FORBIDDEN_MODULES: [&str; 3] = ["cjson", "cmsgpack", "loadstring"];

/// Checks every script of every crate.
pub(crate) fn run() -> Result<()> {
    let files = workspace::files()?;
    let mut found = Vec::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "lua")) {
        let place = path.display();
        found.extend(misplaced(path));
        found.extend(
            violations(&workspace::read(path)?).into_iter().map(|finding| format!("{place}: {finding}")),
        );
        if !included(path, &files)? {
            found.push(format!("{place}: no scripts.rs of its crate includes it"));
        }
    }
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        found.extend(stray_include(path, &workspace::read(path)?));
    }
    workspace::report("lua", &found)
}

/// Scripts are at `crates/X/lua/NAME.lua`.
fn misplaced(path: &Path) -> Option<String> {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    let home = parts.len() == 4 && parts[0] == "crates" && parts[2] == "lua";
    (!home).then(|| format!("{}: scripts live in crates/X/lua/", path.display()))
}

/// Whether a `scripts.rs` of the same crate includes the script.
fn included(script: &Path, files: &[PathBuf]) -> Result<bool> {
    let Some(crate_dir) = script.parent().and_then(Path::parent) else { return Ok(false) };
    let name = format!("lua/{}\"", script.file_name().unwrap_or_default().to_string_lossy());
    for path in files {
        if path.starts_with(crate_dir)
            && path.ends_with("scripts.rs")
            && workspace::read(path)?.contains(&name)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Only `scripts.rs` includes scripts: one place knows their names and arguments. Tests may drive a script by hand.
fn stray_include(path: &Path, text: &str) -> Option<String> {
    if path.ends_with("scripts.rs") || path.iter().any(|part| part == "tests") {
        return None;
    }
    let (number, _) = text
        .lines()
        .enumerate()
        .find(|(_, line)| line.contains(concat!("include", "_str!(")) && line.contains(".lua\""))?;
    Some(format!("{}:{}: only scripts.rs includes a script", path.display(), number + 1))
}

/// What is wrong inside one script.
fn violations(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    if !lines.next().is_some_and(|line| line.starts_with("#!lua")) {
        found.push("the first line is `#!lua`, with its flags".to_owned());
    }
    found.extend(header(lines.take_while(|line| line.starts_with("--"))));

    for (number, line) in text.lines().enumerate().skip(1) {
        let code = line.split("--").next().unwrap_or_default();
        for command in FORBIDDEN_COMMANDS {
            if ['\'', '"']
                .iter()
                .any(|quote| code.to_ascii_uppercase().contains(&format!("{quote}{command}{quote}")))
            {
                found.push(format!("line {}: {command} walks without bound", number + 1));
            }
        }
        for module in FORBIDDEN_MODULES {
            if code.contains(module) {
                found.push(format!("line {}: scripts do not use {module}", number + 1));
            }
        }
    }
    found
}

/// The parts of the opening comment that are missing or out of order.
fn header<'a>(comment: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut expected = HEADER.iter().peekable();
    for line in comment {
        let line = line.trim_start_matches('-').trim_start().to_ascii_lowercase();
        expected.next_if(|word| line.starts_with(&word.to_ascii_lowercase()));
    }
    expected
        .next()
        .map(|word| format!("the opening comment says {}: `{word}` is missing there", HEADER.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "#!lua flags=allow-oom\n-- Transition: waiting -> in flight\n-- KEYS\n--   1 list\n-- ARGV none\n\
                        -- Returns: a number\n-- Keeps: nothing is lost\nlocal n = redis.call('LLEN', KEYS[1])\nreturn n\n";

    #[test]
    fn a_good_script_passes() {
        assert_eq!(violations(GOOD), Vec::<String>::new());
    }

    #[test]
    fn the_first_line_and_each_part_of_the_header_are_needed() {
        assert_eq!(violations(&GOOD.replace("#!lua", "-- lua")).len(), 1);
        for part in ["Transition", "KEYS\n", "ARGV none", "Returns", "Keeps"] {
            let without = GOOD.replacen(&format!("-- {part}"), "-- words", 1);
            assert_eq!(violations(&without).len(), 1, "{part}");
        }
    }

    #[test]
    fn forbidden_commands_are_found_in_any_case_and_quotes() {
        for bad in ["redis.call('KEYS', '*')", "redis.pcall(\"hscan\", k, 0)", "redis.call('lrem', k, 0, v)"]
        {
            assert_eq!(violations(&format!("{GOOD}{bad}\n")).len(), 1, "{bad}");
        }
        assert_eq!(violations(&format!("{GOOD}cjson.decode(x)\n")).len(), 1);
    }

    #[test]
    fn comments_and_the_keys_table_are_not_commands() {
        assert_eq!(
            violations(&format!("{GOOD}local k = KEYS[1] -- not 'SCAN', cjson\n")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn scripts_have_one_home() {
        assert_eq!(misplaced(Path::new("crates/a/lua/b.lua")), None);
        assert!(misplaced(Path::new("crates/a/src/b.lua")).is_some());
        assert!(misplaced(Path::new("lua/b.lua")).is_some());
    }

    #[test]
    fn only_scripts_rs_includes_them() {
        let line = concat!("const A: &str = include", "_str!(\"../lua/a.lua\");");
        assert_eq!(stray_include(Path::new("crates/a/src/scripts.rs"), line), None);
        assert_eq!(stray_include(Path::new("crates/a/tests/by_hand.rs"), line), None);
        assert!(stray_include(Path::new("crates/a/src/lib.rs"), line).is_some());
    }
}
