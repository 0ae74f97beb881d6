//! `gstore completions`: the completion script of a shell.

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};

/// Prints the script on standard output.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode> {
    clap_complete::generate(args.shell, &mut Cli::command(), "gstore", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
