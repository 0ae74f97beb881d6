//! Statements of a query, and where they are from.

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::Result;

use crate::args::QueryArgs;
use crate::statements::without_mark;

/// The statements; none where somebody is there to type them.
pub(super) fn statements(args: &QueryArgs) -> Result<Option<String>> {
    Ok(match (args.sql.as_deref(), &args.file) {
        (Some("-"), _) => Some(read_stdin()?),
        (Some(sql), _) => Some(sql.to_owned()),
        (None, Some(file)) if file == Path::new("-") => Some(read_stdin()?),
        (None, Some(file)) => Some(without_mark(fs_err::read_to_string(file)?)),
        (None, None) if !std::io::stdin().is_terminal() => Some(read_stdin()?),
        (None, None) => None,
    })
}

/// What a message calls the place that they are from.
pub(super) fn place(args: &QueryArgs) -> &Path {
    match (&args.file, args.sql.as_deref()) {
        (Some(file), _) if file != Path::new("-") => file.as_path(),
        (None, Some(sql)) if sql != "-" => Path::new("what is given"),
        _ => Path::new("standard input"),
    }
}

fn read_stdin() -> Result<String> {
    let mut sql = String::new();
    std::io::stdin().read_to_string(&mut sql)?;
    Ok(without_mark(sql))
}
