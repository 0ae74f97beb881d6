//! `gstore add`: registers the samples of a file.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use gstore_ingest::pipeline::{AddReport, AddRequest, add};
use gstore_store::Store;

use crate::args::{AddArgs, IfChanged, SampleArgs};
use crate::context::{Context, command_line};

/// Registers the samples.
pub fn run(context: &Context, args: &AddArgs) -> Result<ExitCode> {
    let store = context.open_or_create()?;
    register(context, &store, &args.dataset, &args.data, &args.samples)?;
    Ok(ExitCode::SUCCESS)
}

/// Registers the samples of a file and tells what was new.
pub fn register(context: &Context, store: &Store, dataset: &str, data: &Path, samples: &SampleArgs) -> Result<AddReport> {
    let request = AddRequest {
        dataset: dataset.to_owned(),
        data: data.to_owned(),
        columns: samples.columns.clone(),
        if_changed: match samples.if_changed {
            IfChanged::Refuse => gstore_store::IfChanged::Refuse,
            IfChanged::Keep => gstore_store::IfChanged::Keep,
        },
        command: command_line(),
    };
    let report = add(store, &request, &mut context.reporter())?;
    let mut text = match (report.added, report.unchanged) {
        (0, unchanged) => format!("{dataset}: nothing to add; all {unchanged} samples are there already"),
        (added, 0) => format!("{dataset}: {added} samples added"),
        (added, unchanged) => format!("{dataset}: {added} samples added, {unchanged} were there already"),
    };
    if report.kept > 0 {
        text.push_str(&format!("; {} changed lines skipped, the stored samples are kept", report.kept));
    }
    context.say(&text);
    Ok(report)
}
