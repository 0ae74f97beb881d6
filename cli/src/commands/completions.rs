//! `gstore completions`: the completion script of a shell.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::output::noted;

/// Prints the script on standard output.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gstore", &mut script);
    noted(std::io::stdout().write_all(&script))?;
    Ok(ExitCode::SUCCESS)
}
