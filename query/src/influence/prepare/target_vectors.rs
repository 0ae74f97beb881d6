//! Target vectors, loaded, normalised and folded.
//!
//! Where the terms are linear, they are collapsed into one vector per subtask and checkpoint.

use std::ops::Range;

use gstore_core::Cancel;
use gstore_curvature::Preconditioner;
use gstore_store::{BlockBuffer, RowFlags, Snapshot};

use super::target_rows::{TargetRow, TargetRows};
use super::target_source::{
    CheckpointTargets, TargetSource, collapsed, each_single, each_stored, position, single,
};
use crate::error::QueryError;
use crate::influence::plan::checkpoints::PlanCheckpoint;
use crate::influence::result::{ExcludedCounts, Reason};
use crate::influence::scan::terms::Terms;
use crate::influence::spec::modules;
use crate::influence::spec::{InfluenceSpec, Missing};

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
pub(crate) enum TargetForm {
    /// One vector per row, not weighted: to look at single pairs.
    Pairs,
    /// One vector per row with the checkpoint's weight folded in: a score for each row.
    Samples,
    /// What the question's terms need.
    Terms,
}

pub(crate) struct TargetLoader<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) spec: &'a InfluenceSpec,
    pub(crate) checkpoints: &'a [PlanCheckpoint],
    /// By checkpoint, then by target.
    pub(crate) readers: &'a [Vec<TargetSource<'a>>],
    /// By checkpoint what finished vectors are preconditioned by.
    pub(crate) inverses: Option<&'a [Preconditioner]>,
    pub(crate) cancel: &'a Cancel,
}

impl TargetLoader<'_> {
    pub(crate) fn load(&self, members: TargetRows, shape: TargetForm) -> Result<TargetVectors, QueryError> {
        let Self { spec, checkpoints, readers, .. } = *self;
        let (rows, subtasks, excluded) = self.compared(members)?;
        let spans: Vec<Range<usize>> =
            (0..subtasks.len() as u32).map(|s| TargetRow::of_subtask(&rows, s)).collect();
        let collapse = shape == TargetForm::Terms && spec.collapses();
        let mut vectors = Vec::with_capacity(checkpoints.len());
        for (c, checkpoint) in checkpoints.iter().enumerate().take(readers.len()) {
            let source = self.source(&rows, c);
            let mut found = if collapse {
                collapsed(spec, checkpoint.weight, &source, &spans)?
            } else {
                let weight = if shape == TargetForm::Pairs { 1.0 } else { checkpoint.weight };
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
        let left_out = self.left_out(&members.rows)?;
        members.compared(&left_out, |excluded| {
            format!(
                "{} have no scored token, {} are not finite, {} lack a checkpoint",
                excluded.no_scored, excluded.non_finite, excluded.missing
            )
        })
    }

    /// Why each row cannot be compared at every checkpoint, if it cannot.
    fn left_out(&self, rows: &[TargetRow]) -> Result<Vec<Option<Reason>>, QueryError> {
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
                each_stored(reader, (rows, t), self.cancel, &mut scratch, |at, block, i| {
                    present[at] += 1;
                    flags[at].insert(RowFlags::from_bits(block.flags[i]));
                })?;
            }
        }
        let reason = |at: usize| {
            if flags[at].contains(RowFlags::NO_SCORED) {
                Some(Reason::NoScored)
            } else if flags[at].intersects(RowFlags::NON_FINITE.union(RowFlags::MISSING)) {
                Some(Reason::NonFinite)
            } else {
                (present[at] < self.readers.len()).then_some(Reason::Missing)
            }
        };
        let reasons: Vec<Option<Reason>> = (0..rows.len()).map(reason).collect();
        let lacking = rows.iter().zip(&reasons).filter(|(_, reason)| **reason == Some(Reason::Missing));
        let lacking: Vec<TargetRow> = lacking.map(|(row, _)| *row).collect();
        self.check_missing(&lacking, rows.len())?;
        Ok(reasons)
    }

    /// Refuses rows that lack a checkpoint where the question wants that.
    fn check_missing(&self, lacking: &[TargetRow], scanned: usize) -> Result<(), QueryError> {
        if lacking.is_empty() || self.spec.missing != Missing::Error {
            return Ok(());
        }
        let mut found = Vec::new();
        for (readers, checkpoint) in self.readers.iter().zip(self.checkpoints) {
            for (t, source) in readers.iter().enumerate() {
                let TargetSource::Stored(reader) = source else { continue };
                let present = reader.row_set()?;
                let lacks = |row: &&TargetRow| row.target as usize == t && !present.contains(row.row);
                let count = lacking.iter().filter(lacks).count();
                if count > 0 {
                    let (part, place) = (reader.part(), &checkpoint.name);
                    found.push((part, format!("{count} of the target `{}` at {place}", part.desc.dataset)));
                }
            }
        }
        Err(QueryError::missing(self.snapshot, (lacking.len() as u64, scanned as u64), found))
    }

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
        let spans: Vec<Range<usize>> = (0..subtasks).map(|s| TargetRow::of_subtask(rows, s)).collect();
        let mut found = collapsed(self.spec, 1.0, &source, &spans)?;
        source.weigh(&mut found);
        Ok(found)
    }

    fn source<'b>(&'b self, rows: &'b [TargetRow], checkpoint: usize) -> CheckpointTargets<'b> {
        let readers = &self.readers[checkpoint];
        let modules =
            readers.iter().map(|r| modules::weights(self.spec.modules.as_ref(), r.part())).collect();
        let inverse = self.inverses.and_then(|inverses| inverses.get(checkpoint));
        CheckpointTargets { readers, rows, modules, inverse, cancel: self.cancel }
    }
}
