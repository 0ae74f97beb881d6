//! Standard output and standard error: lines that are printed there, and a reader that has left.

use std::io::ErrorKind;

use anyhow::Result;
use gstore_core::Cancel;
use serde::Serialize;

/// Whether a reader of results has closed its end of a pipe.
static CLOSED: Cancel = Cancel::new();

/// Whether a result could not be written since its reader has closed the pipe, as `head`
/// does: an end and no error.
pub fn is_closed() -> bool {
    CLOSED.is_raised()
}

/// Notes a closed pipe where it shows; the libraries that write formats turn the error into one of their own.
pub fn note_closed_pipe<T>(written: std::io::Result<T>) -> std::io::Result<T> {
    if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        CLOSED.raise();
    }
    written
}

/// Outcome of printing, where the command goes on without a reader.
pub fn unless_closed(printed: Result<()>) -> Result<()> {
    if is_closed() { Ok(()) } else { printed }
}

/// `println!` whose failure is an error of the command instead of a panic.
macro_rules! out {
    ($($arg:tt)*) => {
        $crate::streams::note_closed_pipe(::std::io::Write::write_fmt(
            &mut ::std::io::stdout(),
            format_args!("{}\n", format_args!($($arg)*)),
        ))?
    };
}
pub(crate) use out;

/// Prints a report for programs.
pub fn print_json(report: &impl Serialize) -> Result<()> {
    out!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}

/// `eprintln!` that ignores a standard error which is closed or full, where that macro panics.
macro_rules! say {
    ($($arg:tt)*) => {{
        let _ = ::std::io::Write::write_fmt(
            &mut ::std::io::stderr(),
            format_args!("{}\n", format_args!($($arg)*)),
        );
    }};
}
pub(crate) use say;
