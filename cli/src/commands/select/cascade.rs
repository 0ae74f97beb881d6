//! `gstore select --cascade`: the pool's gradients, stage by stage for the rows that are left.

use std::io::Write;

use anyhow::{Result, bail};
use gstore::{AnswerError, CascadeReport, CascadeRequest, Device, Folders};
use gstore_ingest::pipeline::SampleEncoderOptions;
use gstore_learn::FitOptions;
use gstore_learn::judge::percent;
use gstore_query::influence::{Diversity, InfluenceSpec, Order};
use gstore_store::Store;
use serde_json::{Value, json};

use super::kept::TargetJournal;
use super::told::print;
use crate::args::SelectArgs;
use crate::commands::folder::is_folder;
use crate::commands::prefilter::{C, alphas, learner};
use crate::context::Context;
use crate::failure::{NothingSaved, condition_error, refuse};
use crate::models::folder_error;
use crate::output::{Output, check};
use crate::streams::out;

const STOPPING: &str = "stopping after the current batch; press Ctrl-C again to stop at once";

/// Refuses what a cascade cannot do, before anything is computed.
pub(super) fn check_flags(context: &Context, args: &SelectArgs, rules: &Diversity) -> Result<()> {
    let models = &args.cascade.models;
    if args.cascade.cascade.is_none() {
        if models.model.is_some() || !models.checkpoint_folders.is_empty() {
            refuse!("--model and --checkpoint-folders say where the models of a --cascade are");
        }
        #[cfg(feature = "serve")]
        if args.server.remote.is_some() && models.backend != Device::Cpu {
            refuse!(
                "--backend has no effect with --remote, where the server scans: start the server with --backend"
            );
        }
        if !matches!(models.backend, Device::Cpu | Device::Cuda(_)) {
            refuse!(
                "--backend {} computes features, as only a --cascade does: stored rows are scanned by cpu or cuda",
                models.backend
            );
        }
        return Ok(());
    }
    if *rules != Diversity::default() {
        refuse!(
            "--cascade keeps the first rows of the plain ranking, and rules of the selection look further down it"
        );
    }
    if args.of.is_some() {
        refuse!("--cascade selects a share of its pool, whose other rows it never computes: leave --of out");
    }
    if args.cascade.estimate && (args.scores.is_some() || args.with_scores || args.draw.plot.is_some()) {
        refuse!(
            "--estimate selects nothing, so there are no scores: leave --scores, --with-scores and --plot out"
        );
    }
    if args.state.snapshot.is_some() {
        refuse!("--cascade computes features of the store as it is now: leave --snapshot out");
    }
    for (option, flag) in [("mode", "--mode"), ("missing", "--missing")] {
        if args.scoring.0.value(option).is_some() {
            let why = "--cascade scores exactly, and leaves out rows of which something is missing";
            refuse!("{why}: leave {flag} out");
        }
    }
    #[cfg(feature = "serve")]
    if args.server.remote.is_some() {
        refuse!("--cascade works only with a local store, not with --remote");
    }
    match args.cascade.report.as_deref() {
        Some(report) => {
            let output = args.output.as_deref().filter(|output| !is_folder(output));
            let scores = super::scores_path(args);
            let files: Vec<_> =
                [Some(report), output, scores.as_deref()].into_iter().filter(Option::is_some).collect();
            check(context, &files, args.force)
        }
        None => Ok(()),
    }
}

/// The question that is asked of the pool: as the flags ask it, or of the rows that a cascade has
/// gradients of, with the cascade's report, which is to appear with the selected rows. None where it
/// was only to be estimated.
pub(super) fn computed(
    context: &Context,
    args: &SelectArgs,
    (store, kept): (&Store, Option<&TargetJournal>),
    spec: InfluenceSpec,
) -> Result<Option<(InfluenceSpec, Option<Output>)>> {
    let Some(stages) = &args.cascade.cascade else { return Ok(Some((spec, None))) };
    let request = request(context, args, stages, spec)?;
    let cancel = context.cancel_on_interrupt(STOPPING);
    let mut reporter = context.reporter();
    let mut work = context.work(&mut reporter, &cancel);
    let prepared = gstore::prepare_cascade(store, &request, &mut work);
    if let Err(AnswerError::Cascade(why)) = &prepared {
        answer(args, None, Some(why))?;
        write(args, kept, (None, Some(why)))?;
    }
    let cascade = prepared.map_err(|error| match error {
        AnswerError::Condition(error) => condition_error(error),
        AnswerError::Cascade(why) => NothingSaved(why).into(),
        error => error.into(),
    })?;
    let refused = (!cascade.report.saves()).then(|| {
        format!(
            "only the sample was computed: this cascade would save {} of the cost of all gradients; other stages, more --labels or a \
             lower --recall may do better",
            percent(cascade.report.cost.saving())
        )
    });
    if args.cascade.estimate {
        answer(args, Some(&cascade.report), refused.as_deref())?;
        write(args, kept, (Some(&cascade.report), refused.as_deref()))?;
    } else if refused.is_some() {
        context.say(cascade.report.to_string().trim_end());
        write(args, kept, (Some(&cascade.report), refused.as_deref()))?;
    }
    if let Some(why) = refused {
        bail!(NothingSaved(why));
    }
    if args.cascade.estimate {
        return Ok(None);
    }
    let spec = cascade.spec().clone();
    let report = cascade.run(store, &mut work)?;
    context.say(report.to_string().trim_end());
    Ok(Some((spec, begun(args, Some(&report), None)?)))
}

fn request(
    context: &Context,
    args: &SelectArgs,
    stages: &str,
    spec: InfluenceSpec,
) -> Result<CascadeRequest> {
    let models = &args.cascade.models;
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, true);
    let model = models.model.as_deref().map(|model| folders.model(model)).transpose();
    let model = model.map_err(|error| folder_error("--model", error))?;
    let checkpoints = match models.checkpoint_folders.as_slice() {
        // Without any, the base model would be one.
        [] => Vec::new(),
        patterns => {
            folders.checkpoints(patterns).map_err(|error| folder_error("--checkpoint-folders", error))?
        }
    };
    Ok(CascadeRequest {
        spec,
        top: args.top.clone(),
        order: if args.worst { Order::Worst } else { Order::Best },
        condition: args.filter.clone(),
        stages: stages.to_owned(),
        recall: args.cascade.recall,
        labels: args.cascade.labels,
        learner: learner(args.cascade.learner, alphas(), C, FitOptions::default().top),
        rounds: args.cascade.rounds,
        seed: args.cascade.seed,
        models: SampleEncoderOptions {
            model,
            checkpoints,
            device: models.backend,
            threads: context.threads,
            keep: 0,
        },
    })
}

/// Prints an estimate, which is what the command was asked for.
fn answer(args: &SelectArgs, report: Option<&CascadeReport>, refused: Option<&str>) -> Result<()> {
    match (args.cascade.estimate, args.json, report) {
        (true, true, _) => print(args, &value(args, report, refused))?,
        (true, false, Some(report)) => out!("{}", report.to_string().trim_end()),
        _ => {}
    }
    Ok(())
}

/// Writes the report, where there is one, and why the cascade is refused, where it is.
fn write(
    args: &SelectArgs,
    kept: Option<&TargetJournal>,
    (report, refused): (Option<&CascadeReport>, Option<&str>),
) -> Result<()> {
    match begun(args, report, refused)? {
        Some(output) => super::place(kept, (None, vec![output]), refused),
        None => Ok(()),
    }
}

/// The same as a file that has not appeared yet; none where no report is asked for.
fn begun(args: &SelectArgs, report: Option<&CascadeReport>, refused: Option<&str>) -> Result<Option<Output>> {
    let Some(path) = args.cascade.report.as_deref() else { return Ok(None) };
    let mut output = Output::create_among(Some(path), args.force)?;
    if path.extension().is_some_and(|ending| ending == "json") {
        serde_json::to_writer_pretty(&mut output, &value(args, report, refused))?;
        output.write_all(b"\n")?;
    } else {
        output.write_all(report.map(ToString::to_string).unwrap_or_default().as_bytes())?;
        refused.map_or(Ok(()), |why| writeln!(output, "refused: {why}"))?;
    }
    Ok(Some(output))
}

fn value(args: &SelectArgs, report: Option<&CascadeReport>, refused: Option<&str>) -> Value {
    let saving = report.map(|report| report.cost.saving());
    json!({ "targets": args.target, "report": report, "saving": saving, "refused": refused })
}
