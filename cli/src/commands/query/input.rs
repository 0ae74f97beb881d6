//! Statements of a query, and where they are from.

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::Result;

use crate::args::QueryArgs;
use crate::statements::statement_text;

/// The statements; none where somebody is there to type them.
pub(super) fn statements(args: &QueryArgs) -> Result<Option<String>> {
    let bytes = match (args.sql.as_deref(), &args.file) {
        (Some("-"), _) => read_stdin()?,
        (Some(sql), _) => return Ok(Some(sql.to_owned())),
        (None, Some(file)) if file == Path::new("-") => read_stdin()?,
        (None, Some(file)) => fs_err::read(file)?,
        (None, None) if !std::io::stdin().is_terminal() => read_stdin()?,
        (None, None) => return Ok(None),
    };
    statement_text(bytes, place(args)).map(Some)
}

/// What a message calls the place that they are from.
pub(super) fn place(args: &QueryArgs) -> &Path {
    match (&args.file, args.sql.as_deref()) {
        (Some(file), _) if file != Path::new("-") => file.as_path(),
        (None, Some(sql)) if sql != "-" => Path::new("what is given"),
        _ => Path::new("standard input"),
    }
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}
