//! One pool row against the target in detail: where its score comes from.
//!
//! A row's score is a sum over checkpoints, and in each over the coordinates of its module groups;
//! `within = max` or `min` takes one target sample's sum, `across` one subtask's. The parts shown are those
//! of the subtask and sample that decided, so they add up to its value.

use std::ops::ControlFlow;

use gstore_core::Cancel;
use serde::Serialize;

use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::target_vectors::TargetForm;
use crate::influence::result::{NO_SUBTASK, Scored};
use crate::influence::scan::filter::{RowFilter, RowMask};
use crate::influence::scan::lengths::length as under;
use crate::influence::spec::{Order, Sim, Within};
use crate::values::{groups, norm};

/// One pool row against the target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// Index into the pools of the plan.
    pub pool: u32,
    /// Row of that dataset.
    pub row: u64,
    /// As the ranking has it.
    pub score: f32,
    /// The subtask that decided, if one did.
    pub subtask: Option<String>,
    /// Its place among the proponents, from 1.
    pub rank: u64,
    /// How many rows have a score.
    pub of: u64,
    /// Percentage of the other rows that rank below it.
    pub percentile: f64,
    /// Value of the subtask that decided: the sum of the checkpoints' parts. The score, unless
    /// `across` adds subtasks up.
    pub value: f64,
    /// Standard error of the score, from split halves of the coordinates; see
    /// [`crate::influence::RowExplanation::stderr`].
    pub stderr: Option<f32>,
    /// Standard deviation of the score of a row that has nothing in common with the target; see
    /// [`crate::influence::RowExplanation::noise_floor`].
    pub noise_floor: Option<f32>,
    /// The parts, in the run's order; without those where the row has no vector.
    pub checkpoints: Vec<PairCheckpoint>,
}

/// One checkpoint's part of a [`Pair`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairCheckpoint {
    /// Its name.
    pub name: String,
    /// Its weight; those of the checkpoints listed sum to 1.
    pub weight: f64,
    /// Similarity there, without the weight.
    pub similarity: f64,
    /// Weight times similarity.
    pub part: f64,
    /// L2 norm of the row's vector.
    pub norm: f64,
    /// L2 norm of the target's vector, where the target is one sample.
    pub target_norm: Option<f64>,
    /// What each module adds to `part`, largest first by size; empty where the projection mixes the modules.
    pub modules: Vec<PairModule>,
}

/// One module's part of a [`PairCheckpoint`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairModule {
    /// Its name.
    pub name: String,
    /// What it adds.
    pub part: f64,
}

impl Prepared {
    /// One row of a pool against the target. Scores every row, to know its place. `None`
    /// if the row has no score.
    ///
    /// # Errors
    /// As [`Prepared::top_k`]; also where tokens are scored, which have no line of their own here.
    pub fn pair(
        &self,
        pool: usize,
        row: u64,
        threads: usize,
        cancel: &Cancel,
    ) -> Result<Option<Pair>, QueryError> {
        if self.spec().per_token {
            return Err(QueryError::Spec("a pair is of samples; ask without `per_token`".into()));
        }
        self.make_inverses(threads, cancel)?;
        let mut filter = RowFilter::new();
        for other in 0..self.pools().len() {
            filter =
                filter.with(other, if other == pool { RowMask::from_iter([row]) } else { RowMask::new() });
        }
        let own = self.top_k(Order::Best, 1, Some(&filter), 1, cancel)?;
        let Some(scored) = own.rows.first().copied() else { return Ok(None) };
        let mut above = 0u64;
        let all = self.scores(None, threads, cancel, |part| {
            above += part.iter().filter(|other| goes_before(other, &scored)).count() as u64;
            ControlFlow::Continue(())
        })?;
        let checkpoints = parts(self, &scored, cancel)?;
        let below = all.eligible.saturating_sub(above + 1);
        let noise = self.explain_rows(&[scored], cancel)?.pop();
        Ok(Some(Pair {
            pool: scored.pool,
            row,
            // As elsewhere, -0.0 is 0.0.
            score: scored.score + 0.0,
            subtask: own.subtasks.get(scored.subtask as usize).cloned(),
            rank: above + 1,
            of: all.eligible,
            percentile: 100.0 * below as f64 / all.eligible.saturating_sub(1).max(1) as f64,
            value: checkpoints.iter().map(|c| c.part).sum(),
            stderr: noise.as_ref().and_then(|noise| noise.stderr),
            noise_floor: noise.as_ref().and_then(|noise| noise.noise_floor),
            checkpoints,
        }))
    }
}

fn parts(prepared: &Prepared, scored: &Scored, cancel: &Cancel) -> Result<Vec<PairCheckpoint>, QueryError> {
    let target = prepared.load_targets(TargetForm::Terms, cancel)?;
    let mut found: Vec<Vec<PairCheckpoint>> = Vec::new();
    let Some(side) = prepared.pools().get(scored.pool as usize) else { return Ok(Vec::new()) };
    let subtask = if scored.subtask == NO_SUBTASK { 0 } else { scored.subtask as usize };
    let Some(values) = target.terms.subtasks.get(subtask).cloned() else { return Ok(Vec::new()) };
    for (c, (checkpoint, feature)) in prepared.checkpoints().iter().zip(&side.features).enumerate() {
        let Some(stored) = prepared.snapshot().open_feature_shared(feature)?.row(scored.row)? else {
            continue;
        };
        let modules = crate::influence::spec::modules::weights(prepared.spec().modules.as_ref(), feature);
        let length = norm(&stored.norm, &modules);
        let divide = match prepared.spec().sim {
            Sim::Cosine => {
                let metric = prepared.inverses(cancel)?.and_then(|inverses| inverses.get(c));
                under(&stored.vector, length, (&modules, metric))
            }
            Sim::Dot => 1.0 / feature.attrs.dot_scale,
        };
        let target_norm = target_norm(prepared, &target, subtask, c, &modules)?;
        let dim = feature.desc.dim() as usize;
        let of_vector = |v: usize| {
            let query = target.vectors[c].get(v * dim..(v + 1) * dim).unwrap_or_default();
            let parts: Vec<PairModule> = groups(feature)
                .into_iter()
                .zip(&feature.attrs.groups)
                .map(|(span, group)| {
                    let products = stored.vector[span.clone()].iter().zip(&query[span]);
                    let dot: f64 = products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    PairModule { name: group.name.clone(), part: dot / divide }
                })
                .collect();
            PairCheckpoint {
                name: checkpoint.name.clone(),
                weight: checkpoint.weight,
                similarity: 0.0,
                part: parts.iter().map(|m| m.part).sum(),
                norm: length,
                target_norm,
                modules: parts,
            }
        };
        found.push(values.clone().map(of_vector).collect());
    }
    Ok(finish(decided(found, prepared.spec().within)))
}

/// Length of the target's vector, if the subtask that decided is one sample.
fn target_norm(
    prepared: &Prepared,
    target: &crate::influence::prepare::target_vectors::TargetVectors,
    subtask: usize,
    checkpoint: usize,
    modules: &[f64],
) -> Result<Option<f64>, QueryError> {
    let mut rows = target.rows.iter().filter(|row| row.subtask as usize == subtask);
    let (Some(only), None) = (rows.next(), rows.next()) else { return Ok(None) };
    Ok(prepared.target_row(checkpoint, only)?.map(|stored| norm(&stored.norm, modules)))
}

/// Whether a row goes before another among the proponents.
fn goes_before(a: &Scored, b: &Scored) -> bool {
    let key = |s: &Scored| (s.pool, s.row);
    if a.score == b.score { key(a) < key(b) } else { a.score > b.score }
}

/// Of the target vectors of a subtask the one that decided: the only one, or where the largest or smallest
/// counts, that which gives it.
fn decided(by_checkpoint: Vec<Vec<PairCheckpoint>>, within: Within) -> Vec<PairCheckpoint> {
    let vectors = by_checkpoint.iter().map(Vec::len).min().unwrap_or(0);
    let sign = if within == Within::Min { -1.0 } else { 1.0 };
    let value = |v: &usize| sign * by_checkpoint.iter().map(|at| at[*v].part).sum::<f64>();
    // Of equals the first.
    let best = (0..vectors).rev().max_by(|a, b| value(a).total_cmp(&value(b))).unwrap_or(0);
    by_checkpoint.into_iter().filter_map(|mut at| (best < at.len()).then(|| at.swap_remove(best))).collect()
}

/// Weights over the checkpoints that the row has, and similarities without them.
fn finish(mut checkpoints: Vec<PairCheckpoint>) -> Vec<PairCheckpoint> {
    let total: f64 = checkpoints.iter().map(|c| c.weight).sum();
    for c in &mut checkpoints {
        c.similarity = if c.weight > 0.0 { c.part / c.weight } else { 0.0 };
        c.weight /= total;
        c.part /= total;
        c.modules.iter_mut().for_each(|m| m.part /= total);
        c.modules
            .sort_unstable_by(|a, b| b.part.abs().total_cmp(&a.part.abs()).then_with(|| a.name.cmp(&b.name)));
        if let [only] = &c.modules[..]
            && only.name == "all"
        {
            c.modules.clear();
        }
    }
    checkpoints
}
