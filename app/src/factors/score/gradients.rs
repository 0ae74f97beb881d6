//! Gradients of queries, batch by batch.

use std::ops::{ControlFlow, Range};

use gstore_core::parallel::{in_turn, ordered};
use gstore_curvature::{Module, SampleGradient};
use gstore_ingest::curvature::TargetSample;

use super::forms::cut;
use super::plan::ScorePlan;
use crate::factors::blame::{BatchSamples, batch_error};
use crate::factors::engine::SampleTokens;
use crate::factors::error::FactorJobError;
use crate::work::JobContext;

/// Gradients of some queries, for each wanted module and query.
pub(super) type QueryGradients = Vec<Vec<SampleGradient>>;

/// Gradients of the queries at some places, for the modules that are wanted, in ascending order; whichever
/// thread computes which. In the eigenbases of the engine where rows are rotated.
pub(super) fn gradients(
    plan: &ScorePlan,
    (queries, wanted): (Range<usize>, &[usize]),
    work: &mut JobContext<'_>,
) -> Result<QueryGradients, FactorJobError> {
    let mut all: QueryGradients = wanted.iter().map(|_| Vec::with_capacity(queries.len())).collect();
    each_batch(plan, (queries, wanted), work, &mut |batch| {
        all.iter_mut().zip(batch).for_each(|(all, part)| all.extend(part));
    })?;
    Ok(all)
}

/// Their sum.
pub(super) fn summed_gradients(
    plan: &ScorePlan,
    (queries, wanted): (Range<usize>, &[usize]),
    work: &mut JobContext<'_>,
) -> Result<QueryGradients, FactorJobError> {
    let modules = wanted.iter().map(|at| &plan.engine.modules()[*at]);
    let mut sums: Vec<Vec<f64>> = modules.clone().map(|module| vec![0.0; module.len()]).collect();
    let mut add = |batch: QueryGradients| {
        for (sum, part) in sums.iter_mut().zip(&batch) {
            for gradient in part {
                let values = gradient.values();
                sum.iter_mut().zip(values.iter()).for_each(|(sum, value)| *sum += f64::from(*value));
            }
        }
    };
    for part in cut(queries, plan.extent.queries_at_once) {
        each_batch(plan, (part, wanted), work, &mut add)?;
    }
    let single = |(module, sum): (&Module, Vec<f64>)| {
        vec![SampleGradient::whole(module, sum.into_iter().map(|value| value as f32).collect())]
    };
    Ok(modules.zip(sums).map(single).collect())
}

/// Hands on the gradients of batches of queries, in their order.
fn each_batch(
    plan: &ScorePlan,
    (queries, wanted): (Range<usize>, &[usize]),
    work: &mut JobContext<'_>,
    take: &mut dyn FnMut(QueryGradients),
) -> Result<(), FactorJobError> {
    let cuts = plan.batches.cut(plan.queries[queries.clone()].iter().map(SampleTokens::len));
    let compute = |worker: &mut usize, at: usize| -> Result<(usize, QueryGradients), FactorJobError> {
        let batch = queries.start + cuts[at].start..queries.start + cuts[at].end;
        Ok((batch.len(), sample_gradients((plan, *worker), batch, wanted)?))
    };
    let progress = &mut *work.progress;
    let take = |(count, gradients): (usize, QueryGradients)| -> Result<ControlFlow<()>, FactorJobError> {
        take(gradients);
        progress.advance(count as u64);
        Ok(ControlFlow::Continue(()))
    };
    let worker = in_turn(plan.engine.count());
    let ended = ordered(cuts.len(), plan.extent.threads, work.cancel, worker, compute, take);
    if let Some(note) = plan.engine.note() {
        work.progress.note(&note);
    }
    ended
}

fn sample_gradients(
    (plan, worker): (&ScorePlan, usize),
    batch: Range<usize>,
    wanted: &[usize],
) -> Result<QueryGradients, FactorJobError> {
    let lengths: Vec<usize> = plan.queries[batch.clone()].iter().map(SampleTokens::len).collect();
    let mut all: QueryGradients = wanted.iter().map(|_| Vec::with_capacity(batch.len())).collect();
    plan.engine.of(worker).backoff().in_parts(&lengths, |part| {
        let part = batch.start + part.start..batch.start + part.end;
        let found = rows_gradients((plan, worker), part, wanted)?;
        all.iter_mut().zip(found).for_each(|(all, part)| all.extend(part));
        Ok::<(), FactorJobError>(())
    })?;
    Ok(all)
}

fn rows_gradients(
    (plan, worker): (&ScorePlan, usize),
    batch: Range<usize>,
    wanted: &[usize],
) -> Result<QueryGradients, FactorJobError> {
    let (batch, ids) = (&plan.queries[batch.clone()], &plan.names.ids[batch]);
    let (engine, measurement) = (plan.engine.of(worker), plan.how.measurement);
    let modules = engine.modules();
    let samples: Vec<TargetSample<'_>> = batch.iter().map(SampleTokens::sample).collect();
    let of_module = |at: &usize| vec![SampleGradient::empty(&modules[*at]); batch.len()];
    let mut all: QueryGradients = wanted.iter().map(of_module).collect();
    let place = |module: usize| wanted.partition_point(|at| *at < module);
    let done = match plan.rotated_block() {
        Some(most) => {
            engine.outer_products(&samples, measurement, wanted, &mut |at, inputs, grads, spans| {
                let (module, most) = (&modules[at], SampleGradient::most_tokens(&modules[at], most));
                for (gradient, span) in all[place(at)].iter_mut().zip(spans) {
                    let inputs = &inputs[span.start * module.input..span.end * module.input];
                    let grads = &grads[span.start * module.out..span.end * module.out];
                    gradient.add((inputs, grads), most);
                }
                Ok(())
            })
        }
        None => {
            engine.gradients(&samples, measurement, wanted, plan.how.rotates_rows(), &mut |at, gradients| {
                engine.check_gradients(at, gradients)?;
                let values = gradients.chunks_exact(modules[at].len().max(1));
                all[place(at)] =
                    values.map(|values| SampleGradient::whole(&modules[at], values.to_vec())).collect();
                Ok(())
            })
        }
    };
    done.map_err(|error| batch_error(BatchSamples::Queries(ids), batch, plan.engine.failed(worker, error)))?;
    Ok(all)
}
