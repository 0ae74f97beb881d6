//! Formats by the endings of file names.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Result, bail};

use crate::args::{Format, OutputArgs};
use crate::failure::{UsageError, refuse};
use crate::origin::is_configured;
use crate::output::OutputTarget;
use crate::packing::{ending_of, unpacked_name};

/// Endings of formats that are not written.
const FOREIGN: &str = "7z avro bin bz2 db duckdb h5 hdf5 lz4 npy npz ods orc pickle pkl pt pth safetensors sqlite tar tgz toml xls \
                       xlsx xml xz yaml zip";

/// The format that a name says, before its packing; `None` where it says nothing.
///
/// # Errors
/// The name of a format that is not written.
pub fn format_of_name(path: &Path) -> Result<Option<Format>> {
    named_format(path, &[PACKED])
}

/// The same; `also` is what else is written in this place.
fn named_format(path: &Path, also: &[&str]) -> Result<Option<Format>> {
    let Some(ending) = ending_of(unpacked_name(path)) else { return Ok(None) };
    Ok(match ending.as_str() {
        "txt" => Some(Format::Table),
        // Words of formats that are no endings.
        "table" | "lines" => None,
        foreign if FOREIGN.split(' ').any(|known| known == foreign) => {
            let (path, also) = (path.display(), also.concat());
            refuse!("{path}: .{foreign} files cannot be written; {UNDERSTOOD}{also}")
        }
        word => word.parse().ok(),
    })
}

const UNDERSTOOD: &str =
    "a name may end in .jsonl (or .json, one object a line), .csv, .tsv, .parquet or .arrow";
/// What files have to which nothing is added later.
const PACKED: &str = ", each also with .gz or .zst";
/// What results of statements have besides.
const FOR_READING: &str = "; .txt is a table as on the terminal, .md a Markdown table, .html a page";

/// The format of a result: that of its name, which one on the command line may not contradict, else the one
/// asked for, else a table on a terminal and CSV elsewhere.
pub fn format_of(args: &OutputArgs) -> Result<Format> {
    let path = args.output.as_deref();
    let place = OutputTarget::of(path);
    let named = match path {
        Some(path) if place != OutputTarget::Stdout => {
            named_format(path, &[PACKED, FOR_READING])?.map(|format| (path, format))
        }
        _ => None,
    };
    // One of the config file is for what has no name that says a format. Of some commands `--json` is no format
    // but prints a report.
    let of_config =
        |asked: &Format| is_configured("format") || (*asked == Format::Json && is_configured("json"));
    let asked = args.format.filter(|asked| named.is_none() || !of_config(asked));
    Ok(match (named, asked) {
        // Lines may be of any kind of text: records as they were added are JSON lines.
        (Some((_, Format::Table | Format::Csv | Format::Tsv | Format::Json)), Some(Format::Lines)) => {
            Format::Lines
        }
        // Any text may be called .txt.
        (
            Some((_, Format::Table)),
            Some(asked @ (Format::Csv | Format::Tsv | Format::Json | Format::Markdown | Format::Html)),
        ) => asked,
        (Some((path, named)), Some(asked)) if named != asked => {
            // Of most commands `--json` asks for JSON too.
            let asked = match asked {
                Format::Json => "JSON is asked for".to_owned(),
                asked => format!("--format says {}", asked.name()),
            };
            refuse!("{} is {} by its name, but {asked}; change one of them", path.display(), named.name())
        }
        (Some((_, format)), _) | (None, Some(format)) => format,
        (None, None) => match (place, path) {
            (OutputTarget::File(_), Some(path)) => bail!(no_format(path, &[PACKED, FOR_READING])),
            (OutputTarget::Stdout, _) if std::io::stdout().is_terminal() => Format::Table,
            _ => Format::Csv,
        },
    })
}

/// Refuses a format for programs where the result goes to a terminal.
pub fn check_terminal(format: Format, path: Option<&Path>) -> Result<()> {
    if format.is_binary() && OutputTarget::of(path) == OutputTarget::Stdout && std::io::stdout().is_terminal()
    {
        refuse!("{format:?} is not for a terminal; name a file with --output");
    }
    Ok(())
}

/// The format that a name says of what programs read again: tables for people are refused, and `refused` says
/// what is written.
pub fn format_for_programs(path: &Path, refused: impl FnOnce() -> String) -> Result<Option<Format>> {
    match format_of_name(path)? {
        Some(Format::Table | Format::Markdown | Format::Html) => refuse!("{}: {}", path.display(), refused()),
        format => Ok(format),
    }
}

pub fn format_of_scores(path: &Path) -> Result<Format> {
    let refused = || format!("scores are not written as .txt, .md or .html; {UNDERSTOOD}{PACKED}");
    match (format_for_programs(path, refused)?, OutputTarget::of(Some(path))) {
        (Some(format), _) => Ok(format),
        (None, OutputTarget::File(_)) => bail!(no_format(path, &[PACKED])),
        (None, _) => Ok(Format::Csv),
    }
}

/// Refuses a name with an ending that no format has; one without an ending passes.
pub fn check_ending(path: &Path) -> Result<()> {
    check_known(path, &[PACKED])
}

/// The same of a file to which results of statements are added one after the other.
pub fn check_growing(path: &Path) -> Result<()> {
    check_known(path, &[FOR_READING])
}

fn check_known(path: &Path, also: &[&str]) -> Result<()> {
    let has_ending = unpacked_name(path).extension().is_some();
    match has_ending && OutputTarget::of(Some(path)).is_file() && named_format(path, also)?.is_none() {
        true => bail!(no_format(path, also)),
        false => Ok(()),
    }
}

/// Refuses a name that says another format than JSON lines, which `what` are, or none that there is.
pub fn check_lines(path: &Path, what: &str) -> Result<()> {
    let is_of_lines = match format_of_name(path) {
        Ok(Some(format)) => format == Format::Json,
        Ok(None) => check_ending(path).is_ok(),
        Err(_) => false,
    };
    match is_of_lines {
        true => Ok(()),
        false => refuse!(
            "{}: {what} are JSON lines; a name ends in .jsonl, .ndjson or .json, also with .gz or .zst",
            path.display()
        ),
    }
}

fn no_format(path: &Path, also: &[&str]) -> UsageError {
    UsageError(format!(
        "{}: the format cannot be told from the ending; {UNDERSTOOD}{}",
        path.display(),
        also.concat()
    ))
}
