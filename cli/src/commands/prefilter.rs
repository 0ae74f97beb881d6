//! `gstore prefilter`: models that predict which rows deserve gradients.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};
use gstore::{
    ApplyReport, KeptRows, LabelDraw, LabelRequest, PredictionTable, PrefilterNote, PrefilterRequest,
};
use gstore_core::many;
use gstore_learn::FitOptions;
use gstore_learn::judge::{Budget, Report, percent};
use gstore_learn::learners::{Learner, TreeOptions};
use gstore_store::{ArtifactPart, Snapshot};
use serde_json::json;

use super::folder::{DATASET, NewFolder, finish_all};
use super::rows_file::RowsForm;
use crate::args::{
    Format, LabelArgs, ListOfStateArgs, PictureArgs, PrefilterApplyArgs, PrefilterArgs,
    PrefilterEvaluateArgs, PrefilterFitArgs, PrefilterLearner, PrefilterReportArgs, PrefilterWhat,
};
use crate::context::Context;
use crate::drawing;
use crate::ending::{format_of, format_of_scores};
use crate::failure::{NothingSaved, UsageError, refuse};
use crate::output::{Output, OutputTarget, check, check_json, path_text};
use crate::question::{named, scoring};
use crate::statements;
use crate::streams::{out, print_json};

const STOPPING: &str = "stopping, if nothing is written yet; press Ctrl-C again to stop at once";

/// Weight of the log losses of a logistic regression, where none is given.
pub const C: f64 = 0.1;

/// Does what the flags say.
pub fn run(context: &Context, args: &PrefilterArgs) -> Result<()> {
    match &args.what {
        PrefilterWhat::Fit(args) => fit(context, args),
        PrefilterWhat::Apply(args) => apply(context, args),
        PrefilterWhat::Evaluate(args) => evaluate(context, args),
        PrefilterWhat::List(args) => list(context, args),
    }
}

fn fit(context: &Context, args: &PrefilterFitArgs) -> Result<()> {
    check_report(context, &args.report, args.force)?;
    // What cannot be kept is refused before the work, and where nothing is to be kept as well.
    ArtifactPart::check_name(&args.name).map_err(|error| UsageError(error.to_string()))?;
    let store = context.open()?;
    let (snapshot, _lease) = context.snapshot(&store, args.labels.snapshot.as_ref())?;
    let seen = store.snapshot()?;
    if seen.artifacts()?.contains(&args.name) && !args.force {
        let name = &args.name;
        refuse!("there is an artifact `{name}` already; --force replaces it");
    }
    let request = PrefilterRequest {
        pool: args.labels.pool.clone(),
        features: args.inputs.clone(),
        labels: LabelRequest {
            drawn: if args.random_labels { LabelDraw::AsStated } else { LabelDraw::Unknown },
            ..labels(&snapshot, &args.labels)?
        },
        options: options(args)?,
        seconds: args.feature_seconds.zip(args.gradient_seconds),
    };
    let cancel = context.cancel_on_interrupt(STOPPING);
    let mut reporter = context.reporter();
    let work = &mut context.work(&mut reporter, &cancel);
    let (prefilter, report) = gstore::fit_prefilter(&snapshot, &request, work)?;
    if args.dry_run || !report.saves() {
        write_report(context, &args.report, (&report, None), args.force)?;
    }
    if !report.saves() {
        let saving = report.cost.map_or(0.0, |cost| cost.saving());
        bail!(NothingSaved(format!(
            "the prefilter was not saved: it would keep {} of the rows and cost {:.1} % of the work that it is meant to save; {}",
            percent(report.kept()),
            100.0 * (1.0 - saving),
            way_out(args.budget, &report)
        )));
    }
    if args.dry_run {
        return Ok(());
    }
    cancel.check().map_err(gstore_query::QueryError::from)?;
    let over = args.force.then_some(&*seen);
    let published = gstore::publish_prefilter(&store, &args.name, &prefilter, over, work.command)?;
    write_report(context, &args.report, (&report, Some(published.number())), args.force).with_context(
        || {
            format!(
                "snapshot {} has the prefilter {}, but its report was not written",
                published.number(),
                args.name
            )
        },
    )?;
    context.say(&format!("snapshot {}: prefilter {}", published.number(), args.name));
    Ok(())
}

/// What may save something where a prefilter saves nothing.
fn way_out(budget: Option<f64>, report: &Report) -> String {
    if let Some(unpredicted) = report.too_many_unpredicted() {
        return format!("it keeps {}: --inputs that more rows have may do better", unpredicted.text());
    }
    let way_out = match budget {
        None => "more labelled rows, other --inputs, a lower --recall or a --budget may do better",
        Some(share) if report.choice.cuts.iter().any(|cut| cut.share > share + 0.01) => {
            "more rows have the same prediction than --budget is to keep: other --inputs tell more of them apart"
        }
        Some(_) => "fewer labelled rows, inputs that cost less, or a smaller --budget may do better",
    };
    way_out.to_owned()
}

fn evaluate(context: &Context, args: &PrefilterEvaluateArgs) -> Result<()> {
    check_report(context, &args.report, args.force)?;
    let (snapshot, _lease) = context.open_at(args.labels.snapshot.as_ref())?;
    let prefilter = gstore::prefilter(&snapshot, &args.name)?;
    let labels = labels(&snapshot, &args.labels)?;
    let options = FitOptions {
        seed: args.labels.seed,
        budgets: args.report.budgets.clone(),
        resamples: args.report.resamples,
        ..FitOptions::default()
    };
    let cancel = context.cancel_on_interrupt(STOPPING);
    let mut reporter = context.reporter();
    let work = &mut context.work(&mut reporter, &cancel);
    let asked = (args.labels.pool.as_str(), &labels);
    let report = gstore::evaluate_prefilter(&snapshot, &prefilter, asked, &options, work)?;
    write_report(context, &args.report, (&report, None), args.force)
}

fn apply(context: &Context, args: &PrefilterApplyArgs) -> Result<()> {
    let (output, predictions) = (args.output.as_deref(), args.predictions.as_deref());
    let form = RowsForm::of(context, output, predictions, args.force)?;
    let format = predictions.map(format_of_scores).transpose()?;
    if args.json {
        check_json([output, predictions].into_iter().flatten())?;
    }
    let (snapshot, _lease) = context.open_at(args.snapshot.as_ref())?;
    let prefilter = gstore::prefilter(&snapshot, &args.name)?;
    let cancel = context.cancel_on_interrupt(STOPPING);
    let mut reporter = context.reporter();
    let work = &mut context.work(&mut reporter, &cancel);
    let folder = output.filter(|_| form == RowsForm::Folder);
    let folder = folder.map(|path| NewFolder::begin(path, DATASET, args.force)).transpose()?;
    let create = Output::creating(&[output.is_some(), predictions.is_some()]);
    let create = |path: &Path| create(Some(path), args.force);
    let mut kept = output.filter(|_| form != RowsForm::Folder).map(create).transpose()?;
    let mut table = predictions.map(create).transpose()?;
    let into_table = table.as_mut().zip(format).map(|(out, format)| table_to(out, format));
    let into_kept = match (&folder, form, kept.as_mut()) {
        (Some(folder), ..) => Some(KeptRows::Dataset(folder.path())),
        (None, RowsForm::Table(format), Some(out)) => Some(KeptRows::Table(table_to(out, format))),
        (None, _, Some(out)) => Some(KeptRows::Lines(out)),
        (None, _, None) => None,
    };
    let found = gstore::apply_prefilter(&snapshot, &prefilter, &args.pool, into_kept, into_table, work)?;
    cancel.check().map_err(gstore_query::QueryError::from)?;
    finish_all(folder, [kept, table].into_iter().flatten())?;
    if args.json {
        let ApplyReport { rows, kept, unpredicted } = found;
        let report = json!({
            "prefilter": args.name, "pool": args.pool, "rows": rows, "kept": kept, "unpredicted": unpredicted,
            "output": output.map(path_text), "predictions": predictions.map(path_text),
        });
        print_json(&report)?;
    } else {
        let share = found.kept as f64 / found.rows.max(1) as f64;
        context.say(&format!("{} of {} kept ({})", found.kept, many(found.rows, "row"), percent(share)));
    }
    Ok(())
}

fn table_to(out: &mut Output, format: Format) -> PredictionTable<'_> {
    PredictionTable { out: Box::new(out), format }
}

fn list(context: &Context, args: &ListOfStateArgs) -> Result<()> {
    let to = &args.output.to;
    statements::check_place(context, to)?;
    let (snapshot, _lease) = context.open_at(args.snapshot.as_ref())?;
    let notes = gstore::list_prefilters(&snapshot)?;
    let text = |of: &dyn Fn(&PrefilterNote) -> Option<String>| -> ArrayRef {
        Arc::new(notes.iter().map(of).collect::<StringArray>())
    };
    let number = |of: &dyn Fn(&PrefilterNote) -> Option<u64>| -> ArrayRef {
        Arc::new(notes.iter().map(of).collect::<UInt64Array>())
    };
    // A row of text has them as a text, and what is read by programs as a list.
    let is_text = !matches!(format_of(to)?, Format::Json | Format::Parquet | Format::Arrow);
    let list = |of: &dyn Fn(&PrefilterNote) -> &[String]| match is_text {
        true => text(&|note| Some(of(note).join(", "))),
        false => lists(notes.iter().map(of)),
    };
    let created = |note: &PrefilterNote| note.created.and_then(|at| i64::try_from(at).ok());
    let created = notes.iter().map(created).collect::<TimestampMillisecondArray>().with_timezone("+00:00");
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("name", text(&|note| Some(note.name.clone())), false),
        ("dataset", text(&|note| note.dataset.clone()), true),
        ("targets", list(&|note| note.targets.as_slice()), false),
        ("learner", text(&|note| Some(note.learner.clone())), false),
        ("features", list(&|note| note.features.as_slice()), false),
        ("rows", number(&|note| note.rows), true),
        ("snapshot", number(&|note| Some(note.snapshot)), false),
        ("created", Arc::new(created), true),
    ])?;
    statements::write(context, to, batch)
}

fn lists<'n>(rows: impl Iterator<Item = &'n [String]>) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for texts in rows {
        texts.iter().for_each(|text| lists.values().append_value(text));
        lists.append(true);
    }
    Arc::new(lists.finish())
}

fn labels(snapshot: &Snapshot, args: &LabelArgs) -> Result<LabelRequest> {
    if args.scoring.0.value("missing").is_some() {
        refuse!(
            "labels are the scores of whatever rows have gradients at all checkpoints: leave --missing out"
        );
    }
    Ok(LabelRequest {
        spec: scoring(&args.scoring.0)?,
        dataset: args.labels_of.clone().unwrap_or_else(|| args.pool.clone()),
        targets: named(snapshot, &args.target)?,
        most: args.labels,
        seed: args.seed,
        drawn: LabelDraw::Unknown,
    })
}

fn options(args: &PrefilterFitArgs) -> Result<FitOptions> {
    let (is_ridge, is_logistic) =
        (args.learner == PrefilterLearner::Ridge, args.learner == PrefilterLearner::Logistic);
    for (flag, is_given, is_of_it, word) in [
        ("--alpha", !args.alpha.is_empty(), is_ridge, "ridge"),
        ("--c", args.c.is_some(), is_logistic, "logistic"),
    ] {
        if is_given && !is_of_it {
            refuse!("{flag} requires --learner {word}");
        }
    }
    let alphas = if args.alpha.is_empty() { alphas() } else { args.alpha.clone() };
    let options = FitOptions {
        learner: learner(args.learner, alphas, args.c.unwrap_or(C), args.top),
        folds: args.folds,
        seed: args.labels.seed,
        top: args.top,
        budgets: args.report.budgets.clone(),
        budget: args.budget.map_or(Budget::Recall(args.recall), Budget::Share),
        resamples: args.report.resamples,
    };
    options.check().map_err(|error| UsageError(error.to_string()))?;
    if let Some((_, twice)) =
        args.inputs.iter().enumerate().find(|(i, name)| args.inputs[..*i].contains(name))
    {
        refuse!("--inputs: `{twice}` is named twice");
    }
    Ok(options)
}

/// The penalties that a ridge chooses from, where none are given.
pub fn alphas() -> Vec<f64> {
    match FitOptions::default().learner {
        Learner::Ridge { alphas } => alphas,
        _ => Vec::new(),
    }
}

/// The learner of a word, with the options that are its own.
pub fn learner(word: PrefilterLearner, alphas: Vec<f64>, c: f64, top: f64) -> Learner {
    match word {
        PrefilterLearner::Ridge => Learner::Ridge { alphas },
        PrefilterLearner::Logistic => Learner::Logistic { c, top },
        PrefilterLearner::Trees => Learner::Trees(TreeOptions::default()),
        PrefilterLearner::Classifier => Learner::Classifier,
        PrefilterLearner::Regressor => Learner::Regressor,
    }
}

fn check_report(context: &Context, args: &PrefilterReportArgs, force: bool) -> Result<()> {
    let files: Vec<Option<&Path>> =
        [&args.output, &args.plot].into_iter().flatten().map(|path| Some(path.as_path())).collect();
    check(context, &files, force)?;
    drawing::check_file(context, args.plot.as_deref(), force)
}

/// Writes a report, of which it is said in which snapshot the prefilter is, if it was published.
fn write_report(
    context: &Context,
    args: &PrefilterReportArgs,
    (report, snapshot): (&Report, Option<u64>),
    force: bool,
) -> Result<()> {
    let path = args.output.as_deref();
    let text = |as_json: bool| -> Result<String> {
        let value = || {
            json!({
                "snapshot": snapshot,
                "report": report,
                "saving": report.cost.map(|cost| cost.saving()),
            })
        };
        let text = if as_json { serde_json::to_string_pretty(&value())? } else { report.to_string() };
        Ok(text.trim_end().to_owned())
    };
    let is_file = OutputTarget::of(path).is_file();
    if is_file {
        // The name says what is in it, also where JSON is printed.
        let as_json = path.is_some_and(|path| path.extension().is_some_and(|e| e == "json"));
        let mut output = Output::create(path, force)?;
        output.write_all(text(as_json)?.as_bytes())?;
        output.write_all(b"\n")?;
        output.finish()?;
        // What a reader should know is not left to who opens the file.
        report.notes.iter().for_each(|note| context.say(&format!("note: {note}")));
    }
    if !is_file || args.json {
        out!("{}", text(args.json)?);
    }
    if let Some(plot) = &args.plot {
        let picture = gstore::recall_picture(report);
        drawing::draw(&PictureArgs { output: Some(plot.clone()), force, width: None }, &picture)?;
    }
    Ok(())
}
