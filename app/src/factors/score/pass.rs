//! One pass over a pool: the scores of its rows with all columns, in the order of the rows.

use std::fs::File;
use std::io::BufReader;
use std::ops::ControlFlow;

use gstore_core::Unit;
use gstore_core::parallel::{self, Give};
use gstore_curvature::Module;
use gstore_ingest::curvature::{CurvatureEngine, Measurement, PassError, TargetSample};
use gstore_model::ComputePrecision;
use gstore_model::cpu::Cpu;

use super::forms::ModuleColumns;
use super::memory::AHEAD;
use super::plan::ScorePlan;
use super::request::ScorePer;
use super::sums::read_floats;
use crate::factors::blame::{BatchSamples, batch_error, id_of};
use crate::factors::engine::{Engines, SampleTokens, tokens};
use crate::factors::error::FactorJobError;
use crate::scratch::in_folder;
use crate::work::JobContext;

pub(super) struct RowScores {
    pub row: u64,
    /// Whether it has a scored token; without one its gradient is 0.
    pub is_scored: bool,
    /// `[part][column]`: a part is the row, a module or a token.
    pub values: Vec<f64>,
}

/// What rows are multiplied with.
pub(super) enum Multiplier {
    /// The columns of each module that is wanted, `count` of them.
    Columns { modules: Vec<Option<ModuleColumns>>, count: usize },
    /// Themselves.
    Own(FilterScales),
}

/// A batch, and the sums over the modules of earlier passes that its scores begin with.
struct PassBatch {
    rows: Vec<SampleTokens>,
    sums: Vec<Vec<f64>>,
}

/// Hands the scores of the pool's rows at the checkpoint of some engines, among which the threads are
/// divided, to `take`: a batch at a time and in the order of the rows. They go on from the sums of an earlier
/// pass, if there are some.
pub(super) fn pass(
    (plan, engines): (&ScorePlan, &Engines),
    (against, per): (&Multiplier, ScorePer),
    mut before: Option<&mut BufReader<File>>,
    work: &mut JobContext<'_>,
    take: &mut dyn FnMut(Vec<RowScores>) -> Result<(), FactorJobError>,
) -> Result<(), FactorJobError> {
    let (cancel, threads) = (work.cancel, plan.extent.threads.max(1));
    let (batches, rows) = (&plan.batches, &plan.rows);
    let values = against.values(plan, per);
    let prepare = |give: Give<'_, PassBatch>| -> Result<(), FactorJobError> {
        let mut unread = None;
        batches.each(rows, cancel, &mut |batch| {
            let rows = tokens(&batch);
            let mut sums: Vec<Vec<f64>> = rows.iter().map(|row| vec![0.0; values(row)]).collect();
            let read =
                before.as_mut().map(|file| sums.iter_mut().try_for_each(|sums| read_floats(file, sums)));
            match read {
                Some(Err(error)) => {
                    unread = Some(in_folder(&plan.scratch, error));
                    false
                }
                Some(Ok(())) | None => give(PassBatch { rows, sums }),
            }
        })?;
        unread.map_or(Ok(()), |error| Err(error.into()))
    };
    let cpu = Cpu::new(ComputePrecision::F32);
    let compute = |worker: usize, batch: PassBatch| -> Result<Vec<RowScores>, FactorJobError> {
        cancel.check()?;
        let (engine, PassBatch { rows, sums }) = (engines.of(worker), batch);
        plan.seen.add(&rows);
        let lengths: Vec<usize> = rows.iter().map(SampleTokens::len).collect();
        engine.backoff().values_in_parts(&lengths, |part| {
            let (part, sums) = (&rows[part.clone()], sums[part].to_vec());
            let values = row_scores((plan, engine), (against, per), (part, sums), &cpu);
            let values = values.map_err(|error| row_error(plan, part, engines.failed(worker, error)))?;
            let of_sample = |(sample, values): (&SampleTokens, Vec<f64>)| RowScores {
                row: sample.row,
                is_scored: sample.is_scored(),
                values,
            };
            Ok(part.iter().zip(values).map(of_sample).collect())
        })
    };
    work.progress.start("scores", rows.len(), Unit::Rows);
    let progress = &mut *work.progress;
    let take = |scores: Vec<RowScores>| -> Result<ControlFlow<()>, FactorJobError> {
        let done = scores.len() as u64;
        take(scores)?;
        progress.advance(done);
        Ok(ControlFlow::Continue(()))
    };
    let ended = parallel::pipeline(threads, threads + AHEAD, prepare, compute, take);
    work.progress.finish();
    if let Some(note) = engines.note() {
        work.progress.note(&note);
    }
    ended
}

/// What has a value that is not finite, where that is no gradient.
const SCORE: &str = "the score";

/// An error of a batch; a score that is not finite with its row.
fn row_error(plan: &ScorePlan, batch: &[SampleTokens], error: PassError) -> FactorJobError {
    let PassError::NotFinite { module, what: SCORE, sample, value } = error else {
        return batch_error(BatchSamples::Rows(&plan.batches), batch, error);
    };
    let row = batch.get(sample).map_or(0, |sample| sample.row);
    match id_of(&plan.batches, row) {
        Ok(id) => FactorJobError::Score { row, id, module, value },
        Err(error) => error,
    }
}

/// Refuses scores of a sample for a module that are not finite.
fn check(module: &Module, sample: usize, scores: &[f64]) -> Result<(), PassError> {
    match scores.iter().find(|score| !score.is_finite()) {
        None => Ok(()),
        Some(score) => {
            let (module, value) = (module.name.clone(), *score as f32);
            Err(PassError::NotFinite { module, what: SCORE, sample, value })
        }
    }
}

/// The scores of a batch's rows, `[part][column]` each, on top of sums over other modules.
fn row_scores(
    (plan, engine): (&ScorePlan, &CurvatureEngine),
    (against, per): (&Multiplier, ScorePer),
    (batch, mut scores): (&[SampleTokens], Vec<Vec<f64>>),
    cpu: &Cpu,
) -> Result<Vec<Vec<f64>>, PassError> {
    let modules = engine.modules();
    let samples: Vec<TargetSample<'_>> = batch.iter().map(SampleTokens::sample).collect();
    let wanted: Vec<usize> = (0..modules.len()).filter(|at| against.wants(*at)).collect();
    let count = against.columns(plan.how.filters.len());
    // The part of a row's scores that a module's belong to.
    let part = |module: usize| if per == ScorePer::Module { module * count } else { 0 };
    let rotated = plan.how.rotates_rows();
    match against {
        Multiplier::Columns { modules: columns, .. } if plan.how.by_token => {
            engine.factors(&samples, Measurement::Loss, &wanted, &mut |module, inputs, grads, spans| {
                let Some(columns) = &columns[module] else { return Ok(()) };
                let found = columns.token_products(cpu, (inputs, grads), &modules[module]);
                for (sample, (scores, span)) in scores.iter_mut().zip(spans).enumerate() {
                    let tokens = &found[span.start * count..span.end * count];
                    check(&modules[module], sample, tokens)?;
                    for (token, values) in tokens.chunks_exact(count.max(1)).enumerate() {
                        let at = if per == ScorePer::Token { token * count } else { part(module) };
                        scores[at..at + count].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                    }
                }
                Ok(())
            })?;
        }
        Multiplier::Columns { modules: columns, .. } => {
            engine.gradients(&samples, Measurement::Loss, &wanted, rotated, &mut |module, gradients| {
                let Some(columns) = &columns[module] else { return Ok(()) };
                let found = columns.products(cpu, gradients);
                let at = part(module);
                let found = found.chunks_exact(count.max(1));
                // Every value of a gradient is in each of its scores, so these alone are looked at.
                let blame = |error| engine.check_gradients(module, gradients).and(Err(error));
                for (sample, (scores, values)) in scores.iter_mut().zip(found).enumerate() {
                    check(&modules[module], sample, values).or_else(blame)?;
                    scores[at..at + count].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
                Ok(())
            })?;
        }
        Multiplier::Own(scales) => own_scores((plan, engine), (scales, per), (&samples, &mut scores))?,
    }
    Ok(scores)
}

/// Adds the scores of samples for themselves.
fn own_scores(
    (plan, engine): (&ScorePlan, &CurvatureEngine),
    (scales, per): (&FilterScales, ScorePer),
    (samples, scores): (&[TargetSample<'_>], &mut [Vec<f64>]),
) -> Result<(), PassError> {
    let (modules, count) = (engine.modules(), plan.how.filters.len());
    let wanted: Vec<usize> = (0..modules.len()).filter(|at| scales[*at].is_some()).collect();
    let (rotated, measurement) = (plan.how.rotates_rows(), plan.how.measurement);
    let mut add = |module: usize, first: usize, measured: &[f32], gradients: &[f32]| {
        let (of, scales) = (&modules[module], scales[module].as_deref().unwrap_or_default());
        let (len, at) = (of.len().max(1), if per == ScorePer::Module { module * count } else { 0 });
        let blame = |error| engine.check_gradients(module, gradients).and(Err(error));
        let pairs = measured.chunks_exact(len).zip(gradients.chunks_exact(len));
        for (sample, pair) in (first..).zip(pairs) {
            let products = products(pair, scales);
            check(of, sample, &products).or_else(blame)?;
            let sums = scores[sample][at..at + count].iter_mut();
            sums.zip(products).for_each(|(sum, value)| *sum += value);
        }
        Ok(())
    };
    if measurement == Measurement::Loss {
        let mut each = |module: usize, gradients: &[f32]| add(module, 0, gradients, gradients);
        return engine.gradients(samples, measurement, &wanted, rotated, &mut each).map(drop);
    }
    // The two gradients come from passes of their own, and the first waits: so of one sample at a time.
    let mut measured: Vec<Vec<f32>> = vec![Vec::new(); modules.len()];
    for (at, sample) in samples.chunks(1).enumerate() {
        let mut keep = |module: usize, gradient: &[f32]| {
            engine.check_gradients(module, gradient)?;
            measured[module].clear();
            measured[module].extend_from_slice(gradient);
            Ok(())
        };
        let kept = engine.gradients(sample, measurement, &wanted, rotated, &mut keep);
        kept.map_err(|error| of_sample(error, at))?;
        let mut each = |module: usize, gradient: &[f32]| add(module, at, &measured[module], gradient);
        let added = engine.gradients(sample, Measurement::Loss, &wanted, rotated, &mut each);
        added.map_err(|error| of_sample(error, at))?;
    }
    Ok(())
}

/// An error of a batch of one sample as one of the batch in which that is at `at`.
fn of_sample(error: PassError, at: usize) -> PassError {
    match error {
        PassError::NotFinite { module, what, value, sample: 0 } => {
            PassError::NotFinite { module, what, value, sample: at }
        }
        PassError::Loss { value, .. } => PassError::Loss { value, sample: at },
        error => error,
    }
}

impl Multiplier {
    /// Columns of each part of a row.
    fn columns(&self, filters: usize) -> usize {
        match self {
            Multiplier::Columns { count, .. } => *count,
            Multiplier::Own(_) => filters,
        }
    }

    fn wants(&self, module: usize) -> bool {
        match self {
            Multiplier::Columns { modules, .. } => modules[module].is_some(),
            Multiplier::Own(scales) => scales[module].is_some(),
        }
    }

    /// How many scores a row has.
    fn values(&self, plan: &ScorePlan, per: ScorePer) -> impl Fn(&SampleTokens) -> usize {
        let (modules, count) = (plan.engine.modules().len(), self.columns(plan.how.filters.len()));
        move |row| match per {
            ScorePer::Row => count,
            ScorePer::Module => modules * count,
            ScorePer::Token => row.len() * count,
        }
    }
}

/// `<P(M), G>` of two gradients in the eigenbasis, with each filter.
fn products((measured, gradient): (&[f32], &[f32]), scales: &[Option<Vec<f64>>]) -> Vec<f64> {
    let product = |(a, b): (&f32, &f32)| f64::from(*a) * f64::from(*b);
    let of = |scale: &Option<Vec<f64>>| -> f64 {
        let products = measured.iter().zip(gradient).map(product);
        match scale {
            Some(scale) => products.zip(scale).map(|(product, scale)| product * scale).sum(),
            None => products.sum(),
        }
    };
    scales.iter().map(of).collect()
}

/// For each module that is wanted the scale of each filter, none for the identity.
pub(super) type FilterScales = Vec<Option<Vec<Option<Vec<f64>>>>>;

/// The scales of the modules that are wanted.
pub(super) fn own_scales(plan: &ScorePlan, wanted: &[usize]) -> Result<FilterScales, FactorJobError> {
    let modules = plan.engine.modules();
    let mut scales: FilterScales = vec![None; modules.len()];
    for at in wanted {
        scales[*at] = Some(plan.filter_scales(&modules[*at])?);
    }
    Ok(scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_that_is_not_finite_is_of_a_module_and_a_sample() {
        let module = Module { name: "m".into(), out: 1, input: 2, bias: false };
        assert!(check(&module, 0, &[1e300, -1.0]).is_ok());
        // A scale that is finite, of a length that is not.
        let scores = products((&[1e20, 0.0], &[1e20, 0.0]), &[Some(vec![1e300, 1.0]), None]);
        let error = check(&module, 3, &scores).unwrap_err().to_string();
        assert_eq!(error, "module `m`: the score of sample 3 of the batch is inf");
        assert!(check(&module, 0, &[f64::NAN]).is_err());
    }
}
