//! `cargo xtask <verb>`; the verbs are in the library beside this file.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main()
}
