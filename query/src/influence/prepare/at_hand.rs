//! Given vectors, in the form in which they would read back from a store.

use gstore_store::{DType, RowFlags, Snapshot, StoredRow};

use super::encoder::GivenSamples;
use crate::error::QueryError;
use crate::influence::plan::side::PlanSide;
use crate::influence::plan::vector::AtHandVector;

/// The vector of length 1, or zeros.
fn direction(values: &[f64]) -> Result<Vec<f32>, QueryError> {
    let largest = values.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    if values.iter().any(|x| !x.is_finite()) {
        return Err(QueryError::Spec("the vector is not finite".to_owned()));
    }
    if largest == 0.0 {
        return Ok(vec![0.0; values.len()]);
    }
    // Squares of what is at most 1 neither overflow nor all vanish.
    let length = values.iter().map(|x| (x / largest) * (x / largest)).sum::<f64>().sqrt();
    Ok(values.iter().map(|x| (x / largest / length) as f32).collect())
}

impl GivenSamples {
    /// A vector in the form in which it would read back from the pool's feature.
    pub(super) fn at_hand(
        snapshot: &Snapshot,
        pools: &[PlanSide],
        vector: &AtHandVector,
    ) -> Result<Self, QueryError> {
        let from = match vector {
            AtHandVector::Values(_) => 0,
            AtHandVector::Row { pool, .. } => *pool,
        };
        let part = pools.get(from).and_then(|pool| pool.features.first());
        let part = part.ok_or_else(|| QueryError::Spec(format!("there is no pool {from}")))?;
        let stored = match vector {
            AtHandVector::Values(values) => {
                let dim = part.desc.dim() as usize;
                if values.len() != dim {
                    return Err(QueryError::Spec(format!(
                        "the vector has {} values, and those of {} have {dim}",
                        values.len(),
                        part.display_name()
                    )));
                }
                let stored = StoredRow::of(&direction(values)?, &part.attrs.groups, DType::F32);
                stored.ok_or_else(|| QueryError::Spec("the vector is not finite".to_owned()))?
            }
            AtHandVector::Row { row, .. } => {
                let stored = snapshot.open_feature_shared(part)?.row(*row)?.ok_or_else(|| {
                    QueryError::Spec(format!("row {row} has no vector in {}", part.display_name()))
                })?;
                let without = [
                    (RowFlags::NO_SCORED, "has no scored token"),
                    (RowFlags::NON_FINITE.union(RowFlags::MISSING), "has no finite vector"),
                ];
                if let Some((_, why)) = without.iter().find(|(flags, _)| stored.flags.intersects(*flags)) {
                    return Err(QueryError::Spec(format!("row {row} {why} in {}", part.display_name())));
                }
                if stored.vector.iter().all(|x| *x == 0.0) {
                    return Err(QueryError::Spec(format!(
                        "row {row} has a vector of zeros in {}, which has no direction, so nothing is near it",
                        part.display_name()
                    )));
                }
                stored
            }
        };
        Ok(Self { vectors: vec![vec![stored]], tokens: vec![(0, 0)] })
    }
}
