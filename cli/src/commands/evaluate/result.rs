//! Outputs of an evaluation: a file or standard output, a file of rows, a folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use gstore_core::visible;
use gstore_evaluate::{EvaluateError, File, Report};

use super::{folder, pictures};
use crate::args::{CombineArgs, ReportArgs, ReportFormat};
use crate::commands::folder::{check as check_folder, place_all};
use crate::context::Context;
use crate::failure::{UsageError, refuse};
use crate::output::{self, Output, OutputTarget};
use crate::packing::{ending_of, unpacked_name};

/// The places of the report, none: standard output, and of the file of rows if one is wanted.
fn outputs(args: &ReportArgs) -> Vec<Option<&Path>> {
    [args.output.as_deref()].into_iter().chain(args.rows.as_deref().map(Some)).collect()
}

/// Refuses a report that one of this `kind` cannot be combined with.
pub fn check_combined(args: &CombineArgs, kind: &str) -> Result<()> {
    if let Some(other) = &args.with {
        Report::check_other(kind, other).map_err(|error| UsageError(format!("--with: {error}")))?;
    }
    if let Some(path) = args.influential.as_ref().filter(|path| !path.is_file()) {
        refuse!("--influential: {} is not a file", path.display());
    }
    Ok(())
}

/// Refuses a result in the place of what is read: of data, of the folders of models, or of what it is
/// combined with.
pub fn check_unread<'a>(
    (args, combine): (&ReportArgs, Option<&'a CombineArgs>),
    data: impl Iterator<Item = &'a PathBuf>,
    folders: impl Iterator<Item = &'a Path>,
) -> Result<()> {
    let mut places = outputs(args);
    places.push(args.report.as_deref());
    let combined = combine.into_iter().flat_map(|other| [&other.with, &other.influential]).flatten();
    output::check_unread(&places, data.chain(combined).map(PathBuf::as_path), folders)
}

/// Refuses places that cannot be written, before any work; the report's format.
pub fn check(context: &Context, args: &ReportArgs) -> Result<ReportFormat> {
    output::check(context, &outputs(args), args.force)?;
    if let Some(folder) = &args.report {
        output::check_outside(context, folder)?;
        check_folder(folder, folder::REPORT, args.force)?;
        let own = std::path::absolute(folder)?;
        let inside = |path: &&PathBuf| std::path::absolute(path).is_ok_and(|path| path.starts_with(&own));
        if let Some(path) = [&args.output, &args.rows].into_iter().flatten().find(inside) {
            let (path, folder) = (path.display(), folder.display());
            refuse!("{path} would be in {folder}, which holds the report's own files");
        }
    }
    let Some(path) = args.output.as_deref() else { return Ok(args.format.unwrap_or(ReportFormat::Text)) };
    let named = by_name(path);
    match (named, args.format) {
        (Some(named), Some(asked)) if named != asked && named != ReportFormat::Text => {
            let path = path.display();
            refuse!("{path} names another format than --format; change one of them")
        }
        (_, Some(asked)) => Ok(asked),
        (Some(named), None) => Ok(named),
        (None, None) if !OutputTarget::of(Some(path)).is_file() => Ok(ReportFormat::Text),
        (None, None) => refuse!(
            "{}: the format cannot be told from the ending; a report is .json, .csv, .md or .txt, each also with .gz or .zst",
            path.display()
        ),
    }
}

/// Refuses a file whose name says no format that a report in Markdown has.
pub fn check_markdown(path: Option<&Path>) -> Result<()> {
    let Some(path) = path.filter(|path| OutputTarget::of(Some(path)).is_file()) else { return Ok(()) };
    match by_name(path) {
        Some(ReportFormat::Markdown | ReportFormat::Text) => Ok(()),
        _ => refuse!(
            "{}: this report is Markdown; name it .md or .txt, each also with .gz or .zst",
            path.display()
        ),
    }
}

fn by_name(path: &Path) -> Option<ReportFormat> {
    match ending_of(unpacked_name(path))?.as_str() {
        "json" => Some(ReportFormat::Json),
        "csv" => Some(ReportFormat::Csv),
        "md" | "markdown" => Some(ReportFormat::Markdown),
        "txt" => Some(ReportFormat::Text),
        _ => None,
    }
}

/// Writes everything that was asked for, combined if that was: all of it is whole before the first of it
/// appears.
pub fn write(
    context: &Context,
    (args, combine): (&ReportArgs, Option<&CombineArgs>),
    format: ReportFormat,
    report: &Report,
    rows: impl FnOnce() -> Result<Vec<u8>, EvaluateError>,
    files: impl FnOnce() -> Result<Vec<File>, EvaluateError>,
) -> Result<()> {
    let mut rows_file = None;
    if let Some(path) = &args.rows {
        rows_file.insert(Output::create_among(Some(path), args.force)?).write_all(&rows()?)?;
    }
    let mut folder = None;
    if let Some(path) = &args.report {
        let mut files = files()?;
        files.extend(of_folder(context, combine, report)?);
        folder = Some(folder::write(path, &files, args.force)?);
    }
    let text = match format {
        ReportFormat::Text => report.text().into_bytes(),
        ReportFormat::Json => format!("{:#}\n", report.json()).into_bytes(),
        ReportFormat::Csv => report.csv()?,
        ReportFormat::Markdown => report.markdown().into_bytes(),
    };
    let mut file = Output::create(args.output.as_deref(), args.force)?;
    let rows_file = rows_file.map(Output::seal).transpose()?;
    // The reader of a stream may leave, and the files are there all the same.
    let (file, stream) = match OutputTarget::of(args.output.as_deref()).is_file() {
        true => {
            file.write_all(&text)?;
            (Some(file.seal()?), None)
        }
        false => (None, Some(file)),
    };
    place_all(folder, rows_file.into_iter().chain(file))?;
    if let Some(mut stream) = stream {
        stream.write_all(&text)?;
        stream.finish()?;
    }
    // On standard output the report says it itself, unless it is a table for programs.
    if args.output.is_some() || format == ReportFormat::Csv {
        report.findings.iter().for_each(|finding| context.say(&visible(finding)));
    }
    Ok(())
}

/// What the folder has beyond the files of a report: its pictures, and what combines it with another one.
fn of_folder(context: &Context, combine: Option<&CombineArgs>, report: &Report) -> Result<Vec<File>> {
    let Some((args, other)) = combine.and_then(|args| Some((args, args.with.as_ref()?))) else {
        return Ok(pictures::files(context, &report.charts));
    };
    let (mut files, combined) = report.combined_with(other, args.influential.as_deref())?;
    let own = report.charts.iter().filter(|chart| chart.name != combined.name);
    files.extend(pictures::files(context, own.chain([&combined])));
    Ok(files)
}
