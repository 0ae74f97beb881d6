//! `gstore completions`: the script that lets a shell ask this program for completions.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap_complete::env::Shells;

use crate::args::CompletionsArgs;
use crate::completing::VARIABLE;
use crate::streams::note_closed_pipe;

/// Prints the script on standard output.
pub fn run(args: &CompletionsArgs) -> Result<()> {
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell.to_string()).context("this shell has no completions")?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "gstore", "gstore", &program(), &mut script)?;
    note_closed_pipe(std::io::stdout().write_all(&script))?;
    Ok(())
}

/// This program as a shell finds it from any folder.
fn program() -> String {
    let given = std::env::args_os().next().unwrap_or_else(|| OsString::from("gstore"));
    let path = Path::new(&given);
    let found = if path.components().count() > 1 { std::path::absolute(path).ok() } else { None };
    found.as_deref().unwrap_or(path).display().to_string()
}
