//! Standard input, output and error: their names as paths, lines that are printed, and a reader that has
//! left.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::Result;
use gstore_core::Cancel;
use serde::Serialize;

/// Whether a path names standard input.
pub fn is_standard_input(path: impl AsRef<Path>) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path.as_ref() == Path::new(name))
}

/// Whether a path names standard output.
pub fn is_standard_output(path: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name))
}

/// Whether a reader of a result, of any length, has closed its end of a pipe.
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

/// Outcome of writing a result, where the command does more without a reader: what fails then is a failure.
pub fn unless_closed(written: Result<()>) -> Result<()> {
    if is_closed() {
        CLOSED.lower();
        return Ok(());
    }
    written
}

/// Takes what a reader that has left no longer does.
pub struct UntilClosed<W>(pub W);

impl<W: Write> Write for UntilClosed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

/// Standard output that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written: {0}")]
pub struct PrintError(std::io::Error);

/// Prints a line. A reader that has left has what it wants, and the command does the rest of its work.
pub fn print_line(line: Arguments<'_>) -> Result<(), PrintError> {
    UntilClosed(std::io::stdout()).write_all(format!("{line}\n").as_bytes()).map_err(PrintError)
}

/// `println!` whose failure is an error of the command instead of a panic.
macro_rules! out {
    ($($arg:tt)*) => {
        $crate::streams::print_line(format_args!($($arg)*))?
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
