//! The samples of a target one by one, and a question about some of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use gstore_core::Cancel;
use gstore_store::FeaturePart;

use super::Prepared;
use super::target_rows::{TargetRow, TargetRows};
use super::target_vectors::TargetVectors;
use crate::error::QueryError;
use crate::influence::result::ExcludedCounts;
use crate::influence::spec::mode::Mode;

/// The samples of a target that can be compared.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetSamples {
    /// By subtask, then target and row.
    pub rows: Vec<TargetRow>,
    /// Names of their subtasks; `TargetRow::subtask` points here.
    pub subtasks: Vec<String>,
    /// How a question names each of them: `dataset:subtask`, or the dataset for its
    /// samples without a subtask.
    pub asked: Vec<String>,
    /// Those that cannot be compared.
    pub excluded: ExcludedCounts,
}

/// How a question names each subtask, by its name.
fn asked_names(members: &TargetRows) -> impl Fn(&[String]) -> Vec<String> + use<> {
    let asked: BTreeMap<String, String> =
        members.subtasks.iter().cloned().zip(members.asked.iter().cloned()).collect();
    move |subtasks| subtasks.iter().map(|name| asked.get(name).unwrap_or(name).clone()).collect()
}

impl Prepared {
    /// The samples of the target. Reads whether they have vectors at every checkpoint, and keeps none.
    ///
    /// # Errors
    /// Also where there is none.
    pub fn target_samples(&self, cancel: &Cancel) -> Result<TargetSamples, QueryError> {
        if self.plan().models().is_some() {
            return self.loss_samples(cancel);
        }
        let members = self.target_rows()?;
        let readers = self.target_sources(cancel)?;
        let loader = self.target_loader(&readers, cancel)?;
        let names = asked_names(&members);
        let (rows, subtasks, excluded) = loader.compared(members)?;
        Ok(TargetSamples { asked: names(&subtasks), rows, subtasks, excluded })
    }

    /// The same of losses, which are few enough to be kept.
    fn loss_samples(&self, cancel: &Cancel) -> Result<TargetSamples, QueryError> {
        let members = self.target_rows()?;
        let TargetVectors { rows, subtasks, excluded, .. } = &self.loss_operands_by_sample(cancel)?.target;
        let asked = asked_names(&members)(subtasks);
        Ok(TargetSamples { rows: rows.clone(), subtasks: subtasks.clone(), asked, excluded: *excluded })
    }

    /// The same question about some samples of its target, which is how many are answered in little memory.
    /// Whatever depends on the target as a whole (`exclude_target`) is that of the whole.
    ///
    /// # Errors
    /// What finding the candidates gives.
    pub fn of_samples(&self, rows: &[TargetRow], cancel: &Cancel) -> Result<Self, QueryError> {
        let mut only: Vec<(u32, u64)> = rows.iter().map(|row| (row.target, row.row)).collect();
        only.sort_unstable();
        self.candidates(cancel)?;
        Ok(self.narrowed(Arc::from(only)))
    }

    /// Rows of the pools that may have scores.
    pub(crate) fn candidate_rows(&self, cancel: &Cancel) -> Result<u64, QueryError> {
        Ok(self.candidates(cancel)?.iter().map(|rows| rows.len()).sum())
    }

    /// Bytes that the vectors of one target sample take while it is compared: once as they are loaded and
    /// once packed, and once more for pools of rotated signs.
    pub fn sample_bytes(&self) -> u64 {
        let rotated = self.dims(|feature| !feature.desc.rotation.is_none());
        self.plain_bytes().saturating_add(rotated.saturating_mul(size_of::<f32>() as u64))
    }

    /// Coordinates of one vector at the checkpoints where the feature of any pool is one of these.
    fn dims(&self, is: impl Fn(&FeaturePart) -> bool) -> u64 {
        let pools = self.pools();
        let features = pools.first().map(|pool| &pool.features[..]).unwrap_or_default();
        let any = |c: usize| pools.iter().any(|pool| pool.features.get(c).is_some_and(|feature| is(feature)));
        features.iter().enumerate().filter(|(c, _)| any(*c)).map(|(_, f)| u64::from(f.desc.dim())).sum()
    }

    fn plain_bytes(&self) -> u64 {
        if let Some(models) = self.plan().models() {
            return (models.members.len() as u64).saturating_mul(2 * size_of::<f64>() as u64);
        }
        self.dims(|_| true).saturating_mul(2 * size_of::<f32>() as u64)
    }

    /// The same while each sample has a ranking: packed one by one too, and rounded, or with sketches for
    /// each pool in int8, for three planes as such and for two of them packed; both padded to twice as
    /// much at most. Those that are rotated are packed one by one as well.
    pub fn ranked_sample_bytes(&self) -> u64 {
        let pools = self.pools().len() as u64;
        // Of the eight bytes that a coordinate takes in a sample.
        let (plain, rotated) = (self.plain_bytes(), self.sample_bytes() - self.plain_bytes());
        let in_int8 = match self.spec().mode {
            Mode::Sketch(_) => plain / 8 * 2 * (3 + 2),
            Mode::Exact => 0,
        };
        let packed = plain.saturating_mul(2).saturating_add(in_int8.saturating_mul(pools));
        packed.saturating_add(rotated.saturating_mul(2))
    }
}
