//! The guards' settings file: docker/smtp/guard.toml, with what a scene wants otherwise.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The file as it is.
pub(crate) fn base() -> Result<String> {
    let path = workspace::root().join("docker/smtp/guard.toml");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The file with these values, each as TOML has it. A key is `section.name` and has to be there.
pub(crate) fn with(text: &str, changes: &[(&str, &str)]) -> Result<String> {
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    for (key, value) in changes {
        let (section, name) = key.rsplit_once('.').context("a key has a section")?;
        let mut current = String::new();
        let mut found = false;
        for line in &mut lines {
            if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                header.clone_into(&mut current);
            } else if current == section
                && line.split_once('=').is_some_and(|(given, _)| given.trim() == name)
            {
                *line = format!("{name} = {value}");
                found = true;
            }
        }
        if !found {
            bail!("the settings have no {key}");
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// Writes it in place: a container that has the file mounted would go on seeing one that was replaced.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_value_is_changed_in_its_own_section_only() {
        let text = "[a]\nlisten = 1\n[b]\n# listen\nlisten = 2\n";
        assert_eq!(
            with(text, &[("b.listen", "\"x\"")]).unwrap(),
            "[a]\nlisten = 1\n[b]\n# listen\nlisten = \"x\"\n"
        );
        assert!(with(text, &[("b.other", "1")]).is_err());
    }

    #[test]
    fn what_scenes_change_is_in_the_file() {
        let base = base().unwrap();
        for key in super::super::scenes::CHANGED {
            with(&base, &[(key, "1")]).unwrap();
        }
    }
}
