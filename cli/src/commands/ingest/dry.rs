//! `--dry-run` and `--explain`: what an ingest would take, and how its gradients are projected.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use gstore_core::{Cancel, many};
use gstore_ingest::pipeline::{
    AddReport, IngestError, IngestEstimate, IngestPlan, IngestPreview, IngestRequest, ShardRequest, estimate,
};
use gstore_store::vfs::free_space;
use gstore_store::{Granularity, Store};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::super::add::add_forecast;
use super::{samples, sketch};
use crate::args::IngestArgs;
use crate::context::Context;
use crate::progress::time;
use crate::question::tell_notes;
use crate::streams::out;
use crate::texts;

pub(super) fn dry_run(
    context: &Context,
    args: &IngestArgs,
    request: IngestRequest,
    shard: Option<&ShardRequest>,
) -> Result<(ExitCode, Value)> {
    if !args.data.is_empty() {
        return dry_run_with_data(context, args, &request);
    }
    let store = context.open()?;
    let mut reporter = context.reporter();
    let plan = match shard {
        Some(shard) => IngestPlan::for_shard(&store, request, shard, &mut reporter)?.0,
        None => IngestPlan::new(&store, request, &mut reporter)?,
    };
    // Nothing catches Ctrl-C here: it ends the process at once.
    print(context, args, &[&plan], &Cancel::new())
}

/// With data that is not registered: it is read into a temporary store.
fn dry_run_with_data(
    context: &Context,
    args: &IngestArgs,
    request: &IngestRequest,
) -> Result<(ExitCode, Value)> {
    let store = context.open_if_there()?;
    let folder = tempfile::tempdir()?;
    let scratch = Store::create(folder.path().join("store"))?;
    let samples = samples(context, args, request, Some(folder.path()))?;
    let cancel = context.cancel_on_interrupt("stopping; press Ctrl-C again to stop at once");
    let AddReport { skipped, duplicates, .. } = samples.read(context, &scratch, None)?;
    let add = samples.request();
    let preview = IngestPreview::new(store.as_ref(), &scratch, request, add, &mut context.reporter())?;
    cancel.check().map_err(IngestError::from)?;
    context.say(&add_forecast(args.dataset(), &AddReport { skipped, duplicates, ..preview.report }));
    let plans: Vec<&IngestPlan> = preview.plans().collect();
    print(context, args, &plans, &cancel)
}

/// Explains and estimates plans that are parts of one ingest: they differ in their rows alone. With
/// what they take, for programs.
fn print(
    context: &Context,
    args: &IngestArgs,
    plans: &[&IngestPlan],
    cancel: &Cancel,
) -> Result<(ExitCode, Value)> {
    if let Some(plan) = plans.first() {
        texts::tell_cut(context, &args.text.text, (&plan.request.model, &plan.request.text))?;
    }
    let others: Vec<String> = plans.iter().flat_map(|plan| plan.other_texts()).collect();
    tell_notes(context, &others);
    if let (true, Some(plan)) = (args.gradients.explain, plans.first()) {
        print_explanation(plan)?;
    }
    let mut report = Value::Null;
    if args.dry_run {
        plans.iter().try_for_each(|plan| sketch::check(args, plan))?;
        if let Some(estimate) = estimate_all(context, plans, cancel)? {
            report = estimate_json(context, args, (plans, &estimate))?;
            if !args.json {
                print_estimate(context, args, plans, &estimate)?;
            }
        }
    }
    Ok((ExitCode::SUCCESS, report))
}

/// How each module's gradient is projected, by checkpoint.
fn print_explanation(plan: &IngestPlan) -> Result<()> {
    for checkpoint in &plan.checkpoints {
        match checkpoint.explanation()? {
            Some(explanation) => out!("{}\n{explanation}", checkpoint.arg.name),
            None => out!("{}: no gradient", checkpoint.arg.name),
        }
    }
    Ok(())
}

/// What the plans take together.
fn estimate_all(context: &Context, plans: &[&IngestPlan], cancel: &Cancel) -> Result<Option<IngestEstimate>> {
    let mut estimates = plans.iter().map(|plan| estimate(plan, cancel));
    let Some(first) = estimates.next() else { return Ok(None) };
    let estimate = estimates.try_fold(first?, |sum, more| Ok::<_, IngestError>(sum.and(&more?)))?;
    if let Some(warning) = &estimate.warning {
        context.say(warning);
    }
    Ok(Some(estimate))
}

fn estimate_json(
    context: &Context,
    args: &IngestArgs,
    (plans, estimate): (&[&IngestPlan], &IngestEstimate),
) -> Result<Value> {
    let Some(plan) = plans.first() else { return Ok(Value::Null) };
    let checkpoints = plan.checkpoints.iter().enumerate().map(|(i, checkpoint)| {
        let features = checkpoint.features.iter().enumerate().map(|(j, feature)| {
            json!({
                "label": feature.attrs.label,
                "kind": feature.kind.name(),
                "type": feature.desc.dtype.name(),
                "dimension": feature.desc.dim(),
                "missing": plans.iter().map(|plan| missing_rows(plan, i, j)).sum::<u64>(),
            })
        });
        json!({
            "name": checkpoint.arg.name,
            "weight": checkpoint.weight,
            "features": features.collect::<Vec<_>>(),
        })
    });
    Ok(json!({
        "rows": estimate.rows,
        "checkpoints": checkpoints.collect::<Vec<_>>(),
        "template": plan.request.text.template.name(),
        "max_length": plan.request.text.max_length,
        "passes": estimate.passes,
        "tokens": estimate.tokens,
        "seconds": estimate.seconds,
        "disk": estimate.disk,
        "free": free_space(&place(context, args)?),
        "sketches": args.sketch.then(|| sketch::bytes(args, plans)),
        "memory": estimate.memory,
    }))
}

/// The folder that vectors are written to.
fn place(context: &Context, args: &IngestArgs) -> Result<PathBuf> {
    args.out.clone().map_or_else(|| context.store_path().map(Path::to_owned), Ok)
}

fn print_estimate(
    context: &Context,
    args: &IngestArgs,
    plans: &[&IngestPlan],
    estimate: &IngestEstimate,
) -> Result<()> {
    let Some(plan) = plans.first() else { return Ok(()) };
    out!("rows         {}", estimate.rows);
    out!("checkpoints  {}", plan.checkpoints.len());
    for (i, checkpoint) in plan.checkpoints.iter().enumerate() {
        let weight = checkpoint.weight.map_or_else(|| "no weight".to_owned(), |w| format!("weight {w:.6e}"));
        out!("  {} ({weight})", checkpoint.arg.name);
        for (j, feature) in checkpoint.features.iter().enumerate() {
            let missing: u64 = plans.iter().map(|plan| missing_rows(plan, i, j)).sum();
            out!(
                "    {} {} x {}: {} missing",
                feature.kind.name(),
                feature.desc.dtype.name(),
                feature.desc.dim(),
                many(missing, "row")
            );
        }
    }
    let about =
        if plan.request.pass() == Granularity::Token { " (about; one for each scored token)" } else { "" };
    out!("passes       {}{about}", estimate.passes);
    out!("tokens       {} (about)", estimate.tokens);
    out!("time         {} (about)", time(estimate.seconds));
    match free_space(&place(context, args)?) {
        Some(free) => out!("disk         {}, {} free", HumanBytes(estimate.disk), HumanBytes(free)),
        None => out!("disk         {}", HumanBytes(estimate.disk)),
    }
    if args.sketch {
        out!("sketches     {} (about)", HumanBytes(sketch::bytes(args, plans)));
    }
    out!("memory       {} (about)", HumanBytes(estimate.memory));
    Ok(())
}

fn missing_rows(plan: &IngestPlan, checkpoint: usize, feature: usize) -> u64 {
    let feature = plan.checkpoints.get(checkpoint).and_then(|checkpoint| checkpoint.features.get(feature));
    feature.map_or(0, |feature| plan.rows.difference(&feature.published).len())
}
