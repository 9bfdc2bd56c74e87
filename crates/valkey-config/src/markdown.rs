//! The documentation of settings, from their field tables.

use std::fmt;

use crate::field::Spelling;
use crate::{Field, Section};

/// A Markdown table of every setting of the sections, under a heading for each.
///
/// Variables are written out with `prefix`; a program that embeds the same section under several prefixes makes one
/// table for each.
///
/// ```
/// use valkey_config::{Section, Validate, markdown_table, settings};
///
/// settings! {
///     /// How a sender behaves.
///     pub struct SenderSettings in [sender] {
///         /// Times a send is tried again.
///         pub max_retries: u32 = 3,
///     }
/// }
/// impl Validate for SenderSettings {}
///
/// let table = markdown_table("VALKEY_SENDER_", &[Section::of::<SenderSettings>()]);
/// assert!(table.contains(
///     "| `VALKEY_SENDER_MAX_RETRIES` | `max_retries` | integer | `3` | honoured | Times a send is tried again. |"
/// ));
/// ```
pub fn markdown_table(prefix: &str, sections: &[Section]) -> String {
    let tables: Vec<String> = sections.iter().map(|section| Table { prefix, section }.to_string()).collect();
    tables.join("\n")
}

struct Table<'a> {
    prefix: &'a str,
    section: &'a Section,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### `[{}]`\n", self.section.name)?;
        writeln!(f, "| variable | key | type | default | status | meaning |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for field in self.section.fields {
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} |",
                variables(self.prefix, self.section, field),
                keys(self.section, field),
                cell(&field.type_name),
                if field.default.is_empty() {
                    "none".to_owned()
                } else {
                    format!("`{}`", cell(&field.default))
                },
                cell(&field.status.to_string()),
                cell(&plain_links(&one_line(field.doc))),
            )?;
        }
        Ok(())
    }
}

/// All names of a field, `*_FILE` last.
fn variables(prefix: &str, section: &Section, field: &Field) -> String {
    if field.toml_only {
        return "(file only)".to_owned();
    }
    let mut names = vec![field.env.clone()];
    names.extend(field.aliases.iter().map(|alias| (*alias).to_owned()));
    // A setting of that name keeps it, see `Reader::is_value`.
    let file = format!("{}_FILE", field.env);
    let taken = section.fields.iter().any(|other| other.names(Spelling::Capitals).any(|name| name == file));
    names.extend((field.secret && !taken).then_some(file));
    let names: Vec<String> = names.iter().map(|name| format!("`{prefix}{name}`")).collect();
    names.join(", ")
}

/// The key in a file, and that of a file of its own for a secret.
fn keys(section: &Section, field: &Field) -> String {
    let file = format!("{}_file", field.key);
    let taken = section.fields.iter().any(|other| other.names(Spelling::Lower).any(|name| name == file));
    let with_file = field.secret && !taken && !field.toml_only;
    if with_file { format!("`{}`, `{file}`", field.key) } else { format!("`{}`", field.key) }
}

fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Rustdoc's links lead nowhere outside of rustdoc: ``[`X`](path)`` and ``[`X`]`` become `` `X` ``.
fn plain_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else { break };
        plain.extend([before, "`", name, "`"]);
        rest = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    plain + rest
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
