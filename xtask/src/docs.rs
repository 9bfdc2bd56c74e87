//! The documents: rustdoc, links, the commands they show, their Rust blocks, what is generated.

mod blocks;
mod commands;
mod generated;
mod links;
mod markdown;

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::kerberos;
use crate::{faults, metadata, run, workspace};

pub(crate) use links::resolve;
pub(crate) use markdown::Document;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Write the generated documents anew instead of comparing them
    #[arg(long)]
    write: bool,
}

/// Checks all of it, cheap parts first.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.write {
        return generated::write();
    }
    let files = workspace::files()?;
    let documents: Vec<Document> = documents(&files)
        .into_iter()
        .map(|path| Ok(Document::new(&path, &workspace::read(&path)?)))
        .collect::<Result<_>>()?;

    // All that is wrong with the documents at once; only rustdoc, which takes a minute, waits for the rest.
    let checks = [
        workspace::report("links in documents", &links::check(&documents, &files)),
        workspace::report("Rust blocks of documents are compiled", &blocks::check(&documents, &files)?),
        workspace::report("faults in the guarantees have tests", &faults::check(&documents)?),
        workspace::report("commands in documents exist", &commands::check(&documents)?),
        generated::compare(),
    ];
    checks.into_iter().collect::<Result<()>>()?;

    run::step("rustdoc");
    run::run(
        run::cargo()
            .args(["doc", "--workspace", "--no-deps", "--locked"])
            .args(kerberos::all_features(&metadata::packages()?))
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn documents(files: &[PathBuf]) -> Vec<PathBuf> {
    files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")).cloned().collect()
}
