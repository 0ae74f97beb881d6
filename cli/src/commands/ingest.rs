//! `gstore ingest`: runs a model over a dataset and stores features by checkpoint.

mod dry;
mod request;
mod shard;
mod sketch;
mod stored;
mod text;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use gstore_core::{Silent, many};
use gstore_ingest::pipeline::{IngestPlan, IngestReport, IngestRequest, RunEnding, check_inputs, ingest};
use gstore_model::weights::BaseDigests;
use gstore_query::influence::note_of_target;
use gstore_store::{RowSet, Snapshot};
use serde_json::{Map, Value, json};

use super::add::{SampleInputs, tell_kept};
use crate::args::IngestArgs;
use crate::context::Context;
use crate::datasets;
use crate::failure::{STOPPED, refuse};
use crate::question::tell_notes;
use crate::streams::print_json;
use crate::{stopped, texts};

pub(super) use stored::{check_run, folder_of, model_of_run};
pub(super) use text::{with_run, with_store};

use dry::dry_run;
use request::request;
use shard::{run_shard, shard};

/// Does it for each dataset of the command line, as long as nothing stops it.
pub fn run(context: &Context, args: &IngestArgs) -> Result<ExitCode> {
    let (mut code, mut reports, mut kept) = (ExitCode::SUCCESS, Map::new(), Vec::new());
    let samples = args.samples.for_dataset(args.dataset.as_deref());
    for (name, data) in datasets::given_datasets(context, args.dataset.as_deref(), &args.data)? {
        let (dataset, samples) = (Some(name.clone()), samples.clone());
        let done = ingest_dataset(context, &IngestArgs { dataset, data, samples, ..args.clone() });
        let (ended, report) = done.inspect_err(|_| tell_kept(context, "ingested", &kept))?;
        let changes = !args.dry_run && !args.gradients.explain;
        kept.extend(changes.then(|| name.clone()));
        code = ended;
        reports.insert(name, report);
        if code != ExitCode::SUCCESS {
            break;
        }
    }
    if args.json {
        let report = match args.dataset {
            Some(_) => reports.into_iter().next().map(|(_, report)| report).unwrap_or_default(),
            None => Value::Object(reports),
        };
        print_json(&report)?;
    }
    Ok(code)
}

fn report(plan: &IngestPlan, report: &IngestReport) -> Value {
    let features = plan.features().map(|feature| {
        // One that was published may have another label than was planned.
        let key = feature.desc.key();
        let published = report.snapshot.as_ref().and_then(|snapshot| snapshot.feature_by_key(&key));
        let planned = || format!("{}/{}", plan.request.dataset, feature.attrs.label);
        json!({
            "feature": published.map_or_else(planned, |part| part.display_name()),
            "missing": plan.rows.difference(&feature.published).len(),
        })
    });
    json!({
        "finished": report.ending == RunEnding::Finished,
        "snapshot": report.snapshot.as_ref().map(|snapshot| snapshot.number()),
        "rows": plan.rows.len(),
        "features": features.collect::<Vec<_>>(),
        "computed": report.computed,
        "resumed": report.resumed,
        "tokens": report.tokens,
    })
}

/// That of an ingest that was stopped before it was planned.
fn empty_report() -> Value {
    json!({
        "finished": false, "snapshot": null, "rows": 0, "features": [], "computed": 0, "resumed": 0, "tokens": 0,
    })
}

/// Registers samples if data is given, then computes what is missing. With what was done, for programs.
fn ingest_dataset(context: &Context, args: &IngestArgs) -> Result<(ExitCode, Value)> {
    let shard = shard(args)?;
    if args.text.text.block.is_some() && args.data.is_empty() {
        refuse!("--block cuts texts before they are registered: give them with --data");
    }
    let (request, eigenbasis) = request(context, args)?;
    if args.dry_run || args.gradients.explain {
        return dry_run(context, args, request, shard.as_ref());
    }
    if let Some(shard) = shard {
        if eigenbasis.is_some() {
            context.say(
                "note: shards hold no eigenvalues; once they are attached, the same ingest without --shard computes nothing and \
                 keeps those in the store, which --damping and --filter need",
            );
        }
        return run_shard(context, args, request, &shard);
    }
    // A model that does not load must not leave its samples behind.
    check_inputs(&request)?;
    let mut bases = BaseDigests::default();
    let store = if args.data.is_empty() {
        context.open()?
    } else {
        // Before a pipe is read to its end.
        context.store_path()?;
        let samples = samples(context, args, &request, None)?;
        samples.check_texts(context, &request)?;
        check_planes(context, args, &request)?;
        let (store, report) = samples.register(context, Some((&request, &mut bases)))?;
        samples.tell(context, &report);
        store
    };
    let registered = !args.data.is_empty();
    let cancel =
        context.cancel_on_interrupt("stopping once the weights are read; press Ctrl-C again to stop at once");
    if cancel.is_raised() {
        context.say(&stopped::stopped_summary(&IngestReport::default(), 0, registered));
        return Ok((ExitCode::from(STOPPED), empty_report()));
    }
    let mut reporter = context.reporter();
    let plan = IngestPlan::with_base_digests(&store, request, &mut bases, &mut reporter)?;
    if !plan.is_done() {
        context.check_writable(false)?;
    }
    sketch::check(args, &plan)?;
    texts::tell_cut(context, &args.text.text, (&plan.request.model, &plan.request.text))?;
    tell_notes(context, plan.other_texts().iter().chain(&plan.moved()));
    if let Some(eigenbasis) = eigenbasis {
        eigenbasis.publish(&store, &plan.request.command)?;
    }
    let cancel =
        context.cancel_on_interrupt("stopping after the current batch; press Ctrl-C again to stop at once");
    let done = ingest(&store, &plan, &mut reporter, &cancel)?;
    let code = match done.ending {
        RunEnding::Stopped => {
            context.say(&stopped::stopped_summary(&done, plan.checkpoints.len(), registered));
            ExitCode::from(STOPPED)
        }
        RunEnding::Finished => {
            tell_finished(context, &plan, done.snapshot.as_deref());
            sketch::make(context, args, &store, &plan)?
        }
    };
    Ok((code, report(&plan, &done)))
}

fn tell_finished(context: &Context, plan: &IngestPlan, snapshot: Option<&Snapshot>) {
    let Some(snapshot) = snapshot else {
        context.say("nothing to compute: every feature has every row asked for");
        return;
    };
    let number = snapshot.number();
    if plan.has_all_rows() {
        context.say(&format!(
            "published snapshot {number}: run `{}` was updated; nothing was computed, as every feature has every row \
             asked for",
            plan.request.run
        ));
        return;
    }
    context.say(&format!(
        "published snapshot {number}: {} of {} of {}",
        many(plan.features().count() as u64, "feature"),
        many(plan.rows.len(), "row"),
        plan.request.dataset
    ));
    // Where the texts have another form than those of the pool, as a question says it: the same at all
    // checkpoints.
    let mut features = plan.checkpoints.iter().take(1).flat_map(|checkpoint| &checkpoint.features);
    tell_notes(context, &features.find_map(|feature| note_of_target(snapshot, &feature.desc)));
}

/// Refuses planes that the dataset's sketches do not keep, before samples are registered.
fn check_planes(context: &Context, args: &IngestArgs, request: &IngestRequest) -> Result<()> {
    if args.kept.planes.is_none() {
        return Ok(());
    }
    let Some(store) = context.open_if_there()? else { return Ok(()) };
    let snapshot = store.snapshot()?;
    if !snapshot.dataset(&request.dataset).is_ok_and(|part| part.rows > 0) {
        return Ok(());
    }
    // Its features follow from the request, whatever the rows.
    let request = IngestRequest { rows: Some(RowSet::new()), ..request.clone() };
    sketch::check(args, &IngestPlan::at(snapshot, request, &mut Silent)?)
}

/// The samples of `--data`, long texts in blocks; `scratch` is the folder for these, of none next to the
/// store.
fn samples(
    context: &Context,
    args: &IngestArgs,
    request: &IngestRequest,
    scratch: Option<&Path>,
) -> Result<SampleInputs> {
    let samples = SampleInputs::new(context, args.dataset(), &args.data, &args.samples)?;
    match args.text.text.block {
        Some(_) => samples.in_blocks(context, request, scratch),
        None => Ok(samples),
    }
}
