//! `gstore score`: scores of rows whose gradients are computed again, preconditioned by factors of curvature.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use gstore::Folders;
use gstore::factors::{
    Filter, HeldOutputs, LikeFactors, RotatedSide, ScoreForm, ScoreOutput, ScorePer, ScoreReport,
    ScoreRequest, ScoreSegment, ScoreSolve, ScoreTarget, SolveLimits, SolvedQuery, Strategy, TableOutput,
    forecast_scores, like_factors, like_segment, score_rows,
};
use gstore_core::{many, many_of};
use gstore_data::{SampleSource, TextOptions};
use gstore_ingest::pipeline::{CheckpointArg, IngestRequest};
use gstore_store::Snapshot;
use indicatif::HumanBytes;

use super::evaluate::check_markdown;
use super::factors::{place, with_engine};
use super::folder::{self, NewFolder, OF_QUERIES, OF_ROWS_THEMSELVES, OF_SCORES, SCORES};
use super::gradients::devices;
use crate::args::{ScoreArgs, ScoreSegmentArg, ScoreSolver};
use crate::context::Context;
use crate::ending::format_of;
use crate::failure::refuse;
use crate::models::folder_error;
use crate::output::{self, Output, check_outside, folder_of};
use crate::statements;
use crate::streams::{out, print_json};
use crate::texts;

/// Queries that cannot be solved for whose reasons are said; --json has all.
const NAMED: usize = 10;

const STOPPING: &str = "stopping after the current batches; press Ctrl-C again to stop at once";

/// Does what the flags say.
pub fn run(context: &Context, args: &ScoreArgs) -> Result<()> {
    let to = &args.output;
    let held = HeldOutputs { folder: args.kronfluence.is_some(), report: args.report.is_some() };
    let has_table = !held.any() || to.output.is_some() || to.format.is_some();
    check_curvature(args)?;
    check(context, args, has_table)?;
    let (snapshot, _lease) = context.open_at(args.snapshot.as_ref())?;
    let request = request(context, args, &snapshot)?;
    let cancel = context.cancel_on_interrupt(STOPPING);
    let mut reporter = context.reporter();
    let mut work = context.work(&mut reporter, &cancel);
    if args.dry_run {
        let report = forecast_scores(&snapshot, &request, held, &mut work)?;
        return preview(&report, args.json);
    }
    check_unread(args, &request)?;
    let create = Output::creating(&[has_table, args.report.is_some(), args.kronfluence.is_some()]);
    let mut table = has_table.then(|| create(to.output.as_deref(), to.force)).transpose()?;
    let format = format_of(to)?;
    let into_table = table.as_mut();
    let into_table =
        into_table.map(|out| TableOutput { out: Box::new(out), format, style: statements::style() });
    let mut shown = args.report.as_deref().map(|path| create(Some(path), to.force)).transpose()?;
    let folder = args.kronfluence.as_deref().map(|path| begin_folder(context, args, path)).transpose()?;
    let output = ScoreOutput {
        table: into_table,
        folder: folder.as_ref().map(|folder| folder.path().to_owned()),
        report: shown.as_mut().map(|out| out as &mut dyn Write),
    };
    let report = score_rows(&snapshot, &request, output, &mut work)?;
    folder::finish_all(folder, [table, shown].into_iter().flatten())?;
    if let Some(why) = &report.stale {
        context.say(&format!("note: the factors are stale: {why}"));
    }
    if args.json {
        print_json(&report)?;
    }
    context.say(&score_summary(&report));
    check_solved(context, &report.solved, args.keep_going)
}

/// Says which queries could not be solved for, and fails unless the others are enough.
fn check_solved(context: &Context, queries: &[SolvedQuery], is_enough: bool) -> Result<()> {
    let failed: Vec<&String> = queries.iter().filter_map(|query| query.failed.as_ref()).collect();
    failed.iter().take(NAMED).for_each(|why| context.say(why));
    match failed.len() {
        0 => Ok(()),
        _ if is_enough => Ok(()),
        count if count == queries.len() => bail!(
            "none of {} could be solved for, so there are no scores. With --keep-going this is not a failure",
            many_of(queries.len() as u64, "query", "queries")
        ),
        count => bail!(
            "{count} of {} could not be solved for and have no scores; those of the others are written. With --keep-going this is not a failure",
            many_of(queries.len() as u64, "query", "queries")
        ),
    }
}

/// Refuses what says nothing of the curvature or of the queries, and a damping that nothing uses.
fn check_curvature(args: &ScoreArgs) -> Result<()> {
    if args.factors.is_none() && args.segment.is_empty() && args.model.model.is_none() {
        refuse!(
            "scores need factors of curvature: give --factors NAME (`gstore factors fit NAME --dataset POOL --model MODEL` fits them, \
             `gstore factors list` shows which there are), or --segment NAME=STEPS*RATE for each segment of training, or --model MODEL alone to compare its gradients without curvature"
        );
    }
    if args.target.is_none() && args.target_data.is_empty() && !args.of_self {
        refuse!(
            "there are no queries to score for: give --target NAME (the samples of a dataset) or --target-data FILES, or --self to score each row for itself"
        );
    }
    if args.stale && args.factors.is_none() && args.segment.is_empty() {
        refuse!("--stale has no effect without --factors or --segment: leave it out");
    }
    let inverts = args.filter.iter().any(|filter| filter.damping().is_some());
    let has_curvature = args.factors.is_some() && args.strategy != Some(Strategy::Identity);
    let is_used = inverts && has_curvature;
    if !args.damping.is_empty() && !is_used {
        let why = match inverts {
            true => "the identity has no eigenvalues to invert",
            false => "no --filter inverts them",
        };
        refuse!("--damping is added to eigenvalues that are inverted, and {why}: leave it out");
    }
    Ok(())
}

/// Refuses outputs that cannot be, before any work.
fn check(context: &Context, args: &ScoreArgs, has_table: bool) -> Result<()> {
    if args.top.is_some() && !has_table {
        refuse!(
            "--top limits the table of scores, and no table is written: name its file with --output, or leave --top out"
        );
    }
    if args.dry_run {
        return Ok(());
    }
    let table = has_table.then(|| args.output.output.as_deref().unwrap_or(Path::new("-")));
    if let Some(table) = table {
        statements::check_place(context, &args.output)?;
        if args.json {
            output::check_json([table])?;
        }
    }
    output::check_apart(table.into_iter().chain(args.report.as_deref()))?;
    if let Some(report) = &args.report {
        check_markdown(Some(report))?;
        output::check(context, &[Some(report)], args.output.force)?;
    }
    let Some(folder) = &args.kronfluence else { return Ok(()) };
    check_outside(context, folder)?;
    match folder.exists() {
        true => folder::check(folder, SCORES, args.output.force),
        false => Ok(()),
    }
}

/// Refuses outputs in the place of the queries' files, and of what is in the folders of models.
fn check_unread(args: &ScoreArgs, request: &ScoreRequest) -> Result<()> {
    let checkpoints = request.segments.iter().flat_map(|segment| &segment.checkpoints);
    let checkpoints = checkpoints.chain(&request.ingest.checkpoints).filter_map(CheckpointArg::folder);
    let outputs = [args.output.output.as_deref(), args.report.as_deref()];
    let queries = args.target_data.iter().map(PathBuf::as_path);
    output::check_unread(&outputs, queries, checkpoints.chain([request.ingest.model.as_path()]))
}

/// Begins the folder of scores. Those of the other kind that are in its place go on in it, and this is said:
/// scores of other arguments or rows are refused then, but not those of other factors.
fn begin_folder(context: &Context, args: &ScoreArgs, path: &Path) -> Result<NewFolder> {
    let folder = NewFolder::begin(path, SCORES, args.output.force)?;
    let others: &[&str] = if args.of_self { &OF_QUERIES } else { &OF_ROWS_THEMSELVES };
    if let Some(scores) = others.first().filter(|scores| folder.target().join(scores).exists()) {
        folder.take(&OF_SCORES)?;
        folder.take(others)?;
        context.say(&format!("note: {scores} of an earlier command stays"));
    }
    Ok(folder)
}

fn request(context: &Context, args: &ScoreArgs, snapshot: &Arc<Snapshot>) -> Result<ScoreRequest> {
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, false);
    let given = place(&mut folders, &args.model)?;
    let segments = segments(&mut folders, args, (snapshot, given.as_ref().map(|(model, _)| model)))?;
    // Queries are those of the last checkpoint.
    let last = segments.last().map(|last| {
        let checkpoint = last.checkpoints.last().cloned().into_iter().collect();
        (last.factors.clone(), Some((last.model.clone(), checkpoint)))
    });
    let of_factors = last.or_else(|| args.factors.clone().map(|name| (name, given.clone())));
    let ingest = match (of_factors, given) {
        (Some((name, given)), _) => {
            let LikeFactors { ingest, states_encoding, .. } = like_factors(snapshot, &name, given)?;
            if states_encoding && args.text.is_given() {
                refuse!(
                    "factors {name} say how texts become tokens: leave --template, --system, --tokenizer, --max-length and --block out"
                );
            }
            if states_encoding {
                ingest
            } else {
                let text = text(context, &mut folders, args, (snapshot, &ingest.model))?;
                context.say(&format!(
                    "factors {name} do not say how texts became tokens: using the template {} and at most {} tokens a sample",
                    text.template, text.max_length
                ));
                IngestRequest { text, ..ingest }
            }
        }
        (None, Some((model, checkpoints))) => {
            let text = text(context, &mut folders, args, (snapshot, &model))?;
            let compute = devices(&args.engine.devices)?.0.default_compute();
            IngestRequest { checkpoints, text, compute, ..IngestRequest::new("", model) }
        }
        (None, None) => refuse!("which model? give --factors or --model"),
    };
    let ingest = IngestRequest { dataset: args.pool.clone(), limit: args.limit, ..ingest };
    let per = match (args.per_module, args.per_token) {
        (true, _) => ScorePer::Module,
        (false, true) => ScorePer::Token,
        (false, false) => ScorePer::Row,
    };
    Ok(ScoreRequest {
        factors: args.factors.clone(),
        strategy: args.strategy,
        ingest: with_engine(ingest, &args.engine)?,
        enlarges_batches: args.engine.batch_tokens.is_none(),
        target: target(args, snapshot)?,
        filters: filters(args),
        segments,
        form: ScoreForm { per, summed: args.sum_pool },
        rotate: args.rotate,
        rank: args.rank,
        solve: solve(args),
        top: args.top,
        stale: args.stale,
        scratch: scratch(args),
    })
}

fn solve(args: &ScoreArgs) -> Option<ScoreSolve> {
    let ScoreSolver::Cg = args.solver?;
    let limits =
        SolveLimits { tolerance: args.tolerance.unwrap_or(1e-3), iterations: args.iterations.unwrap_or(50) };
    Some(ScoreSolve { limits, rows: args.solver_rows, dataset: args.solver_data.clone() })
}

/// Where temporary files go: next to an output, or where programs have them.
fn scratch(args: &ScoreArgs) -> PathBuf {
    let outputs = [&args.output.output, &args.report];
    outputs.into_iter().find_map(|output| folder_of(output.as_deref())).unwrap_or_else(std::env::temp_dir)
}

/// The segments of training, of one model.
fn segments(
    folders: &mut Folders<'_>,
    args: &ScoreArgs,
    (snapshot, model): (&Arc<Snapshot>, Option<&PathBuf>),
) -> Result<Vec<ScoreSegment>> {
    let of = |segment: &ScoreSegmentArg| -> Result<ScoreSegment> {
        let ScoreSegmentArg { factors, filter, checkpoints } = segment;
        let found = match checkpoints.is_empty() {
            true => Vec::new(),
            false => folders.checkpoints(checkpoints).map_err(|error| folder_error("--segment", error))?,
        };
        Ok(like_segment(snapshot, (factors.as_str(), *filter), model.cloned(), found)?)
    };
    args.segment.iter().map(of).collect()
}

/// The filters, that of inverses with each damping that is given.
fn filters(args: &ScoreArgs) -> Vec<Filter> {
    let of = |filter: &Filter| -> Vec<Filter> {
        match filter {
            Filter::Inverse(_) if !args.damping.is_empty() => {
                args.damping.iter().copied().map(Filter::Inverse).collect()
            }
            filter => vec![*filter],
        }
    };
    args.filter.iter().flat_map(of).collect()
}

fn text(
    context: &Context,
    folders: &mut Folders<'_>,
    args: &ScoreArgs,
    (snapshot, model): (&Snapshot, &Path),
) -> Result<TextOptions> {
    let flags = &args.text.text;
    texts::refuse_blocks(flags)?;
    let text = texts::within_positions(model, flags, texts::options(folders, flags)?)?;
    snapshot.dataset(&args.pool)?;
    texts::tell_cut(context, flags, (model, &text))?;
    Ok(text)
}

fn target(args: &ScoreArgs, snapshot: &Arc<Snapshot>) -> Result<ScoreTarget> {
    let source = match &args.target {
        _ if args.of_self => return Ok(ScoreTarget::Own { measurement: args.measurement }),
        Some(name) => SampleSource::of_dataset(Arc::clone(snapshot), name)?,
        None => SampleSource::Files { paths: args.target_data.clone(), fields: args.fields.clone() },
    };
    Ok(ScoreTarget::Samples {
        source,
        limit: args.queries,
        measurement: args.measurement,
        summed: args.sum_queries,
    })
}

fn preview(report: &ScoreReport, as_json: bool) -> Result<()> {
    if as_json {
        return print_json(report);
    }
    out!("rows         {}", report.rows);
    if let Some(queries) = report.queries {
        out!("queries      {queries}");
    }
    out!("modules      {}", report.modules);
    match report.rotated {
        Some(RotatedSide::Queries) => out!("rotated      queries"),
        Some(RotatedSide::Rows) => out!("rotated      rows"),
        None => {}
    }
    out!("passes       {}", report.passes);
    if let Some(rows) = solver_rows(report) {
        out!("solver       cg over {rows}, a pass for each iteration");
    }
    out!("memory       {} (about)", HumanBytes(report.memory));
    if report.disk > 0 {
        out!("disk         {} in temporary files (about)", HumanBytes(report.disk));
    }
    if let Some(why) = &report.stale {
        out!("stale        {why}");
    }
    Ok(())
}

/// The rows that an iterative solve passes over, if there is one.
fn solver_rows(report: &ScoreReport) -> Option<String> {
    let (rows, data) = report.solver_rows.zip(report.solver_data.as_ref())?;
    Some(format!("{} of {data}", many(rows, "row")))
}

/// How queries were solved for, where they were.
fn solver_summary(report: &ScoreReport) -> String {
    let ended = || report.solved.iter().filter(|query| query.failed.is_none());
    let largest = |of: fn(&SolvedQuery) -> f64| ended().map(of).fold(0.0, f64::max);
    match ended().map(|query| query.iterations).max() {
        Some(most) => format!(
            "; {} of cg over {} {} a residual of at most {:.1e} (the factors alone: {:.1e})",
            many(most as u64, "iteration"),
            solver_rows(report).unwrap_or_default(),
            if most == 1 { "leaves" } else { "leave" },
            largest(|query| query.residual),
            largest(|query| query.start)
        ),
        None => String::new(),
    }
}

fn score_summary(report: &ScoreReport) -> String {
    let solved_for = report.solved.iter().filter(|query| query.failed.is_none()).count();
    let queries = report.queries.map(|queries| many_of(queries as u64, "query", "queries"));
    let of = match queries {
        Some(queries) if solved_for == report.solved.len() => format!(" for {queries}"),
        Some(_) if solved_for == 0 => {
            return format!("nothing was scored: no query could be solved for ({})", report.strategy);
        }
        Some(queries) => format!(" for {solved_for} of {queries}"),
        None => " for themselves".to_owned(),
    };
    let kept = match report.kept_min.zip(report.kept_median) {
        Some((least, median)) => format!(
            "; the rank keeps at least {:.1} % of a query's squared length, in the median {:.1} %",
            100.0 * least,
            100.0 * median
        ),
        None => String::new(),
    };
    let solved = solver_summary(report);
    let unscored = super::factors::unscored_note(report.no_scored);
    format!(
        "{} of {} scored{of} over {} ({}){kept}{solved}{unscored}",
        many(report.rows - report.no_scored.unwrap_or(0), "row"),
        report.pool,
        many(report.modules as u64, "module"),
        report.strategy
    )
}
