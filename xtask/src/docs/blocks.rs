//! Rust blocks in documents are compiled: each document that has one is included in `xtask/src/lib.rs`, where it
//! becomes documentation tests that may use every crate of ours.

use std::path::Path;

use anyhow::Result;

use super::markdown::Document;
use crate::workspace;

const HOME: &str = "xtask/src/lib.rs";

/// Documents with Rust blocks that nothing compiles.
pub(crate) fn check(documents: &[Document]) -> Result<Vec<String>> {
    Ok(missing(documents, &workspace::read(Path::new(HOME))?))
}

fn missing(documents: &[Document], home: &str) -> Vec<String> {
    documents
        .iter()
        .filter(|document| document.blocks.iter().any(|block| block.language() == "rust"))
        .filter(|document| !home.contains(&format!("\"../../{}\"", document.path.display())))
        .map(|document| {
            format!(
                "{}: has Rust blocks that nothing compiles; include it in {HOME}",
                document.path.display()
            )
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
        assert_eq!(missing(&documents, "").len(), 1);
        assert_eq!(missing(&documents, "#[doc = include_str!(\"../../docs/a.md\")]").len(), 0);
    }
}
