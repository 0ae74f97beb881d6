//! Target vectors, loaded, normalised and folded.
//!
//! Where the terms are linear, they are collapsed into one vector per subtask and checkpoint.

use std::ops::Range;
use std::sync::Arc;

use gstore_core::Cancel;
use gstore_curvature::Preconditioner;
use gstore_store::{BlockBuffer, FeaturePart, FeatureReader, RowFlags};

use super::encoder::Given;
use super::target_rows::{TargetRow, TargetRows};
use crate::error::QueryError;
use crate::influence::plan::checkpoints::PlanCheckpoint;
use crate::influence::result::{ExcludedCounts, Reason};
use crate::influence::scan::lengths::length;
use crate::influence::scan::terms::Terms;
use crate::influence::spec::modules;
use crate::influence::spec::{Fold, InfluenceSpec, Missing, Sim, Within};
use crate::values::{MIN_NORM, groups, norm};

/// Query vectors of a question.
pub(crate) struct TargetVectors {
    /// Names of the subtasks that have rows.
    pub(crate) subtasks: Vec<String>,
    /// Target rows that are compared, by subtask, then target and row.
    pub(crate) rows: Vec<TargetRow>,
    pub(crate) excluded: ExcludedCounts,
    /// How the values of the vectors become a score.
    pub(crate) terms: Terms,
    /// For each checkpoint the vectors, one after another, with the checkpoint's weight folded in.
    pub(crate) vectors: Vec<Vec<f32>>,
}

/// How target rows become vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One vector per row, not weighted: to look at single pairs.
    Pairs,
    /// One vector per row with the checkpoint's weight folded in: a score for each row.
    Samples,
    /// What the question's terms need.
    Terms,
}

/// The vectors of one target at one checkpoint.
pub(crate) enum TargetSource<'a> {
    /// In the store.
    Stored(FeatureReader),
    /// Of samples that are given with the question.
    Given {
        /// The pool's feature, whose form they share.
        part: Arc<FeaturePart>,
        samples: &'a Given,
        checkpoint: usize,
    },
}

impl TargetSource<'_> {
    fn part(&self) -> &FeaturePart {
        match self {
            Self::Stored(reader) => reader.part(),
            Self::Given { part, .. } => part,
        }
    }
}

/// Where target vectors come from.
pub(crate) struct TargetLoader<'a> {
    pub(crate) spec: &'a InfluenceSpec,
    pub(crate) checkpoints: &'a [PlanCheckpoint],
    /// By checkpoint, then by target.
    pub(crate) readers: &'a [Vec<TargetSource<'a>>],
    /// By checkpoint what finished vectors are preconditioned by.
    pub(crate) inverses: Option<&'a [Preconditioner]>,
    pub(crate) cancel: &'a Cancel,
}

impl TargetLoader<'_> {
    /// Loads the vectors of `members`.
    pub(crate) fn load(&self, members: TargetRows, shape: Shape) -> Result<TargetVectors, QueryError> {
        let Self { spec, checkpoints, readers, .. } = *self;
        let (rows, subtasks, excluded) = self.compared(members)?;
        let spans: Vec<Range<usize>> = (0..subtasks.len() as u32)
            .map(|s| rows.partition_point(|r| r.subtask < s)..rows.partition_point(|r| r.subtask <= s))
            .collect();
        let collapse = shape == Shape::Terms && spec.collapses();
        let mut vectors = Vec::with_capacity(checkpoints.len());
        for (c, checkpoint) in checkpoints.iter().enumerate().take(readers.len()) {
            let source = self.source(&rows, c);
            let mut found = if collapse {
                collapsed(spec, checkpoint.weight, &source, &spans)?
            } else {
                let weight = if shape == Shape::Pairs { 1.0 } else { checkpoint.weight };
                single(spec, weight, &source)?
            };
            source.weigh(&mut found);
            vectors.push(found);
        }
        let subtask_values = if collapse { (0..spans.len()).map(|s| s..s + 1).collect() } else { spans };
        let terms = Terms { within: spec.within, across: spec.across, subtasks: subtask_values };
        Ok(TargetVectors { subtasks, rows, excluded, terms, vectors })
    }

    /// The rows that can be compared at every checkpoint, by subtask, then target and row, and the
    /// names of their subtasks.
    pub(super) fn compared(
        &self,
        members: TargetRows,
    ) -> Result<(Vec<TargetRow>, Vec<String>, ExcludedCounts), QueryError> {
        let (rows, excluded) = self.usable(&members.rows)?;
        if rows.is_empty() {
            let target = self.spec.target_names().join(", ");
            let why = match members.rows.len() {
                0 => "it has none".to_owned(),
                n => format!(
                    "of {n}, {} have no scored token, {} are not finite, {} lack a checkpoint",
                    excluded.no_scored, excluded.non_finite, excluded.missing
                ),
            };
            return Err(QueryError::EmptyTarget { target, why });
        }
        let (rows, subtasks) = group(rows, members.subtasks);
        Ok((rows, subtasks, excluded))
    }

    /// Rows that can be compared at every checkpoint.
    fn usable(&self, rows: &[TargetRow]) -> Result<(Vec<TargetRow>, ExcludedCounts), QueryError> {
        let mut flags = vec![RowFlags::empty(); rows.len()];
        let mut present = vec![0usize; rows.len()];
        let mut scratch = BlockBuffer::new();
        for readers in self.readers {
            for (t, source) in readers.iter().enumerate() {
                let TargetSource::Stored(reader) = source else {
                    // The encoder refused samples that have none.
                    let mine = position(rows, t, 0)..position(rows, t, u64::MAX);
                    present[mine].iter_mut().for_each(|present| *present += 1);
                    continue;
                };
                for &block in reader.blocks() {
                    let near = position(rows, t, block.range().start)..position(rows, t, block.range().end);
                    if near.is_empty() {
                        continue;
                    }
                    check(self.cancel)?;
                    let block = reader.read_block(block, &mut scratch)?;
                    for at in near {
                        if let Ok(i) = block.rows.binary_search(&rows[at].row) {
                            present[at] += 1;
                            flags[at].insert(RowFlags::from_bits(block.flags[i]));
                        }
                    }
                }
            }
        }
        let mut excluded = ExcludedCounts::default();
        let mut kept = Vec::with_capacity(rows.len());
        for (at, row) in rows.iter().enumerate() {
            if flags[at].contains(RowFlags::NO_SCORED) {
                excluded.add(Reason::NoScored);
            } else if flags[at].intersects(RowFlags::NON_FINITE.union(RowFlags::MISSING)) {
                excluded.add(Reason::NonFinite);
            } else if present[at] < self.readers.len() {
                excluded.add(Reason::Missing);
            } else {
                kept.push(*row);
            }
        }
        if excluded.missing > 0 && self.spec.missing == Missing::Error {
            return Err(QueryError::Missing {
                rows: excluded.missing,
                scanned: rows.len() as u64,
                detail: "rows of the target".into(),
            });
        }
        Ok((kept, excluded))
    }
}

impl TargetLoader<'_> {
    /// Hands out (index into `rows`, vector) of target rows at one checkpoint, as they are compared one by
    /// one: of length 1 for a cosine, with the weights of the modules folded in and that of the checkpoint
    /// not. `rows` are some of the loaded ones, in their order.
    pub(crate) fn each_pair(
        &self,
        rows: &[TargetRow],
        checkpoint: usize,
        mut take: impl FnMut(usize, &[f32]),
    ) -> Result<(), QueryError> {
        let source = self.source(rows, checkpoint);
        let mut buffer = vec![0.0f32; source.dim()];
        each_single(self.spec, 1.0, &source, |at, vector| {
            buffer.copy_from_slice(vector);
            source.weigh(&mut buffer);
            take(at, &buffer);
        })
    }

    /// The vector that stands for each subtask at one checkpoint where the question folds its samples, as
    /// [`Self::each_pair`] gives those of samples.
    pub(crate) fn folded(&self, rows: &[TargetRow], checkpoint: usize) -> Result<Vec<f32>, QueryError> {
        let source = self.source(rows, checkpoint);
        let subtasks = rows.last().map_or(0, |row| row.subtask + 1);
        let spans: Vec<Range<usize>> = (0..subtasks)
            .map(|s| rows.partition_point(|r| r.subtask < s)..rows.partition_point(|r| r.subtask <= s))
            .collect();
        let mut found = collapsed(self.spec, 1.0, &source, &spans)?;
        source.weigh(&mut found);
        Ok(found)
    }

    fn source<'b>(&'b self, rows: &'b [TargetRow], checkpoint: usize) -> Source<'b> {
        let readers = &self.readers[checkpoint];
        let modules =
            readers.iter().map(|r| modules::weights(self.spec.modules.as_ref(), r.part())).collect();
        let inverse = self.inverses.and_then(|inverses| inverses.get(checkpoint));
        Source { readers, rows, modules, inverse, cancel: self.cancel }
    }
}

/// Sorts rows by subtask and drops subtasks that have none.
pub(super) fn group(mut rows: Vec<TargetRow>, names: Vec<String>) -> (Vec<TargetRow>, Vec<String>) {
    rows.sort_by_key(|r| (r.subtask, r.target, r.row));
    let mut kept: Vec<String> = Vec::new();
    let mut last = None;
    for row in &mut rows {
        if last != Some(row.subtask) {
            last = Some(row.subtask);
            kept.extend(names.get(row.subtask as usize).cloned());
        }
        row.subtask = kept.len().saturating_sub(1) as u32;
    }
    (rows, kept)
}

fn check(cancel: &Cancel) -> Result<(), QueryError> {
    Ok(cancel.check()?)
}

/// First position of a row of target `t` that is not below `row`; `rows` ascend by target and row.
fn position(rows: &[TargetRow], t: usize, row: u64) -> usize {
    rows.partition_point(|r| (r.target as usize, r.row) < (t, row))
}

/// The vectors of some target rows at one checkpoint.
struct Source<'a> {
    readers: &'a [TargetSource<'a>],
    rows: &'a [TargetRow],
    /// For each reader the weights of its module groups.
    modules: Vec<Vec<f64>>,
    /// What a vector is preconditioned by.
    inverse: Option<&'a Preconditioner>,
    cancel: &'a Cancel,
}

impl Source<'_> {
    fn dim(&self) -> usize {
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

    /// The length that makes a vector one of length 1: for a cosine that under the preconditioner, if there is
    /// one, else what the store says.
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
    fn weigh(&self, vectors: &mut [f32]) {
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
            for &block in blocks {
                let near = position(rows, t, block.range().start)..position(rows, t, block.range().end);
                if near.is_empty() {
                    continue;
                }
                check(self.cancel)?;
                let block = reader.read_block(block, &mut scratch)?;
                for at in near {
                    if let Ok(i) = block.rows.binary_search(&rows[at].row) {
                        block.vector(i, &groups, &mut buffer);
                        take(
                            span.start + at,
                            &buffer,
                            norm(&block.norm[i * groups.len()..(i + 1) * groups.len()], weights),
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

/// One vector per row.
fn single(spec: &InfluenceSpec, weight: f64, source: &Source<'_>) -> Result<Vec<f32>, QueryError> {
    let dim = source.dim();
    let mut out = vec![0.0f32; source.rows.len() * dim];
    each_single(spec, weight, source, |at, vector| out[at * dim..(at + 1) * dim].copy_from_slice(vector))?;
    Ok(out)
}

/// Hands out (position, vector) of the rows, of length `weight` for a cosine and times `weight` else.
fn each_single(
    spec: &InfluenceSpec,
    weight: f64,
    source: &Source<'_>,
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
fn collapsed(
    spec: &InfluenceSpec,
    weight: f64,
    source: &Source<'_>,
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
            let one = Source { rows: &source.rows[span.clone()], modules: source.modules.clone(), ..*source };
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
