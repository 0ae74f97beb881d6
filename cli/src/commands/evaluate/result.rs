//! Where a report goes: a file or standard output, a file of rows, a folder that appears when it is whole.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use gstore_evaluate::{EvaluateError, File, Report};

use crate::args::{ReportArgs, ReportFormat};
use crate::context::Context;
use crate::ending::{Packing, packing_of};
use crate::failure::UsageError;
use crate::output::{self, Output, Place};

/// Refuses places that cannot be written, before any work; the report's format.
pub fn check(context: &Context, args: &ReportArgs) -> Result<ReportFormat> {
    let mut outputs = vec![args.output.as_deref()];
    outputs.extend(args.rows.as_deref().map(Some));
    output::check(context, &outputs, args.force)?;
    if let Some(folder) = &args.report {
        output::check_outside(context, folder)?;
        if folder.exists() && !(args.force && folder.is_dir()) {
            let remedy = if folder.is_dir() { "exists; --force replaces it" } else { "is no folder" };
            bail!(UsageError(format!("{} {remedy}", folder.display())));
        }
        if folder.exists() && !folder.join(REPORT).exists() && fs_err::read_dir(folder)?.next().is_some() {
            bail!(UsageError(format!("{} holds no report; name another folder", folder.display())));
        }
    }
    if let Some(other) = args.with.as_ref().filter(|other| !other.join(REPORT).exists()) {
        bail!(UsageError(format!("--with {}: there is no {REPORT} in it", other.display())));
    }
    let Some(path) = args.output.as_deref() else { return Ok(args.format.unwrap_or(ReportFormat::Text)) };
    let named = by_name(path);
    match (named, args.format) {
        (Some(named), Some(asked)) if named != asked && named != ReportFormat::Text => {
            let path = path.display();
            bail!(UsageError(format!("{path} names another format than --format; change one of them")))
        }
        (_, Some(asked)) => Ok(asked),
        (Some(named), None) => Ok(named),
        (None, None) if !Place::of(Some(path)).is_file() => Ok(ReportFormat::Text),
        (None, None) => bail!(UsageError(format!(
            "{}: the ending says no format; a report is .json, .csv, .md or .txt, each also with .gz or .zst",
            path.display()
        ))),
    }
}

fn by_name(path: &Path) -> Option<ReportFormat> {
    let name = match packing_of(path) {
        Packing::None => path.file_name()?,
        _ => path.file_stem()?,
    };
    match Path::new(name).extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "json" => Some(ReportFormat::Json),
        "csv" => Some(ReportFormat::Csv),
        "md" | "markdown" => Some(ReportFormat::Markdown),
        "txt" => Some(ReportFormat::Text),
        _ => None,
    }
}

/// The file that tells a folder with a report.
const REPORT: &str = "evaluation.json";

/// Writes everything that was asked for, the report itself last.
pub fn write(
    context: &Context,
    args: &ReportArgs,
    format: ReportFormat,
    report: &Report,
    rows: impl FnOnce() -> Result<Vec<u8>, EvaluateError>,
    files: impl FnOnce() -> Result<Vec<File>, EvaluateError>,
) -> Result<()> {
    if let Some(path) = &args.rows {
        let mut file = Output::create(Some(path), args.force)?;
        output::noted(file.write_all(&rows()?))?;
        file.finish()?;
    }
    if let Some(folder) = &args.report {
        let mut files = files()?;
        if let Some(other) = &args.with {
            files.extend(report.combined_with(other)?);
        }
        write_folder(folder, &files, args.force)?;
    }
    let text = match format {
        ReportFormat::Text => report.text().into_bytes(),
        ReportFormat::Json => format!("{:#}\n", report.json()).into_bytes(),
        ReportFormat::Csv => report.csv()?,
        ReportFormat::Markdown => report.markdown().into_bytes(),
    };
    let mut file = Output::create(args.output.as_deref(), args.force)?;
    output::noted(file.write_all(&text))?;
    file.finish()?;
    // On standard output the report says it itself, unless it is a table for programs.
    if args.output.is_some() || format == ReportFormat::Csv {
        report.findings.iter().for_each(|finding| context.say(finding));
    }
    Ok(())
}

/// Writes a folder next to its place and renames it.
fn write_folder(folder: &Path, files: &[File], force: bool) -> Result<()> {
    let target = std::path::absolute(folder)?;
    let parent = target.parent().unwrap_or(Path::new("/"));
    let made = tempfile::Builder::new()
        .prefix(".evaluation.")
        .suffix(".part")
        .permissions(std::fs::Permissions::from_mode(0o777))
        .tempdir_in(parent)?;
    for file in files {
        let path = made.path().join(&file.path);
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        let mut written = fs_err::File::create(&path)?;
        written.write_all(&file.content)?;
        written.sync_all()?;
    }
    if target.exists() {
        if !force {
            bail!("{} appeared meanwhile and stays", folder.display());
        }
        let old = tempfile::Builder::new().prefix(".evaluation.").suffix(".old").tempdir_in(parent)?;
        fs_err::rename(&target, old.path().join("report"))?;
    }
    fs_err::rename(made.keep(), &target)?;
    Ok(())
}

/// A folder next to the result that keeps work until all of it is done; none for a stream.
pub struct Kept(pub Option<PathBuf>);

/// The file that tells such a folder.
const MARK: &str = "evaluation-in-work";

impl Kept {
    /// Next to the file of the report, else next to its folder.
    pub fn next_to(args: &ReportArgs) -> Result<Kept> {
        let place = match (Place::of(args.output.as_deref()), &args.report) {
            (Place::File(path), _) => Some(path),
            (_, Some(folder)) => Some(std::path::absolute(folder)?),
            _ => None,
        };
        let Some(place) = place else { return Ok(Kept(None)) };
        let mut name = OsString::from(place.file_name().unwrap_or_default());
        name.push(".part");
        let folder = place.with_file_name(name);
        let is_ours = |folder: &Path| -> Result<bool> {
            Ok(folder.join(MARK).exists() || fs_err::read_dir(folder)?.next().is_none())
        };
        if folder.exists() && !(folder.is_dir() && is_ours(&folder)?) {
            bail!(UsageError(format!(
                "{} is in the way: unfinished work is kept there; move it, or name another result",
                folder.display()
            )));
        }
        fs_err::create_dir_all(&folder)?;
        fs_err::write(folder.join(MARK), "")?;
        Ok(Kept(Some(folder)))
    }

    /// Removes what the report has made useless.
    pub fn remove(self) -> Result<()> {
        match self.0 {
            Some(folder) => Ok(fs_err::remove_dir_all(folder)?),
            None => Ok(()),
        }
    }
}
