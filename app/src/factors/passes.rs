//! Passes over rows: sums of covariances, of squares and of products, whose bits do not depend on threads,
//! nor on the devices that these are on.
//!
//! Rows are cut into units of whole batches, by their number alone. A worker sums over a unit, and the units'
//! sums are added in their order.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Mutex;

use gstore_core::parallel::{self, Give};
use gstore_core::{Cancel, RowSet, Unit, locked};
use gstore_curvature::{Covariance, Module, Squares};
use gstore_ingest::curvature::{PassError, TargetSample};
use gstore_ingest::pipeline::RowBatches;
use gstore_model::Attempt;

use super::blame::{BatchSamples, batch_error};
use super::engine::{Engines, Fisher, RowCounters, SampleTokens, tokens};
use super::error::FactorJobError;
use super::forecast::ahead;
use super::plan::FitPlan;
use crate::work::JobContext;

/// Units that the rows of a partition are cut into, where they are not too large then.
const UNITS: u64 = 32;

/// Batches of a unit, but for the last: adding the sums of a unit to all others costs
/// about a tenth of a batch.
const BATCHES: RangeInclusive<usize> = 2..=16;

/// Numbers of the passes, each of which draws labels of its own.
const COVARIANCE_PASS: u64 = 0;
const SQUARES_PASS: u64 = 1;

/// The sums of a module's covariances: of inputs, and of gradients.
pub(super) type Covariances = (Covariance, Covariance);

/// Batches whose sums are added up by one worker.
type TokenBatches = Vec<Vec<SampleTokens>>;

/// Sums over rows.
pub(super) trait MergedSums: Send {
    /// Adds the sums over later rows.
    fn merge(&mut self, other: &Self);
    /// Makes them those of no row again.
    fn clear(&mut self);
}

impl MergedSums for Vec<Covariances> {
    fn merge(&mut self, other: &Self) {
        for (sum, part) in self.iter_mut().zip(other) {
            sum.0.merge_rows(&part.0);
            sum.1.merge_rows(&part.1);
        }
    }

    fn clear(&mut self) {
        for (activation, gradient) in self {
            activation.clear_rows();
            gradient.clear_rows();
        }
    }
}

impl MergedSums for Vec<Squares> {
    fn merge(&mut self, other: &Self) {
        self.iter_mut().zip(other).for_each(|(sum, part)| sum.merge(part));
    }

    fn clear(&mut self) {
        self.iter_mut().for_each(Squares::clear);
    }
}

impl MergedSums for Vec<Vec<f64>> {
    fn merge(&mut self, other: &Self) {
        for (sum, part) in self.iter_mut().zip(other) {
            sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
    }

    fn clear(&mut self) {
        self.iter_mut().for_each(|sum| sum.fill(0.0));
    }
}

/// Rows that a pass goes over, and how.
pub(super) struct RowPass<'a> {
    pub batches: &'a RowBatches,
    pub rows: &'a RowSet,
    pub threads: usize,
    /// Among which the threads are divided.
    pub engines: &'a Engines,
    /// Where rows are counted, if they are.
    pub seen: Option<&'a RowCounters>,
}

impl<'a> RowPass<'a> {
    fn of(plan: &'a FitPlan, rows: &'a RowSet, seen: Option<&'a RowCounters>) -> Self {
        let (threads, engines) = (plan.forecast.threads, &plan.engine);
        Self { batches: &plan.batches, rows, threads, engines, seen }
    }
}

/// Sums of one kind for each module of the model; those of modules that are not wanted stay empty.
fn sums_per_module<T: Default>(modules: &[Module], wanted: &[usize], new: impl Fn(&Module) -> T) -> Vec<T> {
    let of = |(at, module): (usize, &Module)| match wanted.contains(&at) {
        true => new(module),
        false => T::default(),
    };
    modules.iter().enumerate().map(of).collect()
}

/// Covariances of some modules over some rows, in the order of `wanted`: from the diagonal on, as they are
/// added; [`Covariance::mirror`] makes them whole.
pub(super) fn covariances(
    plan: &FitPlan,
    rows: &RowSet,
    wanted: &[usize],
    fisher: Fisher,
    work: &mut JobContext<'_>,
) -> Result<Vec<Covariances>, FactorJobError> {
    let add = |worker: usize, samples: &[TargetSample<'_>], rows: &[u64], sums: &mut Vec<Covariances>| {
        let labels = fisher.labels(COVARIANCE_PASS, rows);
        plan.engine.of(worker).covariances(samples, &labels, wanted, sums).map(drop)
    };
    let seen = wanted.contains(&0).then_some(&plan.seen);
    let empty = || sums_per_module(plan.engine.modules(), wanted, |module| plan.no_sums(module));
    chosen(sum("covariances", &RowPass::of(plan, rows, seen), &empty, &add, work)?, wanted)
}

/// Squares of the gradients of some modules over some rows, in the order of `wanted`; in the eigenbases of
/// the engine where `rotated`.
pub(super) fn squares(
    plan: &FitPlan,
    rows: &RowSet,
    wanted: &[usize],
    (fisher, rotated): (Fisher, bool),
    work: &mut JobContext<'_>,
) -> Result<Vec<Squares>, FactorJobError> {
    let add = |worker: usize, samples: &[TargetSample<'_>], rows: &[u64], sums: &mut Vec<Squares>| {
        let labels = fisher.labels(SQUARES_PASS, rows);
        plan.engine.of(worker).squares(samples, &labels, wanted, rotated, sums).map(drop)
    };
    // In an eigenbasis it is the second pass.
    let seen = (!rotated && wanted.contains(&0)).then_some(&plan.seen);
    let empty = || sums_per_module(plan.engine.modules(), wanted, |module| Squares::new(module.len()));
    chosen(sum("squares of gradients", &RowPass::of(plan, rows, seen), &empty, &add, work)?, wanted)
}

/// Those of the wanted modules, in their order.
fn chosen<T>(all: Vec<T>, wanted: &[usize]) -> Result<Vec<T>, FactorJobError> {
    let mut all: Vec<Option<T>> = all.into_iter().map(Some).collect();
    let none = || FactorJobError::Refused("the engine has fewer modules than were planned".to_owned());
    wanted.iter().map(|at| all.get_mut(*at).and_then(Option::take).ok_or_else(none)).collect()
}

/// Adds what a batch of these rows gives, by the worker of a number.
pub(super) type AddBatch<'a, S> =
    &'a (dyn Fn(usize, &[TargetSample<'_>], &[u64], &mut S) -> Result<(), PassError> + Sync);

/// The sums over all rows.
///
/// Memory: the sums of [`ahead`] units, and their sum, which begins as those of the first.
pub(super) fn sum<S: MergedSums>(
    stage: &str,
    &RowPass { batches, rows, threads, engines, seen }: &RowPass<'_>,
    empty: &(dyn Fn() -> S + Sync),
    add: AddBatch<'_, S>,
    work: &mut JobContext<'_>,
) -> Result<S, FactorJobError> {
    let cancel = work.cancel;
    let mut all: Option<S> = None;
    // Sums that have been added: memory that is new for each unit would cost as much as adding them.
    let added: Mutex<Vec<S>> = Mutex::default();
    let spare = || locked(&added);
    let compute = |worker: usize, unit: TokenBatches| -> Result<(S, u64), FactorJobError> {
        let found = spare().pop();
        let mut sums = match found {
            Some(mut sums) => {
                sums.clear();
                sums
            }
            None => empty(),
        };
        let add = |samples: &[SampleTokens], sums: &mut S| {
            cancel.check()?;
            let targets: Vec<TargetSample<'_>> = samples.iter().map(SampleTokens::sample).collect();
            let numbers: Vec<u64> = samples.iter().map(|sample| sample.row).collect();
            let added = add(worker, &targets, &numbers, sums);
            added.map_err(|error| {
                batch_error(BatchSamples::Rows(batches), samples, engines.failed(worker, error))
            })
        };
        engines.of(worker).backoff().retry(|attempt| {
            let added = add_unit(attempt, &unit, &add, &mut sums);
            // What failed has left a part of its sums.
            if added.is_err() {
                sums.clear();
            }
            added
        })?;
        if let Some(seen) = seen {
            unit.iter().for_each(|batch| seen.add(batch));
        }
        Ok((sums, unit.iter().map(|batch| batch.len() as u64).sum()))
    };
    let prepare = |give: Give<'_, TokenBatches>| units(batches, rows, cancel, give);
    work.progress.start(stage, rows.len(), Unit::Rows);
    let progress = &mut *work.progress;
    let take = |(sums, done): (S, u64)| -> Result<ControlFlow<()>, FactorJobError> {
        match &mut all {
            Some(all) => {
                all.merge(&sums);
                spare().push(sums);
            }
            None => all = Some(sums),
        }
        progress.advance(done);
        Ok(ControlFlow::Continue(()))
    };
    let ended = parallel::pipeline(threads, ahead(threads), prepare, compute, take);
    work.progress.finish();
    if let Some(note) = engines.note() {
        work.progress.note(&note);
    }
    ended.map(|()| all.unwrap_or_else(empty))
}

/// Adds what some samples give to sums.
type AddTokens<'a, S> = &'a dyn Fn(&[SampleTokens], &mut S) -> Result<(), FactorJobError>;

/// Adds what the batches of a unit give, each in parts of what may be computed at once.
fn add_unit<S>(
    attempt: &mut Attempt,
    unit: &[Vec<SampleTokens>],
    add: AddTokens<'_, S>,
    sums: &mut S,
) -> Result<(), FactorJobError> {
    for batch in unit {
        let mut left = &batch[..];
        while !left.is_empty() {
            let lengths: Vec<usize> = left.iter().map(SampleTokens::len).collect();
            let (part, after) = left.split_at(attempt.next(&lengths));
            add(part, sums)?;
            left = after;
        }
    }
    Ok(())
}

/// Hands on the batches of some rows, unit by unit.
fn units(
    batches: &RowBatches,
    rows: &RowSet,
    cancel: &Cancel,
    give: Give<'_, TokenBatches>,
) -> Result<(), FactorJobError> {
    let share = rows.len().div_ceil(UNITS);
    let mut unit: TokenBatches = Vec::new();
    let mut count = 0;
    let mut wanted = true;
    batches.each(rows, cancel, &mut |batch| {
        count += batch.len() as u64;
        unit.push(tokens(&batch));
        if count >= share && BATCHES.contains(&unit.len()) || unit.len() >= *BATCHES.end() {
            count = 0;
            wanted = give(std::mem::take(&mut unit));
        }
        wanted
    })?;
    if wanted && !unit.is_empty() {
        give(unit);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gstore_data::Encoded;
    use gstore_model::{BackendError, OomBackoff};

    use super::*;

    #[test]
    fn a_unit_that_does_not_fit_a_device_is_summed_in_parts() {
        let tokens = |row: u64| {
            SampleTokens::new(row, &Encoded { ids: vec![0; 3], scored: vec![true; 3], ..Encoded::default() })
        };
        let unit: TokenBatches = vec![(0..4).map(tokens).collect(), (4..9).map(tokens).collect()];
        let (mut tries, tried) = (0, std::cell::Cell::new(0));
        // As an engine does, it has handed a part on when memory runs out.
        let add = |samples: &[SampleTokens], sums: &mut Vec<Vec<f64>>| {
            tried.set(tried.get() + 1);
            sums[0][0] += samples[0].row as f64;
            if samples.len() > 3 {
                let why = Box::new(PassError::Backend(BackendError::out_of_memory("full")));
                return Err(FactorJobError::Batch { place: String::new(), rows: [0, 0], why });
            }
            samples[1..].iter().for_each(|sample| sums[0][0] += sample.row as f64);
            Ok(())
        };
        let backoff = OomBackoff::default();
        let mut sums = vec![vec![0.0]];
        let summed = backoff.retry(|attempt| {
            tries += 1;
            let added = add_unit(attempt, &unit, &add, &mut sums);
            if added.is_err() {
                MergedSums::clear(&mut sums);
            }
            added
        });
        summed.unwrap();
        assert_eq!(sums, [vec![36.0]]);
        assert_eq!((tries, tried.get()), (2, 6), "12 tokens, then 6 at once");
    }
}
