//! Sources of target vectors: stored, or computed from samples that are given with the question.

use std::sync::Arc;

use gstore_core::Cancel;
use gstore_store::{EncodeFeature, StoredRow};

use super::Prepared;
use super::encoder::{EncodeRequest, GivenSamples, given};
use super::target_rows::{TargetRow, TargetRows, target_rows};
use super::target_source::TargetSource;
use super::target_vectors::{TargetForm, TargetLoader, TargetVectors};
use crate::error::QueryError;
use crate::influence::result::Scored;
use crate::influence::spec::{Across, GIVEN};

/// Of fewer rows than this it says nothing that one target decided them.
const FEW: usize = 10;

impl Prepared {
    /// The samples that are given with the question, computed at the first call.
    fn given(&self, cancel: &Cancel) -> Result<&GivenSamples, QueryError> {
        self.inputs.given.get_or_try_init(|| {
            let pool = self.pools().first().map(|pool| &pool.features[..]).unwrap_or_default();
            let features = self.checkpoints().iter().zip(pool).map(|(checkpoint, pool)| EncodeFeature {
                checkpoint: &checkpoint.name,
                run: self.run(),
                pool,
                kind: self.target_kind(),
            });
            let features: Vec<EncodeFeature<'_>> = features.collect();
            let samples = self.given_records();
            let request = EncodeRequest { snapshot: self.snapshot(), samples, features: &features };
            given(self.inputs.encoder.as_ref(), &request, cancel)
        })
    }

    /// Where the target's vectors are: by checkpoint, then by target.
    pub(crate) fn target_sources(&self, cancel: &Cancel) -> Result<Vec<Vec<TargetSource<'_>>>, QueryError> {
        self.check_vectors()?;
        if !self.spec().given.is_empty() {
            let samples = self.given(cancel)?;
            let pool = self.pools().first().map(|pool| &pool.features[..]).unwrap_or_default();
            let source = |(checkpoint, part): (usize, &Arc<_>)| {
                vec![TargetSource::Given { part: Arc::clone(part), samples, checkpoint }]
            };
            return Ok(pool.iter().enumerate().map(source).collect());
        }
        let mut readers = Vec::new();
        for c in 0..self.checkpoints().len() {
            let mut at = Vec::new();
            for side in self.targets() {
                at.push(TargetSource::Stored(self.snapshot().open_feature_shared(&side.features[c])?));
            }
            readers.push(at);
        }
        Ok(readers)
    }

    /// The vector of one target row as it is stored, or would be.
    pub(crate) fn target_row(
        &self,
        checkpoint: usize,
        row: &TargetRow,
    ) -> Result<Option<StoredRow>, QueryError> {
        if !self.spec().given.is_empty() {
            let given = self.given(&Cancel::new())?;
            return Ok(given.vectors.get(checkpoint).and_then(|all| all.get(row.row as usize)).cloned());
        }
        let feature = self.targets().get(row.target as usize).and_then(|side| side.features.get(checkpoint));
        let Some(feature) = feature else { return Ok(None) };
        Ok(self.snapshot().open_feature_shared(feature)?.row(row.row)?)
    }

    /// Tokens and scored tokens of the samples that are given with the question, in their order.
    pub fn given_tokens(&self, cancel: &Cancel) -> Result<Vec<(u32, u32)>, QueryError> {
        if self.spec().given.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.given(cancel)?.tokens.clone())
    }

    pub(super) fn target_rows(&self) -> Result<TargetRows, QueryError> {
        let found = match self.spec().given.len() {
            0 => target_rows(self)?,
            n => given_rows(n, &self.spec().target_names()),
        };
        Ok(match &self.only {
            Some(only) => found
                .part(&self.spec().target_names(), |row| only.binary_search(&(row.target, row.row)).is_ok()),
            None => found,
        })
    }

    /// The target dataset that decided at least nine in ten of some ranked rows, and how many, where several
    /// targets compete by their largest or smallest value. Values of targets may differ in scale, and then
    /// one of them decides whatever the rows do for the others.
    ///
    /// # Errors
    /// Damage of the targets' samples.
    pub fn decided_by(&self, rows: &[Scored]) -> Result<Option<(&str, u64)>, QueryError> {
        let targets = self.targets();
        let compete = matches!(self.spec().across, Across::Max | Across::Min);
        if targets.len() < 2 || rows.len() < FEW || !compete {
            return Ok(None);
        }
        let found = self.target_rows()?;
        let mut of_subtask = vec![0; found.subtasks.len()];
        found.rows.iter().for_each(|row| of_subtask[row.subtask as usize] = row.target);
        let mut counts = vec![0_u64; targets.len()];
        for target in rows.iter().filter_map(|row| of_subtask.get(row.subtask as usize)) {
            counts[*target as usize] += 1;
        }
        let decided = targets.iter().zip(counts).find(|(_, count)| count * 10 >= rows.len() as u64 * 9);
        Ok(decided.map(|(target, count)| (target.dataset.name.as_str(), count)))
    }

    pub(crate) fn target_loader<'a>(
        &'a self,
        readers: &'a [Vec<TargetSource<'a>>],
        cancel: &'a Cancel,
    ) -> Result<TargetLoader<'a>, QueryError> {
        let inverses = self.inverses(cancel)?;
        let (snapshot, spec, checkpoints) = (self.snapshot(), self.spec(), self.checkpoints());
        Ok(TargetLoader { snapshot, spec, checkpoints, readers, inverses, cancel })
    }

    pub(crate) fn load_targets(
        &self,
        shape: TargetForm,
        cancel: &Cancel,
    ) -> Result<TargetVectors, QueryError> {
        self.check_vectors()?;
        let members = self.target_rows()?;
        let readers = self.target_sources(cancel)?;
        self.target_loader(&readers, cancel)?.load(members, shape)
    }
}

/// Given samples are one target, and one subtask.
fn given_rows(samples: usize, names: &[String]) -> TargetRows {
    let row = |row| TargetRow { target: 0, row, subtask: 0 };
    let subtasks = || vec![GIVEN.to_owned()];
    TargetRows {
        rows: (0..samples as u64).map(row).collect(),
        subtasks: subtasks(),
        asked: subtasks(),
        named: vec![names.join(", ")],
        named_of: vec![0; samples],
    }
}
