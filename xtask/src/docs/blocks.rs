//! Rust blocks in documents are compiled: some crate includes the document as documentation, which makes its blocks
//! tests.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::links::resolve;
use super::markdown::Document;
use crate::workspace;

/// Documents with Rust blocks that nothing compiles.
pub(crate) fn check(documents: &[Document], files: &[PathBuf]) -> Result<Vec<String>> {
    let mut compiled = Vec::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        compiled.extend(included(path, &workspace::read(path)?));
    }
    Ok(missing(documents, &compiled))
}

/// The documents that a source file includes as documentation.
fn included(source: &Path, text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter(|line| line.trim_start().starts_with('#') && line.contains("doc = include_str!("))
        .filter_map(|line| line.split('"').nth(1))
        .map(|target| resolve(source, target))
        .collect()
}

fn missing(documents: &[Document], compiled: &[PathBuf]) -> Vec<String> {
    documents
        .iter()
        .filter(|document| document.blocks.iter().any(|block| block.language() == "rust"))
        .filter(|document| !compiled.contains(&document.path))
        .map(|document| {
            let path = document.path.display();
            format!("{path}: has Rust blocks that nothing compiles; include it in its crate, or in xtask/src/lib.rs")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_with_rust_must_be_compiled() {
        let rust = Document::new(Path::new("docs/a.md"), "```rust\nfn main() {}\n```\n");
        let shell = Document::new(Path::new("docs/b.md"), "```sh\nls\n```\n");
        let documents = [rust, shell];
        assert_eq!(missing(&documents, &[]).len(), 1);
        assert_eq!(missing(&documents, &["docs/a.md".into()]).len(), 0);
    }

    #[test]
    fn inclusion_is_read_from_where_it_stands() {
        let line = "#[doc = include_str!(\"../../../docs/a.md\")]\nconst B: &str = include_str!(\"b.md\");";
        assert_eq!(included(Path::new("crates/x/src/lib.rs"), line), [PathBuf::from("docs/a.md")]);
    }
}
