//! Gradients of queries, batch by batch.

use std::ops::{ControlFlow, Range};

use gstore_core::parallel;
use gstore_curvature::{Module, SampleGradient};
use gstore_ingest::curvature::TargetSample;

use super::plan::ScorePlan;
use crate::factors::blame::{Side, of_batch};
use crate::factors::engine::Tokens;
use crate::factors::error::FactorJobError;
use crate::work::Work;

/// Gradients of some queries, for each module and query.
pub(super) type Gradients = Vec<Vec<SampleGradient>>;

/// Gradients of the queries at some places, whichever thread computes which.
pub(super) fn gradients(
    plan: &ScorePlan,
    queries: Range<usize>,
    work: &mut Work<'_>,
) -> Result<Gradients, FactorJobError> {
    let modules = plan.engine.modules();
    let mut all: Gradients = modules.iter().map(|_| Vec::with_capacity(queries.len())).collect();
    each_batch(plan, queries, work, &mut |batch| {
        all.iter_mut().zip(batch).for_each(|(all, part)| all.extend(part));
    })?;
    Ok(all)
}

/// Their sum.
pub(super) fn summed(
    plan: &ScorePlan,
    queries: Range<usize>,
    work: &mut Work<'_>,
) -> Result<Gradients, FactorJobError> {
    let modules = plan.engine.modules();
    let mut sums: Vec<Vec<f64>> = modules.iter().map(|module| vec![0.0; module.len()]).collect();
    each_batch(plan, queries, work, &mut |batch| {
        for (sum, part) in sums.iter_mut().zip(&batch) {
            for gradient in part {
                let values = gradient.values();
                sum.iter_mut().zip(values.iter()).for_each(|(sum, value)| *sum += f64::from(*value));
            }
        }
    })?;
    let single = |(module, sum): (&Module, Vec<f64>)| {
        vec![SampleGradient::whole(module, sum.into_iter().map(|value| value as f32).collect())]
    };
    Ok(modules.iter().zip(sums).map(single).collect())
}

/// Hands on the gradients of batches of queries, in their order.
fn each_batch(
    plan: &ScorePlan,
    queries: Range<usize>,
    work: &mut Work<'_>,
    take: &mut dyn FnMut(Gradients),
) -> Result<(), FactorJobError> {
    let cuts = plan.batches.cut(plan.queries[queries.clone()].iter().map(Tokens::len));
    let compute = |_: &mut (), at: usize| -> Result<(usize, Gradients), FactorJobError> {
        let batch = queries.start + cuts[at].start..queries.start + cuts[at].end;
        Ok((batch.len(), of_samples(plan, batch)?))
    };
    let progress = &mut *work.progress;
    let take = |(count, gradients): (usize, Gradients)| -> Result<ControlFlow<()>, FactorJobError> {
        take(gradients);
        progress.advance(count as u64);
        Ok(ControlFlow::Continue(()))
    };
    let ended = parallel::ordered(cuts.len(), plan.extent.threads, work.cancel, || (), compute, take);
    if let Some(note) = plan.engine.backoff().note(Some("batch_tokens")) {
        work.progress.note(&note);
    }
    ended
}

fn of_samples(plan: &ScorePlan, batch: Range<usize>) -> Result<Gradients, FactorJobError> {
    let lengths: Vec<usize> = plan.queries[batch.clone()].iter().map(Tokens::len).collect();
    let new = |_: &Module| Vec::with_capacity(batch.len());
    let mut all: Gradients = plan.engine.modules().iter().map(new).collect();
    plan.engine.backoff().in_parts(&lengths, |part| {
        let found = of_part(plan, batch.start + part.start..batch.start + part.end)?;
        all.iter_mut().zip(found).for_each(|(all, part)| all.extend(part));
        Ok::<(), FactorJobError>(())
    })?;
    Ok(all)
}

fn of_part(plan: &ScorePlan, batch: Range<usize>) -> Result<Gradients, FactorJobError> {
    let (batch, ids) = (&plan.queries[batch.clone()], &plan.names.ids[batch]);
    let (modules, measurement) = (plan.engine.modules(), plan.how.measurement);
    let samples: Vec<TargetSample<'_>> = batch.iter().map(Tokens::sample).collect();
    let wanted: Vec<usize> = (0..modules.len()).collect();
    let of_module = |module: &Module| vec![SampleGradient::empty(module); batch.len()];
    let mut all: Gradients = modules.iter().map(of_module).collect();
    let done = match plan.turned_block() {
        Some(most) => {
            plan.engine.outer_products(&samples, measurement, &wanted, &mut |at, inputs, grads, spans| {
                let (module, most) = (&modules[at], SampleGradient::most_tokens(&modules[at], most));
                for (gradient, span) in all[at].iter_mut().zip(spans) {
                    let inputs = &inputs[span.start * module.input..span.end * module.input];
                    let grads = &grads[span.start * module.out..span.end * module.out];
                    gradient.add((inputs, grads), most);
                }
                Ok(())
            })
        }
        None => plan.engine.gradients(&samples, measurement, &wanted, false, &mut |at, gradients| {
            let values = gradients.chunks_exact(modules[at].len().max(1));
            all[at] = values.map(|values| SampleGradient::whole(&modules[at], values.to_vec())).collect();
            Ok(())
        }),
    };
    done.map_err(|error| of_batch(Side::Queries(ids), batch, error))?;
    Ok(all)
}
