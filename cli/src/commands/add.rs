//! `gstore add`: registers the samples of data files.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use gstore_ingest::pipeline::{AddReport, AddRequest, add};
use gstore_store::Store;
use tempfile::NamedTempFile;

use crate::args::{AddArgs, IfChanged, SampleArgs};
use crate::context::{Context, command_line};

/// Registers the samples.
pub fn run(context: &Context, args: &AddArgs) -> Result<ExitCode> {
    let store = context.open_or_create()?;
    register(context, &store, &args.dataset, &args.data, &args.samples)?;
    Ok(ExitCode::SUCCESS)
}

/// Registers the samples of files and tells what was new.
pub fn register(
    context: &Context,
    store: &Store,
    dataset: &str,
    data: &[PathBuf],
    samples: &SampleArgs,
) -> Result<AddReport> {
    let report = read(context, store, dataset, data, samples)?;
    let mut text = match (report.added + report.replaced, report.unchanged) {
        (0, unchanged) => format!("{dataset}: nothing to add; all {unchanged} samples are there already"),
        (_, 0) => format!("{dataset}: {} samples added", report.added),
        (_, unchanged) => {
            format!("{dataset}: {} samples added, {unchanged} were there already", report.added)
        }
    };
    if report.replaced > 0 {
        text.push_str(&format!(", {} replaced", report.replaced));
    }
    if report.kept > 0 {
        text.push_str(&format!("; {} changed lines skipped, the stored samples are kept", report.kept));
    }
    context.say(&text);
    Ok(report)
}

/// What to do with a changed line, as the store has it.
pub fn if_changed(samples: &SampleArgs) -> gstore_store::IfChanged {
    match samples.if_changed {
        IfChanged::Refuse => gstore_store::IfChanged::Refuse,
        IfChanged::Keep => gstore_store::IfChanged::Keep,
        IfChanged::Replace => gstore_store::IfChanged::Replace,
    }
}

/// Registers the samples of files.
pub fn read(
    context: &Context,
    store: &Store,
    dataset: &str,
    data: &[PathBuf],
    samples: &SampleArgs,
) -> Result<AddReport> {
    let spooled = data.iter().map(|path| spool(path)).collect::<Result<Vec<_>>>()?;
    let copied = |(path, copy): (&PathBuf, &Option<NamedTempFile>)| {
        copy.as_ref().map_or_else(|| path.clone(), |copy| copy.path().to_owned())
    };
    let request = AddRequest {
        dataset: dataset.to_owned(),
        data: data.iter().zip(&spooled).map(copied).collect(),
        fields: samples.fields.clone(),
        columns: samples.columns.clone(),
        if_changed: if_changed(samples),
        command: command_line(),
    };
    Ok(add(store, &request, &mut context.reporter())?)
}

/// A pipe can be read once and registration reads twice, so what is no regular file is copied first.
fn spool(data: &Path) -> Result<Option<NamedTempFile>> {
    let mut source: Box<dyn Read> = if data == Path::new("-") {
        Box::new(std::io::stdin())
    } else if fs_err::metadata(data).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        Box::new(fs_err::File::open(data)?)
    } else {
        return Ok(None);
    };
    let mut copy = tempfile::Builder::new().prefix("gstore-input-").suffix(".jsonl").tempfile()?;
    std::io::copy(&mut source, &mut copy)?;
    Ok(Some(copy))
}
