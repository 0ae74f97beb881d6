//! `gstore add`: registers the samples of data files.

mod input;
mod samples;
mod told;

use anyhow::Result;
use gstore_core::first_of;
use gstore_ingest::pipeline::AddPreview;
use gstore_query::influence::note_of_shapes;
use serde_json::{Map, Value};

use crate::args::AddArgs;
use crate::context::Context;
use crate::datasets;
use crate::question::tell_notes;
use crate::streams::{out, print_json};

pub use samples::SampleInputs;
pub use told::add_forecast;

/// The snapshot that the first samples of a store make.
const FIRST: u64 = 1;

/// Registers the samples, or says what that would do.
pub fn run(context: &Context, args: &AddArgs) -> Result<()> {
    // Before a pipe is read to its end.
    context.store_path()?;
    let (mut reports, mut added) = (Map::new(), Vec::new());
    let as_given = args.samples.for_dataset(args.dataset.as_deref());
    for (dataset, data) in datasets::given_datasets(context, args.dataset.as_deref(), &args.data)? {
        if args.dry_run {
            let preview = SampleInputs::new(context, &dataset, &data, &as_given)?.preview(context)?;
            if args.json {
                reports.insert(dataset, serde_json::to_value(preview)?);
            } else {
                print(&dataset, &preview)?;
            }
            continue;
        }
        let done = SampleInputs::new(context, &dataset, &data, &as_given)
            .and_then(|samples| samples.register(context, None).map(|done| (samples, done)));
        let (samples, (store, report)) = done.inspect_err(|_| tell_kept(context, "added", &added))?;
        added.push(dataset.clone());
        if args.json {
            reports.insert(dataset, serde_json::to_value(report)?);
        } else {
            samples.tell(context, &report);
            if report.added + report.replaced > 0 {
                tell_notes(context, &note_of_shapes(store.snapshot()?.as_ref(), &dataset));
            }
            if report.snapshot == Some(FIRST) {
                context.say(&format!(
                    "next: `gstore ingest --dataset {dataset} --model DIR --features grad-sgd{}` runs a model over it (for a pool to \
                     select from give grad-adam, if the checkpoints keep the optimizer's moments)",
                    context.at_store()
                ));
            }
        }
    }
    if args.json {
        let report = match (args.dataset.as_ref(), reports.len()) {
            (Some(_), 1) => reports.into_iter().next().map(|(_, report)| report).unwrap_or_default(),
            _ => Value::Object(reports),
        };
        print_json(&report)?;
    } else if args.dry_run {
        out!("nothing was changed: this was a dry run");
    }
    Ok(())
}

fn print(dataset: &str, preview: &AddPreview) -> Result<()> {
    out!("{}", add_forecast(dataset, &preview.report));
    let column = preview.columns.iter().map(|column| format!("{} {}", column.name, column.ty));
    let columns: Vec<String> = column.collect();
    if !columns.is_empty() {
        out!("  columns: {}", columns.join(", "));
    }
    Ok(())
}

/// Says which datasets an error leaves as `done` to: each has commits of its own.
pub(super) fn tell_kept(context: &Context, done: &str, datasets: &[String]) {
    if !datasets.is_empty() {
        context.say(&format!(
            "{done} before the error and kept: {}; run the same command again to continue",
            first_of(datasets, 8)
        ));
    }
}
