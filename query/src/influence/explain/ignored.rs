//! Bound of the part of a score that blocks of an eigenbasis leave out.
//!
//! Of a module that part is the sum over the coordinates c outside of the block of `f(L_c) q_c g_c`, with f
//! the filter of the question and L not negative. By Cauchy and Schwarz it is at most `f(0) |q| |g|`, with
//! the lengths of both gradients outside of the block, which the features of the kind `residual` have.

use std::sync::Arc;

use gstore_core::{Cancel, Kind};
use gstore_store::{FeaturePart, FeatureReader, ModuleGroup, RowFlags, Snapshot};

use super::pattern::Pattern;
use super::rows::RowVectors;
use super::{Prepared, Scored, TargetRow};
use crate::eigen::{EigenSpace, KIND, is_space_of};
use crate::error::QueryError;
use crate::influence::spec::{Fold, Sim, modules};

/// Rounding of a bound: it goes up by this part.
const UP: f64 = 1e-6;

/// Lengths by checkpoint and module.
pub(super) type Lengths = Vec<Vec<f64>>;

pub(super) struct Ignored {
    /// Residuals of the pools: by pool and checkpoint.
    pools: Vec<Vec<FeatureReader>>,
    targets: Vec<Vec<FeatureReader>>,
    /// By checkpoint and module what a product of two lengths is multiplied by.
    factors: Lengths,
}

impl Ignored {
    /// None where scores are no dot products of rows in eigenbases, where vectors are normalised before they
    /// are folded, and where the residuals of a side are not stored.
    pub(super) fn open(prepared: &Prepared) -> Result<Option<Self>, QueryError> {
        let spec = prepared.spec();
        let has_bound = spec.sim == Sim::Dot && spec.fold != Fold::UnitMean && !spec.per_token;
        if !has_bound || prepared.targets().is_empty() {
            return Ok(None);
        }
        let snapshot = prepared.snapshot();
        let mut sides = Vec::new();
        for side in prepared.pools().iter().chain(prepared.targets()) {
            let mut readers = Vec::with_capacity(side.features.len());
            for feature in &side.features {
                let Some(residual) = residual_of(snapshot, feature) else { return Ok(None) };
                readers.push(snapshot.open_feature_shared(residual)?);
            }
            sides.push(readers);
        }
        let targets = sides.split_off(prepared.pools().len());
        Ok(factors(prepared)?.map(|factors| Self { pools: sides, targets, factors }))
    }

    /// For each pattern the weighted sums of the lengths of its target samples; none where one of
    /// them is not known.
    pub(super) fn of_patterns(
        &self,
        fold: Fold,
        patterns: &[Pattern],
        targets: &[TargetRow],
        cancel: &Cancel,
    ) -> Result<Option<Vec<Lengths>>, QueryError> {
        let empty: Lengths = self.factors.iter().map(|modules| vec![0.0; modules.len()]).collect();
        let mut sums = vec![empty; patterns.len()];
        for (unit, target) in targets.iter().enumerate() {
            cancel.check()?;
            let members = TargetRow::of_subtask(targets, target.subtask).len() as f64;
            let weight = |pattern: &Pattern| match fold {
                Fold::None => pattern.weight(unit).abs(),
                // Each sample of a subtask has the same part in the vector that stands for it.
                _ => pattern.weight(target.subtask as usize).abs() / members,
            };
            let weights: Vec<f64> = patterns.iter().map(weight).collect();
            if weights.iter().all(|weight| *weight == 0.0) {
                continue;
            }
            let Some(readers) = self.targets.get(target.target as usize) else { return Ok(None) };
            for (c, reader) in readers.iter().enumerate() {
                let Some(lengths) = ignored_lengths(reader, target.row)? else { return Ok(None) };
                for (sums, weight) in sums.iter_mut().zip(&weights) {
                    sums[c].iter_mut().zip(&lengths).for_each(|(sum, length)| *sum += weight * length);
                }
            }
        }
        Ok(Some(sums))
    }

    /// What is left out of a row's score at most, whose pattern has these sums; none where that is not known.
    pub(super) fn bound(
        &self,
        scored: &Scored,
        line: &RowVectors,
        sums: &[Vec<f64>],
    ) -> Result<Option<f32>, QueryError> {
        let Some(readers) = self.pools.get(line.pool) else { return Ok(None) };
        let mut bound = 0.0;
        for (c, share) in line.shares() {
            let Some(own) = ignored_lengths(&readers[c], scored.row)? else { return Ok(None) };
            let terms = own.iter().zip(&sums[c]).zip(&self.factors[c]);
            // An infinite factor, of a damping of 0, leaves out nothing where there is nothing.
            let terms = terms.filter(|((own, sum), _)| *own * *sum > 0.0);
            bound += share.abs() * terms.map(|((own, sum), factor)| own * sum * factor).sum::<f64>();
        }
        Ok(Some((bound * (1.0 + UP)) as f32).filter(|bound| bound.is_finite()))
    }
}

/// By module the length of what is left out of a row; none where it is not stored or no number.
fn ignored_lengths(reader: &FeatureReader, row: u64) -> Result<Option<Vec<f64>>, QueryError> {
    let Some(stored) = reader.row(row)? else { return Ok(None) };
    // Of what was not finite zeros are stored.
    if stored.flags.intersects(RowFlags::NON_FINITE.union(RowFlags::MISSING)) {
        return Ok(None);
    }
    let lengths: Vec<f64> = stored.vector.iter().step_by(2).map(|length| f64::from(*length)).collect();
    Ok(Some(lengths).filter(|lengths| lengths.iter().all(|length| length.is_finite())))
}

/// The feature that has the residuals of a feature's rows, if they are rows of plain gradients in
/// an eigenbasis.
fn residual_of<'a>(snapshot: &'a Snapshot, of: &FeaturePart) -> Option<&'a Arc<FeaturePart>> {
    if of.desc.kind.name != Kind::GradSgd.name() || !is_space_of(of) {
        return None;
    }
    let (own, space) = (&of.desc, &of.desc.space);
    snapshot.features().iter().find(|feature| {
        let (desc, other) = (&feature.desc, &feature.desc.space);
        desc.kind.name == Kind::Residual.name()
            && (&desc.dataset, &desc.encoding, &desc.checkpoint)
                == (&own.dataset, &own.encoding, &own.checkpoint)
            && (&desc.compute, desc.granularity) == (&own.compute, own.granularity)
            && (&other.modules, &other.projection) == (&space.modules, &space.projection)
            && (&other.loss, &other.reduction) == (&space.loss, &space.reduction)
            && names(feature).eq(names(of))
    })
}

fn names(part: &FeaturePart) -> impl Iterator<Item = &str> {
    part.attrs.groups.iter().map(|group| group.name.as_str())
}

/// By checkpoint and module the most that the filter makes of an eigenvalue, times the module's weight; none
/// where the dampings of the rows are not known, or another curvature preconditions them.
fn factors(prepared: &Prepared) -> Result<Option<Lengths>, QueryError> {
    let (snapshot, spec) = (prepared.snapshot(), prepared.spec());
    let Some(pool) = prepared.pools().first() else { return Ok(None) };
    let (filter, artifacts, mut factors) = (spec.eigen_filter(), snapshot.artifacts()?, Lengths::new());
    for feature in &pool.features {
        let name = EigenSpace::artifact(&feature.desc.space.projection);
        let other = prepared.plan().precondition().is_some_and(|plan| plan.artifact != name);
        if other || !artifacts.contains(&name) {
            return Ok(None);
        }
        let part = snapshot.artifact(&name)?;
        if part.kind != KIND {
            return Ok(None);
        }
        let space = EigenSpace::of(&part)?;
        let weights = modules::weights(spec.modules.as_ref(), feature);
        let scale = feature.attrs.dot_scale.abs();
        let of_module = |(group, weight): (&ModuleGroup, f64)| {
            let block = space.blocks.iter().find(|block| block.module == group.name)?;
            Some(filter.most(block.damping) * weight.abs() * scale)
        };
        let own: Option<Vec<f64>> = feature.attrs.groups.iter().zip(weights).map(of_module).collect();
        let Some(own) = own else { return Ok(None) };
        factors.push(own);
    }
    Ok(Some(factors))
}
