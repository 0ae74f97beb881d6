//! Where results go: standard output, or a file that appears only when it is whole.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};

use crate::args::{Format, OutputArgs};
use crate::context::Context;
use crate::failure::UsageError;

/// A place for a result. Nothing is visible under the file's name before [`Output::finish`].
pub struct Output {
    writer: BufWriter<Box<dyn Write + Send>>,
    file: Option<Pending>,
}

struct Pending {
    temporary: PathBuf,
    target: PathBuf,
}

impl Output {
    /// Standard output, or a file; `-` also names standard output.
    pub fn create(path: Option<&Path>) -> Result<Self> {
        let Some(target) = path.filter(|p| *p != Path::new("-")) else {
            return Ok(Self { writer: BufWriter::new(Box::new(std::io::stdout())), file: None });
        };
        let Some(name) = target.file_name() else {
            bail!(UsageError(format!("{} is not a file name", target.display())))
        };
        if target.is_dir() {
            bail!(UsageError(format!("{} is a folder; name a file", target.display())));
        }
        // A link stays a link; a pipe or a device is written to, never replaced.
        let resolved = fs_err::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let (target, name) = (resolved.as_path(), resolved.file_name().unwrap_or(name));
        if fs_err::metadata(target).is_ok_and(|m| !m.is_file()) {
            let file = fs_err::OpenOptions::new().write(true).open(target)?;
            return Ok(Self { writer: BufWriter::new(Box::new(file)), file: None });
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let temporary = target.with_file_name(hidden);
        // The name that was given says more than one that nobody chose.
        let file = fs_err::File::create(&temporary).map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no such folder".to_owned(),
                kind => kind.to_string(),
            };
            let why = format!("failed to create file `{}`: {why}", target.display());
            std::io::Error::new(error.kind(), why)
        })?;
        let pending = Pending { temporary, target: target.to_owned() };
        Ok(Self { writer: BufWriter::new(Box::new(file)), file: Some(pending) })
    }

    /// Flushes the result and lets a file appear under its name.
    pub fn finish(mut self) -> Result<()> {
        self.writer.flush()?;
        if let Some(pending) = &self.file {
            fs_err::File::open(&pending.temporary)?.sync_all()?;
            fs_err::rename(&pending.temporary, &pending.target)?;
        }
        self.file = None;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(pending) = &self.file {
            // The result was not finished; what is left of it helps nobody, and a failure here hides the real one.
            let _ = fs_err::remove_file(&pending.temporary);
        }
    }
}

/// Refuses an output inside the store, where every file is the store's own. `None` and `-` are standard output.
pub fn check_outside(context: &Context, path: Option<&Path>) -> Result<()> {
    let (Some(store), Some(path)) = (context.named_store(), path.filter(|p| *p != Path::new("-"))) else {
        return Ok(());
    };
    if resolved(path).starts_with(resolved(store)) {
        bail!(UsageError(format!(
            "{} is inside the store {}, whose files are its own; name a place elsewhere",
            path.display(),
            store.display()
        )));
    }
    Ok(())
}

/// Where a path leads, part by part: below what is there, `..` goes back to what would be made.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut place = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                place.pop();
            }
            part => place.push(part),
        }
        if let Ok(found) = fs_err::canonicalize(&place) {
            place = found;
        }
    }
    place
}

/// `println!` whose failure is an error of the command instead of a panic.
macro_rules! out {
    ($($arg:tt)*) => {
        ::std::io::Write::write_fmt(&mut ::std::io::stdout(), format_args!("{}\n", format_args!($($arg)*)))?
    };
}
pub(crate) use out;

/// The format asked for, else that of the file's ending, else a table on a terminal and CSV elsewhere.
pub fn format_of(args: &OutputArgs) -> Result<Format> {
    if let Some(format) = args.format {
        return Ok(format);
    }
    match args.output.as_deref().filter(|p| *p != Path::new("-")) {
        Some(path) => format_of_path(path),
        None if std::io::stdout().is_terminal() => Ok(Format::Table),
        None => Ok(Format::Csv),
    }
}

/// The format that a file's ending names.
pub fn format_of_path(path: &Path) -> Result<Format> {
    Ok(match path.extension().and_then(|e| e.to_str()) {
        Some("csv") => Format::Csv,
        Some("json" | "jsonl" | "ndjson") => Format::Json,
        Some("parquet") => Format::Parquet,
        Some("arrow" | "feather" | "ipc") => Format::Arrow,
        Some("txt") => Format::Table,
        _ => bail!(UsageError(format!(
            "{}: the ending says no format; give --format, or end the name in .csv, .json, .parquet or .arrow",
            path.display()
        ))),
    })
}

/// Whether a format is for programs only.
pub fn is_binary(format: Format) -> bool {
    sql_format(format).is_binary()
}

/// The writer of a format.
pub fn sql_format(format: Format) -> gstore_query::sql::output::Format {
    use gstore_query::sql::output::Format as Sql;
    match format {
        Format::Table => Sql::Table,
        Format::Csv => Sql::Csv,
        Format::Json => Sql::Json,
        Format::Parquet => Sql::Parquet,
        Format::Arrow => Sql::Arrow,
    }
}
