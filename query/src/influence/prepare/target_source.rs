//! The vectors of some target rows at one checkpoint, read, normalised and summed.

use std::ops::Range;
use std::sync::Arc;

use gstore_core::Cancel;
use gstore_curvature::Preconditioner;
use gstore_store::{Block, BlockBuffer, FeaturePart, FeatureReader};

use super::encoder::GivenSamples;
use super::target_rows::TargetRow;
use crate::error::QueryError;
use crate::influence::scan::lengths::length;
use crate::influence::spec::{Fold, InfluenceSpec, Sim, Within};
use crate::values::{MIN_NORM, groups, norm};

/// First position of a row of target `t` that is not below `row`; `rows` ascend by target and row.
pub(super) fn position(rows: &[TargetRow], t: usize, row: u64) -> usize {
    rows.partition_point(|r| (r.target as usize, r.row) < (t, row))
}

/// Hands out (position, block, place in it) of the rows of target `t` that have a vector, block by block.
pub(super) fn each_stored(
    reader: &FeatureReader,
    (rows, t): (&[TargetRow], usize),
    cancel: &Cancel,
    scratch: &mut BlockBuffer,
    mut take: impl FnMut(usize, &Block<'_>, usize),
) -> Result<(), QueryError> {
    for &block in reader.blocks() {
        let near = position(rows, t, block.range().start)..position(rows, t, block.range().end);
        if near.is_empty() {
            continue;
        }
        cancel.check()?;
        let block = reader.read_block(block, scratch)?;
        for at in near {
            if let Ok(i) = block.rows.binary_search(&rows[at].row) {
                take(at, &block, i);
            }
        }
    }
    Ok(())
}

/// The vectors of one target at one checkpoint.
pub(crate) enum TargetSource<'a> {
    Stored(FeatureReader),
    /// Of samples that are given with the question.
    Given {
        /// The pool's feature, whose form they share.
        part: Arc<FeaturePart>,
        samples: &'a GivenSamples,
        checkpoint: usize,
    },
}

impl TargetSource<'_> {
    pub(super) fn part(&self) -> &FeaturePart {
        match self {
            Self::Stored(reader) => reader.part(),
            Self::Given { part, .. } => part,
        }
    }
}

/// The vectors of some target rows at one checkpoint.
pub(super) struct CheckpointTargets<'a> {
    pub(super) readers: &'a [TargetSource<'a>],
    pub(super) rows: &'a [TargetRow],
    /// For each reader the weights of its module groups.
    pub(super) modules: Vec<Vec<f64>>,
    /// What a vector is preconditioned by.
    pub(super) inverse: Option<&'a Preconditioner>,
    pub(super) cancel: &'a Cancel,
}

impl CheckpointTargets<'_> {
    pub(super) fn dim(&self) -> usize {
        self.readers.first().map_or(0, |reader| reader.part().desc.dim() as usize)
    }

    /// The coordinates of each module group with its weight; all readers have the same.
    fn modules(&self) -> impl Iterator<Item = (Range<usize>, f64)> {
        let groups = self.readers.first().map(|reader| groups(reader.part())).unwrap_or_default();
        groups.into_iter().zip(self.modules.first().into_iter().flatten().copied())
    }

    fn is_weighted(&self) -> bool {
        self.modules.iter().flatten().any(|weight| *weight != 1.0)
    }

    /// The weights of the module groups, which all readers share.
    fn weights(&self) -> &[f64] {
        self.modules.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// The length that makes a vector one of length 1: for a cosine that under the preconditioner, if there
    /// is one, else what the store says.
    fn length(&self, spec: &InfluenceSpec, vector: &[f32], stored: f64) -> f64 {
        let metric = self.inverse.filter(|_| spec.sim == Sim::Cosine);
        length(vector, stored, (self.weights(), metric))
    }

    /// Preconditions a vector before it is rounded. Weights of modules may come before or after: the inverse
    /// keeps modules apart.
    fn precondition(&self, vector: &mut [f64]) {
        if let Some(inverse) = self.inverse {
            inverse.apply(vector);
        }
    }

    /// Folds the weights of the modules into finished vectors.
    pub(super) fn weigh(&self, vectors: &mut [f32]) {
        for (group, weight) in self.modules().filter(|(_, weight)| *weight != 1.0) {
            for vector in vectors.chunks_exact_mut(self.dim().max(1)) {
                vector[group.clone()].iter_mut().for_each(|x| *x = (f64::from(*x) * weight) as f32);
            }
        }
    }

    /// Hands out (position, vector, norm) of the rows at `span`, which all belong to one subtask, by target
    /// and row: the order in which sums are taken does not depend on how segments are cut.
    fn each(&self, span: Range<usize>, mut take: impl FnMut(usize, &[f32], f64)) -> Result<(), QueryError> {
        let mut scratch = BlockBuffer::new();
        let mut buffer = vec![0.0f32; self.dim()];
        let rows = &self.rows[span.clone()];
        for (t, source) in self.readers.iter().enumerate() {
            let groups = groups(source.part());
            let weights = &self.modules[t][..];
            let mine = position(rows, t, 0)..position(rows, t, u64::MAX);
            let reader = match source {
                TargetSource::Stored(reader) => reader,
                TargetSource::Given { samples, checkpoint, .. } => {
                    for at in mine {
                        let stored =
                            samples.vectors.get(*checkpoint).and_then(|all| all.get(rows[at].row as usize));
                        if let Some(stored) = stored {
                            take(span.start + at, &stored.vector, norm(&stored.norm, weights));
                        }
                    }
                    continue;
                }
            };
            let blocks = reader.blocks();
            let overlap = blocks.windows(2).any(|w| w[1].range().start < w[0].range().end);
            if overlap {
                for at in mine {
                    if let Some(stored) = reader.row(rows[at].row)? {
                        take(span.start + at, &stored.vector, norm(&stored.norm, weights));
                    }
                }
                continue;
            }
            each_stored(reader, (rows, t), self.cancel, &mut scratch, |at, block, i| {
                block.vector(i, &groups, &mut buffer);
                let norms = &block.norm[i * groups.len()..(i + 1) * groups.len()];
                take(span.start + at, &buffer, norm(norms, weights));
            })?;
        }
        Ok(())
    }
}

/// One vector per row.
pub(super) fn single(
    spec: &InfluenceSpec,
    weight: f64,
    source: &CheckpointTargets<'_>,
) -> Result<Vec<f32>, QueryError> {
    let dim = source.dim();
    let mut out = vec![0.0f32; source.rows.len() * dim];
    each_single(spec, weight, source, |at, vector| out[at * dim..(at + 1) * dim].copy_from_slice(vector))?;
    Ok(out)
}

/// Hands out (position, vector) of the rows, of length `weight` for a cosine and times `weight` else.
pub(super) fn each_single(
    spec: &InfluenceSpec,
    weight: f64,
    source: &CheckpointTargets<'_>,
    mut take: impl FnMut(usize, &[f32]),
) -> Result<(), QueryError> {
    let (mut out, mut exact) = (vec![0.0f32; source.dim()], vec![0.0f64; source.dim()]);
    let mut done = 0;
    while done < source.rows.len() {
        let end = source.rows.partition_point(|r| r.subtask <= source.rows[done].subtask);
        source.each(done..end, |at, vector, norm| {
            let factor =
                weight / if spec.sim == Sim::Cosine { source.length(spec, vector, norm) } else { 1.0 };
            for (exact, x) in exact.iter_mut().zip(vector) {
                *exact = f64::from(*x) * factor;
            }
            source.precondition(&mut exact);
            out.iter_mut().zip(&exact).for_each(|(out, x)| *out = *x as f32);
            take(at, &out);
        })?;
        done = end;
    }
    Ok(())
}

/// One vector per subtask: the sum of what its rows contribute, in f64 until the end.
pub(super) fn collapsed(
    spec: &InfluenceSpec,
    weight: f64,
    source: &CheckpointTargets<'_>,
    spans: &[Range<usize>],
) -> Result<Vec<f32>, QueryError> {
    let dim = source.dim();
    let mut out = Vec::with_capacity(spans.len() * dim);
    // A fold of raw vectors is normalised after it, everything else before.
    let unit = match spec.fold {
        Fold::None => spec.sim == Sim::Cosine,
        Fold::Mean => false,
        Fold::UnitMean => true,
    };
    let mut sum = vec![0.0f64; dim];
    for span in spans {
        // A subtask of one sample is that sample, to the bit.
        if span.len() == 1 && spec.fold == Fold::None {
            let one = CheckpointTargets {
                rows: &source.rows[span.clone()],
                modules: source.modules.clone(),
                ..*source
            };
            out.extend(single(spec, weight, &one)?);
            continue;
        }
        sum.fill(0.0);
        source.each(span.clone(), |_, vector, norm| {
            let factor = if unit { 1.0 / source.length(spec, vector, norm) } else { 1.0 };
            for (sum, x) in sum.iter_mut().zip(vector) {
                *sum += f64::from(*x) * factor;
            }
        })?;
        let count = span.len() as f64;
        let mut factor =
            if spec.fold == Fold::None && spec.within == Within::Sum { 1.0 } else { 1.0 / count };
        if spec.fold != Fold::None && spec.sim == Sim::Cosine {
            let squares = |group: Range<usize>| sum[group].iter().map(|x| x * x).sum::<f64>();
            let length = match (source.inverse, source.is_weighted()) {
                (Some(inverse), _) => inverse.length(&sum, source.weights()),
                (None, false) => squares(0..dim).sqrt(),
                (None, true) => {
                    source.modules().map(|(group, weight)| weight * squares(group)).sum::<f64>().sqrt()
                }
            };
            let length = length / count;
            factor /= length.max(MIN_NORM);
        }
        sum.iter_mut().for_each(|x| *x = *x * factor * weight);
        source.precondition(&mut sum);
        out.extend(sum.iter().map(|x| *x as f32));
    }
    Ok(out)
}
