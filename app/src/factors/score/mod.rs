//! Scores of a pool's rows by gradients that are computed again, preconditioned on the side of the queries.
//!
//! A score is `<P(G_query), G_row>` summed over modules, where P is the filtered inverse of the curvature;
//! positive where training on the row lowers the loss of the query. All queries and filters share a pass over
//! the pool, or one for some layers each where they do not fit in memory; with segments of training there is
//! one for each checkpoint, and a score is the sum over segments. With an iterative solve the query is
//! `(G + damping)^-1 G_query`, where G is the curvature itself and P preconditions.

mod checks;
mod forms;
mod gradients;
mod like;
mod lines;
mod markdown;
mod memory;
mod pass;
mod plan;
mod queries;
mod request;
mod rotation;
mod segments;
mod sinks;
mod solve;
mod solve_data;
mod source;
mod sums;

use std::sync::Arc;

use gstore_curvature::Spectrum;
use gstore_store::Snapshot;

pub use like::{LikeFactors, like_factors, like_segment};
pub use request::{
    HeldOutputs, RotatedSide, ScoreForm, ScoreOutput, ScorePer, ScoreReport, ScoreRequest, ScoreSegment,
    ScoreSolve, ScoreTarget, SolvedQuery, TableOutput,
};

use self::lines::{ScoreTableWriter, TableLayout, number};
use self::pass::{Multiplier, own_scales};
use self::plan::ScorePlan;
use self::queries::{columns, shares_of_rank};
use self::sinks::{HeldScores, ScoreSinks, TopRows, kronfluence, write_kronfluence};
use self::source::passes;
use self::sums::check_room;
use super::error::FactorJobError;
use crate::work::JobContext;

/// What scoring will take: passes and memory, with the outputs that hold all scores.
///
/// # Errors
/// As [`score_rows`], before anything is computed.
pub fn forecast_scores(
    snapshot: &Arc<Snapshot>,
    request: &ScoreRequest,
    held: HeldOutputs,
    work: &mut JobContext<'_>,
) -> Result<ScoreReport, FactorJobError> {
    let plan = ScorePlan::new(snapshot, request, held, work)?;
    Ok(report(&plan, request))
}

/// Scores the rows of a pool, in their order, into a table and a folder of Kronfluence's as they are wanted.
///
/// # Errors
/// A model, factors or data that cannot be used, factors that are stale, too little memory for one query,
/// gradients that are not finite, outputs that fail, damage, being told to stop.
pub fn score_rows(
    snapshot: &Arc<Snapshot>,
    request: &ScoreRequest,
    output: ScoreOutput<'_>,
    work: &mut JobContext<'_>,
) -> Result<ScoreReport, FactorJobError> {
    let holding = HeldOutputs { folder: output.folder.is_some(), report: output.report.is_some() };
    let mut plan = ScorePlan::new(snapshot, request, holding, work)?;
    check_room(&plan.scratch, plan.disk)?;
    let mut report = report(&plan, request);
    let (is_own, form) = (request.target.is_own(), request.form);
    let has_queries = !is_own && !plan.how.sum_queries;
    // The engine is given eigenvectors while a table is written.
    let modules = plan.engine.modules().to_vec();
    let layout = TableLayout {
        queries: has_queries.then_some(&plan.names.ids[..]),
        filters: &plan.how.filters,
        per: form.per,
        modules: &modules,
        rows: !form.summed,
    };
    let samples = plan.batches.samples();
    let mut lines = output.table.map(|table| ScoreTableWriter::new(table, layout, samples)).transpose()?;
    let mut held = holding.any().then(|| HeldScores::new(&plan, request));
    let folder = output.folder.as_deref().map(|path| kronfluence(path, &plan, request, work)).transpose()?;
    let (mut kept, mut has_bases) = (Vec::new(), None);
    // As many as there are: none for queries of which none was solved for.
    report.passes = 0;
    for group in &plan.extent.groups {
        let queries = if has_queries { group.len() } else { 1 };
        let count = queries * plan.how.filters.len();
        let (mut lengths, mut sums) = (Vec::new(), None);
        for (part, wanted) in plan.extent.parts.iter().enumerate() {
            if plan.how.rotates_rows() && has_bases.replace(part) != Some(part) {
                // Those of another part are given up before these are read.
                plan.engine.set_bases(&plan.bases(&[])?).map_err(FactorJobError::other)?;
                plan.engine.set_bases(&plan.bases(wanted)?).map_err(FactorJobError::other)?;
            }
            let against = if is_own {
                vec![Multiplier::Own(own_scales(&plan, wanted)?)]
            } else {
                let found = columns(&plan, (group.clone(), wanted), work)?;
                lengths.extend(found.lengths);
                let is_any_left = leave_out(&found.solved, group.start, lines.as_mut(), held.as_mut());
                report.solved.extend(found.solved);
                if !is_any_left {
                    continue;
                }
                found.segments.into_iter().map(|modules| Multiplier::Columns { modules, count }).collect()
            };
            let mut sinks = ScoreSinks {
                lines: lines.as_mut(),
                held: held.as_mut(),
                sums: form.summed.then(|| vec![0.0; count]),
                best: request.top.map(|most| TopRows::new(most, count)),
                first: group.start,
                queries,
            };
            let is_last = part + 1 == plan.extent.parts.len();
            let take = &mut |rows| sinks.take(rows);
            sums = passes(&plan, (&against, form), (sums, is_last), work, take)?;
            report.passes += plan.checkpoints();
            if is_last {
                sinks.finish()?;
            }
        }
        kept.extend(shares_of_rank(lengths));
    }
    work.cancel.check()?;
    report.no_scored = plan.seen.unscored(plan.rows.len(), report.passes as u64);
    report.lines = lines.map_or(Ok(0), ScoreTableWriter::finish)?;
    (report.kept_min, report.kept_median) = least_and_median(&plan, kept);
    if let (Some(held), Some(out)) = (&held, output.report) {
        markdown::write(&plan, held, &request.title(), out)?;
    }
    if let (Some(held), Some(folder)) = (held, folder) {
        write_kronfluence(&folder, held)?;
    }
    Ok(report)
}

/// Leaves out those of the queries from `first` on that could not be solved for; false where none is left.
fn leave_out(
    solved: &[SolvedQuery],
    first: usize,
    mut lines: Option<&mut ScoreTableWriter<'_>>,
    mut held: Option<&mut HeldScores>,
) -> bool {
    for (at, _) in solved.iter().enumerate().filter(|(_, query)| query.failed.is_some()) {
        lines.iter_mut().for_each(|lines| lines.leave_out(first + at));
        held.iter_mut().for_each(|held| held.leave_out(first + at));
    }
    solved.is_empty() || solved.iter().any(|query| query.failed.is_none())
}

/// Of the shares that the rank of a plan keeps; none without a rank, and of no query.
fn least_and_median(plan: &ScorePlan, shares: Vec<f64>) -> (Option<f64>, Option<f64>) {
    if plan.how.rank.is_none() || shares.is_empty() {
        return (None, None);
    }
    let shares = Spectrum::new(shares, 0.0);
    (shares.values.last().copied(), Some(shares.median()))
}

fn report(plan: &ScorePlan, request: &ScoreRequest) -> ScoreReport {
    let queries = (!request.target.is_own()).then_some(plan.queries.len());
    ScoreReport {
        pool: request.ingest.dataset.clone(),
        rows: plan.rows.len(),
        queries,
        modules: plan.engine.modules().len(),
        strategy: plan.how.strategy.name().to_owned(),
        rotated: plan.how.rotated,
        filters: plan.segments.iter().flat_map(|segment| &segment.filters).map(ToString::to_string).collect(),
        dampings: plan.how.filters.iter().filter_map(|filter| filter.damping()).map(number).collect(),
        solver_data: plan.solve.as_ref().map(|data| data.dataset.clone()),
        solver_rows: plan.solve.as_ref().map(|data| data.rows.len()),
        passes: plan.passes(),
        memory: plan.extent.memory,
        disk: plan.disk,
        stale: plan.stale.clone(),
        ..ScoreReport::default()
    }
}
