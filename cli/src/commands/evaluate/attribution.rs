//! `gstore evaluate lds`, `loo`, `brittleness` and `flips`: scores of training rows against retraining.

use std::path::PathBuf;

use anyhow::Result;
use gstore_core::{Cancel, many, many_of};
use gstore_evaluate::attribution::{
    AttributionOutcome, Comparison, Flips, Ids, Needed, Scores, Suspicious, Truth, TruthFolder,
    flip_detection, read_tables, removal_curves, removal_methods,
};
use gstore_evaluate::{EvaluateError, File};

use super::{base, bootstrap, pictures, result, scores};
use crate::args::{
    ComparedScoresArgs, ComparisonArgs, EvaluateAttributionArgs, EvaluateBrittlenessArgs, EvaluateFlipsArgs,
    ReportArgs, ReportFormat, TruthArgs,
};
use crate::context::Context;
use crate::failure::refuse;

/// Compares methods with the outputs of models that were retrained.
type Compare = fn(&Truth, &[Scores], &Comparison<'_>) -> Result<AttributionOutcome, EvaluateError>;

/// Compares scores with models that were retrained on subsets as `compare` needs them.
pub fn run(
    context: &Context,
    args: &EvaluateAttributionArgs,
    needed: Needed,
    compare: Compare,
) -> Result<()> {
    let read = [files_of(&args.truth), scores::files(&args.scores.methods)].concat();
    let (format, cancel) = begin(context, &args.result, &read)?;
    let truth = truth(context, &args.truth, needed, &cancel)?;
    let methods = scores::compared(context, &args.scores, (&truth.pool, &truth.queries), &cancel)?;
    context.say(&format!(
        "{} of {} for {}, against models of {}",
        many(methods.len() as u64, "method"),
        many(truth.pool.len() as u64, "row"),
        many_of(truth.queries.len() as u64, "query", "queries"),
        many(truth.done(|_| true).len() as u64, "subset"),
    ));
    let comparison = comparison(context, (&args.comparison, &args.scores), &methods, &cancel)?;
    end(context, &args.result, format, &compare(&truth, &methods, &comparison)?)
}

/// Draws what outputs lose without the rows that methods rank highest.
pub fn brittleness(context: &Context, args: &EvaluateBrittlenessArgs) -> Result<()> {
    let (format, cancel) = begin(context, &args.result, &files_of(&args.truth))?;
    let truth = truth(context, &args.truth, Needed::Removed, &cancel)?;
    let names = removal_methods(&truth);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let comparison = Comparison {
        base: base(&args.comparison, &names)?,
        bootstrap: bootstrap(&args.comparison),
        threads: context.threads,
        cancel: &cancel,
    };
    end(context, &args.result, format, &removal_curves(&truth, &comparison)?)
}

/// Compares scores by how they tell wrong labels from others.
pub fn flips(context: &Context, args: &EvaluateFlipsArgs) -> Result<()> {
    let read = [vec![args.labels.clone()], scores::files(&args.scores.methods)].concat();
    let (format, cancel) = begin(context, &args.result, &read)?;
    let labels = Flips::read(&args.labels, &cancel)?;
    // The query of no id stands for any.
    let any = Ids::new([String::new()], "the labels")?;
    let methods = scores::compared(context, &args.scores, (&labels.rows, &any), &cancel)?;
    let end_of_scores = if args.lowest { Suspicious::Lowest } else { Suspicious::Highest };
    let comparison = comparison(context, (&args.comparison, &args.scores), &methods, &cancel)?;
    let found = flip_detection(&labels, &methods, end_of_scores, &comparison)?;
    end(context, &args.result, format, &found)
}

/// Refuses places that a report cannot go to, also those of what is `read`, before any work.
fn begin(
    context: &Context,
    args: &ReportArgs,
    read: &[PathBuf],
) -> Result<(ReportFormat, std::sync::Arc<Cancel>)> {
    let format = result::check(context, args)?;
    result::check_unread((args, None), read.iter(), std::iter::empty())?;
    Ok((format, context.cancel_on_interrupt("stopping; nothing was written")))
}

/// What the results of retraining are read from, as far as it is files.
fn files_of(args: &TruthArgs) -> Vec<PathBuf> {
    let tables = [&args.subsets, &args.outputs].into_iter().flatten().cloned();
    args.truth.iter().flat_map(|folder| TruthFolder::own(folder)).chain(tables).collect()
}

/// What the models say that are asked for. Those of a folder or an ensemble have subsets of one design, and
/// what leaves rows out is compared with the whole pool.
fn truth(context: &Context, args: &TruthArgs, needed: Needed, cancel: &Cancel) -> Result<Truth> {
    match args {
        TruthArgs { ensemble: Some(name), .. } => {
            let (snapshot, _lease) = context.open_at(None)?;
            let truth = Truth::of_ensemble(&snapshot, name, cancel)?;
            truth.check_design(needed, &format!("ensemble {name}"))?;
            Ok(truth)
        }
        TruthArgs { truth: Some(folder), .. } if !TruthFolder::exists(folder) => {
            refuse!("{} is not a ground truth: `gstore evaluate retrain` makes one", folder.display())
        }
        TruthArgs { truth: Some(path), .. } => {
            let folder = TruthFolder::open(path, cancel)?;
            let truth = folder.read(cancel)?;
            truth.check_design(needed, &path.display().to_string())?;
            if needed != Needed::Random {
                folder.check_full(&truth)?;
            }
            Ok(truth)
        }
        TruthArgs { subsets: Some(subsets), outputs: Some(outputs), .. } => {
            Ok(read_tables(subsets, outputs, cancel)?)
        }
        _ => refuse!("which models? give --truth, --ensemble, or --subsets and --outputs"),
    }
}

/// How the methods are compared: with the one that knows nothing, where there is one, unless another is
/// named.
fn comparison<'a>(
    context: &Context,
    (args, scores): (&ComparisonArgs, &ComparedScoresArgs),
    methods: &[Scores],
    cancel: &'a Cancel,
) -> Result<Comparison<'a>> {
    let names: Vec<&str> = methods.iter().map(|scores| scores.method.as_str()).collect();
    let base = match (&args.against, scores.random) {
        // It is behind the others.
        (None, Some(_)) => methods.len().saturating_sub(1),
        _ => base(args, &names)?,
    };
    Ok(Comparison { base, bootstrap: bootstrap(args), threads: context.threads, cancel })
}

/// Writes the report; its folder has a page with the pictures too.
fn end(context: &Context, args: &ReportArgs, format: ReportFormat, found: &AttributionOutcome) -> Result<()> {
    let files = || -> Result<Vec<File>, EvaluateError> {
        let mut files = found.files()?;
        files.push(pictures::page(&found.report));
        Ok(files)
    };
    result::write(context, (args, None), format, &found.report, || found.rows(), files)
}
