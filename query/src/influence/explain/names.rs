//! Names of the target samples that explanations point to.

use gstore_store::SampleReader;

use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::target_rows::TargetRow;
use crate::influence::spec::GIVEN;

/// The samples of a question's targets, by which their rows are named.
pub struct TargetNames<'a> {
    /// Dataset and samples of each target; none where the samples are given with the question.
    targets: Vec<(&'a str, SampleReader)>,
}

impl<'a> TargetNames<'a> {
    /// Of a question.
    ///
    /// # Errors
    /// What opening sample files gives.
    pub fn new(prepared: &'a Prepared) -> Result<Self, QueryError> {
        let open = |side: &'a crate::influence::PlanSide| -> Result<_, QueryError> {
            Ok((side.dataset.name.as_str(), prepared.snapshot().samples(&side.dataset)?))
        };
        Ok(Self { targets: prepared.targets().iter().map(open).collect::<Result<_, _>>()? })
    }

    /// The dataset of a target sample; [`GIVEN`] for samples that are given with the question.
    pub fn dataset_of(&self, row: &TargetRow) -> &'a str {
        self.targets.get(row.target as usize).map_or(GIVEN, |(name, _)| name)
    }

    /// The ids of target samples, in the order of `rows`. Samples that are given with the question are known
    /// by their number, from 1 as everywhere.
    ///
    /// # Errors
    /// Damage of the sample files.
    pub fn ids_of(&self, rows: &[TargetRow]) -> Result<Vec<Option<String>>, QueryError> {
        if self.targets.is_empty() {
            return Ok(rows.iter().map(|row| Some((row.row + 1).to_string())).collect());
        }
        let mut ids = vec![None; rows.len()];
        for (t, (_, samples)) in self.targets.iter().enumerate() {
            let named = rows.iter().enumerate().filter(|(_, row)| row.target as usize == t);
            let (places, numbers): (Vec<usize>, Vec<u64>) = named.map(|(i, row)| (i, row.row)).unzip();
            for (place, id) in places.into_iter().zip(samples.ids(&numbers)?) {
                ids[place] = Some(id);
            }
        }
        Ok(ids)
    }
}
