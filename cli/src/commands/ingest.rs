//! `gstore ingest`: runs a model over a dataset and stores features by checkpoint.

mod sketch;
mod tokenizer;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use gstore::Folders;
use gstore::factors::EigenProjection;
use gstore_cli::stopped;
use gstore_core::{Silent, UnknownKind, many};
use gstore_ingest::gradient::AdamParams;
use gstore_ingest::pipeline::{
    AddReport, CheckpointArg, CheckpointWeights, Ending, IngestError, IngestPlan, IngestReport,
    IngestRequest, Preview, ShardRequest, check_inputs, estimate, ingest, ingest_shard,
};
use gstore_store::vfs::free_space;
use gstore_store::{Granularity, RowSet, RunCheckpoint, Store};
use indicatif::{HumanBytes, HumanDuration};

use super::add::Samples;
use super::gradients;
use crate::args::{DType, IngestArgs};
use crate::context::{Context, command_line};
use crate::datasets;
use crate::failure::{STOPPED, UsageError};
use crate::models::folder_error;
use crate::output::out;
use crate::texts;

/// Does it for each dataset of the command line, as long as nothing stops it.
pub fn run(context: &Context, args: &IngestArgs) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for (dataset, data) in datasets::each(args.dataset.as_deref(), &args.data)? {
        code = one(context, &IngestArgs { dataset: Some(dataset), data, ..args.clone() })?;
        if code != ExitCode::SUCCESS {
            break;
        }
    }
    Ok(code)
}

/// Registers samples if data is given, then computes what is missing.
fn one(context: &Context, args: &IngestArgs) -> Result<ExitCode> {
    let shard = shard(args)?;
    if args.text.block.is_some() && args.data.is_empty() {
        bail!(UsageError("--block cuts texts before they are registered: give them with --data".to_owned()));
    }
    let (request, eigenbasis) = request(context, args)?;
    if args.dry_run || args.gradients.explain {
        return dry_run(context, args, request, shard.as_ref());
    }
    if let Some(shard) = shard {
        return run_shard(context, args, request, &shard);
    }
    // A model that does not load must not leave its samples behind.
    check_inputs(&request)?;
    let store = if args.data.is_empty() {
        context.open()?
    } else {
        // Before a pipe is read to its end.
        context.store_path()?;
        let samples = samples(context, args, &request)?;
        samples.check_texts(context, &request)?;
        check_planes(context, args, &request)?;
        let (store, report) = samples.register(context, Some(&request))?;
        samples.tell(context, &report);
        store
    };
    let registered = !args.data.is_empty();
    let cancel =
        context.cancel_on_interrupt("stopping once the weights are read; once more to stop at once")?;
    if cancel.is_raised() {
        context.say(&stopped::told(&IngestReport::default(), 0, registered));
        return Ok(ExitCode::from(STOPPED));
    }
    let mut reporter = context.reporter();
    let plan = IngestPlan::new(&store, request, &mut reporter)?;
    if !plan.is_done() {
        context.check_writable(false)?;
    }
    sketch::check(args, &plan)?;
    texts::tell_cut(context, &args.text, &plan.request.text);
    if let Some(eigenbasis) = eigenbasis {
        eigenbasis.publish(&store, &plan.request.command)?;
    }
    let cancel =
        context.cancel_on_interrupt("stopping after the batch in work; once more to stop at once")?;
    let report = ingest(&store, &plan, &mut reporter, &cancel)?;
    match (report.ending, &report.snapshot) {
        (Ending::Stopped, _) => {
            context.say(&stopped::told(&report, plan.checkpoints.len(), registered));
            Ok(ExitCode::from(STOPPED))
        }
        (Ending::Finished, None) => {
            context.say("nothing to compute: every feature has every row asked for");
            sketch::make(context, args, &store, &plan)
        }
        (Ending::Finished, Some(snapshot)) => {
            context.say(&format!(
                "published snapshot {}: {} of {} of {}",
                snapshot.number(),
                many(plan.features().count() as u64, "feature"),
                many(plan.rows.len(), "row"),
                plan.request.dataset
            ));
            sketch::make(context, args, &store, &plan)
        }
    }
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

/// The samples of `--data`, long texts in blocks.
fn samples(context: &Context, args: &IngestArgs, request: &IngestRequest) -> Result<Samples> {
    let samples = Samples::new(context, args.dataset(), &args.data, &args.samples)?;
    match args.text.block {
        Some(_) => samples.in_blocks(context, request),
        None => Ok(samples),
    }
}

/// Which shard to compute, if not everything.
fn shard(args: &IngestArgs) -> Result<Option<ShardRequest>> {
    let (Some(shard), Some(out)) = (args.shard, &args.out) else { return Ok(None) };
    if args.sketch {
        bail!(UsageError(
            "--shard writes vectors outside the store, and sketches are built from those in it: gstore attach --sketch"
                .to_owned()
        ));
    }
    if !args.data.is_empty() {
        bail!(UsageError(
            "--shard computes samples that are registered, and never writes the store; register the data first with\n  \
             gstore add --dataset NAME --data FILE\nand then start the shards without --data"
                .to_owned()
        ));
    }
    if args.limit.is_some() {
        bail!(UsageError("--limit and --shard exclude each other: the shards share all rows".to_owned()));
    }
    Ok(Some(ShardRequest { shard, out: out.clone(), snapshot: args.snapshot.clone() }))
}

/// Computes one shard into its folder.
fn run_shard(
    context: &Context,
    args: &IngestArgs,
    request: IngestRequest,
    shard: &ShardRequest,
) -> Result<ExitCode> {
    check_inputs(&request)?;
    let store = context.open()?;
    let mut reporter = context.reporter();
    let (plan, part) = IngestPlan::for_shard(&store, request, shard, &mut reporter)?;
    texts::tell_cut(context, &args.text, &plan.request.text);
    let cancel =
        context.cancel_on_interrupt("stopping after the batch in work; once more to stop at once")?;
    let (name, out, rows) = (part.shard(), shard.out.display(), part.rows().len());
    let snapshot = part.snapshot().number();
    let with_rows = part.shards_with_rows();
    if with_rows < name.count() {
        context.say(&format!(
            "{} has work for {with_rows} shards; from {}/{} on they are empty",
            plan.request.dataset,
            with_rows + 1,
            name.count()
        ));
    }
    let report = ingest_shard(&store, &plan, part, &mut reporter, &cancel)?;
    if report.receipt.is_none() {
        context.say(&stopped::told(&report.work, plan.checkpoints.len(), false));
        return Ok(ExitCode::from(STOPPED));
    }
    if report.already {
        context.say(&format!("shard {name} in {out} is finished; nothing to do"));
    } else {
        context.say(&format!(
            "shard {name} is finished: {} of {} in snapshot {snapshot}\nwhen all {} are: gstore attach {out} ...",
            many(rows, "row"),
            plan.request.dataset,
            name.count()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what the ingest would take.
fn dry_run(
    context: &Context,
    args: &IngestArgs,
    request: IngestRequest,
    shard: Option<&ShardRequest>,
) -> Result<ExitCode> {
    if !args.data.is_empty() {
        return dry_run_with_data(context, args, &request);
    }
    let store = context.open()?;
    let mut reporter = context.reporter();
    let plan = match shard {
        Some(shard) => IngestPlan::for_shard(&store, request, shard, &mut reporter)?.0,
        None => IngestPlan::new(&store, request, &mut reporter)?,
    };
    print(context, args, &[&plan])
}

/// The same with data that is not registered: it is read into a temporary store.
fn dry_run_with_data(context: &Context, args: &IngestArgs, request: &IngestRequest) -> Result<ExitCode> {
    let store = context.open_if_there()?;
    let folder = tempfile::tempdir()?;
    let scratch = Store::create(folder.path().join("store"))?;
    let samples = samples(context, args, request)?;
    samples.read(context, &scratch, None)?;
    let exceptions = samples.exceptions();
    let preview = Preview::new(store.as_ref(), &scratch, request, exceptions, &mut context.reporter())?;
    samples.check_stopped()?;
    let AddReport { added, unchanged, replaced, kept, left_out, .. } = preview.report;
    let mut text = format!(
        "{}: {} to add, {unchanged} there already, {replaced} to replace, {} to skip",
        args.dataset(),
        many(added, "sample"),
        many(kept, "changed line")
    );
    if left_out > 0 {
        text.push_str(&format!(", {left_out} deleted before to leave out"));
    }
    context.say(&text);
    let plans: Vec<&IngestPlan> = preview.plans().collect();
    print(context, args, &plans)
}

/// Explains and estimates plans that are parts of one ingest: they differ in their rows alone.
fn print(context: &Context, args: &IngestArgs, plans: &[&IngestPlan]) -> Result<ExitCode> {
    if let Some(plan) = plans.first() {
        texts::tell_cut(context, &args.text, &plan.request.text);
    }
    if let (true, Some(plan)) = (args.gradients.explain, plans.first()) {
        print_explanation(plan)?;
    }
    if args.dry_run {
        plans.iter().try_for_each(|plan| sketch::check(args, plan))?;
        print_estimate(context, args, plans)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The plain values of the flags, as the pipeline wants them, and the eigenbasis that gradients are projected
/// to, if to one.
fn request(context: &Context, args: &IngestArgs) -> Result<(IngestRequest, Option<EigenProjection>)> {
    let mut kinds = Vec::new();
    for name in &args.features {
        let kind = name.trim().parse().map_err(|error: UnknownKind| UsageError(error.to_string()))?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    gradients::check(&args.gradients, &kinds)?;
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, kinds.iter().any(|kind| kind.needs_moments()));
    let (model, checkpoints) = match (&args.model, &args.run) {
        (Some(model), _) => {
            let model = folders.model(model).map_err(|error| folder_error("--model", error))?;
            let checkpoints = folders
                .checkpoints(&args.checkpoints)
                .map_err(|error| folder_error("--checkpoints", error))?;
            (model, checkpoints)
        }
        (None, Some(run)) => of_run(context, run, &args.checkpoints)?,
        (None, None) => {
            bail!(UsageError("which model? give --model, or --run of a run of the store".to_owned()))
        }
    };
    let mut text = texts::options(&mut folders, &args.text)?;
    if let (None, None, Some(run)) = (&args.model, &text.tokenizer, &args.run) {
        text.tokenizer = tokenizer::of_run(context, run, &model)?;
    }
    let text = texts::within_positions(&model, text)?;
    let eigenbasis = gradients::eigenbasis(context, &args.gradients)?;
    let request = IngestRequest {
        dataset: args.dataset().to_owned(),
        run: args.run.clone().unwrap_or_else(|| folders.run_name(&model, &checkpoints)),
        model,
        projection: match &eigenbasis {
            Some(eigenbasis) => eigenbasis.spec.clone().into(),
            None => gradients::projection(&args.gradients, &checkpoints, &kinds)?,
        },
        checkpoints,
        kinds,
        modules: gradients::modules(&args.gradients),
        loss: gradients::loss(&args.gradients)?,
        reduction: gradients::reduction(&args.gradients),
        granularity: gradients::granularity(&args.gradients),
        embedding: gradients::embedding(&args.gradients),
        device: args.backend,
        compute: gradients::compute(&args.gradients),
        max_memory: args.gradients.max_memory,
        dtype: match args.dtype {
            DType::F16 => gstore_store::DType::F16,
            DType::F32 => gstore_store::DType::F32,
            DType::I8 => gstore_store::DType::I8,
            DType::I1 => gstore_store::DType::I1,
        },
        text,
        adam: AdamParams::default(),
        batch_tokens: args.batch_tokens as usize,
        threads: context.threads,
        limit: args.limit,
        rows: None,
        check_room: !args.force,
        seal_after: IngestRequest::SEAL_AFTER,
        weights: args.weights.clone(),
        origins: folders.origins(),
        command: command_line(),
    };
    Ok((request, eigenbasis))
}

/// Model and checkpoints of a run of the store, by where they were when it was registered.
pub(super) fn of_run(
    context: &Context,
    run: &str,
    others: &[String],
) -> Result<(PathBuf, Vec<CheckpointArg>)> {
    if !others.is_empty() {
        bail!(UsageError(
            "--checkpoints without --model: the checkpoints of the run are used then".to_owned()
        ));
    }
    let snapshot = context.open()?.snapshot()?;
    let part = snapshot.run(run)?;
    let mut models = part.checkpoints.iter().filter_map(|checkpoint| folder_of(checkpoint, "model"));
    let model = models.next().ok_or_else(|| {
        UsageError(format!("run {run} of the store does not say where its model is: give --model"))
    })?;
    Ok((model, part.checkpoints.iter().map(checkpoint_of).collect()))
}

fn checkpoint_of(checkpoint: &RunCheckpoint) -> CheckpointArg {
    let weights = match (folder_of(checkpoint, "adapter"), folder_of(checkpoint, "weights")) {
        (Some(adapter), _) => CheckpointWeights::Adapter(adapter),
        (None, Some(weights)) => CheckpointWeights::Model(weights),
        (None, None) => CheckpointWeights::Base,
    };
    CheckpointArg { name: checkpoint.name.clone(), weights }
}

/// A folder that a checkpoint's provenance names.
pub(super) fn folder_of(checkpoint: &RunCheckpoint, key: &str) -> Option<PathBuf> {
    checkpoint.provenance.get(key).and_then(|value| value.as_str()).map(PathBuf::from)
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

fn print_estimate(context: &Context, args: &IngestArgs, plans: &[&IngestPlan]) -> Result<()> {
    let mut estimates = plans.iter().map(|plan| estimate(plan));
    let (Some(first), Some(plan)) = (estimates.next(), plans.first()) else { return Ok(()) };
    let estimate = estimates.try_fold(first?, |sum, more| Ok::<_, IngestError>(sum.and(&more?)))?;
    if let Some(warning) = &estimate.warning {
        context.say(warning);
    }
    out!("rows         {}", estimate.rows);
    out!("checkpoints  {}", plan.checkpoints.len());
    for (i, checkpoint) in plan.checkpoints.iter().enumerate() {
        let weight = checkpoint.weight.map_or_else(|| "no weight".to_owned(), |w| format!("weight {w:.6e}"));
        out!("  {} ({weight})", checkpoint.arg.name);
        for (j, feature) in checkpoint.features.iter().enumerate() {
            let missing: u64 = plans.iter().map(|plan| missing(plan, i, j)).sum();
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
    out!("time         {} (about)", HumanDuration(std::time::Duration::from_secs_f64(estimate.seconds)));
    let place = args.out.clone().map_or_else(|| context.store_path().map(Path::to_owned), Ok)?;
    match free_space(&place) {
        Some(free) => out!("disk         {}, {} free", HumanBytes(estimate.disk), HumanBytes(free)),
        None => out!("disk         {}", HumanBytes(estimate.disk)),
    }
    if args.sketch {
        out!("sketches     {} (about)", HumanBytes(sketch::bytes(args, plans)));
    }
    out!("memory       {} (about)", HumanBytes(estimate.memory));
    Ok(())
}

/// Rows that a feature of a checkpoint lacks.
fn missing(plan: &IngestPlan, checkpoint: usize, feature: usize) -> u64 {
    let feature = plan.checkpoints.get(checkpoint).and_then(|checkpoint| checkpoint.features.get(feature));
    feature.map_or(0, |feature| plan.rows.difference(&feature.published).len())
}
