//! Questions about one vector: what is nearest to it. The vector is given as text, as numbers, or is that of a stored row.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use gstore_store::{DType, FeatureReader, RowFlags, RowSet, Snapshot, StoredRow};
use half::f16;

use crate::ann::{NoDirection, unit};
use crate::error::QueryError;
use crate::influence::plan::InfluencePlan;
use crate::influence::prepare::Ready;
use crate::influence::prepare::encoder::{EncodeRequest, EncodedSamples, Encoder, EncoderError, Given};
use crate::influence::prepare::target_vectors::Shape;
use crate::influence::spec::InfluenceSpec;

/// What a search for neighbours needs of a plan.
pub(crate) struct Neighbours {
    ready: Arc<Ready>,
    /// The question's vector, of length 1; `None` if it is zero, so that it has no direction.
    pub(crate) query: Option<Vec<f16>>,
}

impl Neighbours {
    /// The vectors of each pool, with the rows that may be found.
    pub(crate) fn pools(&self) -> impl Iterator<Item = (&FeatureReader, &RowSet)> {
        self.ready.pools.iter().filter_map(|pool| Some((pool.readers.first()?, &*pool.live)))
    }
}

/// Computes nothing: the vector is at hand.
#[derive(Debug)]
struct AtHand;

impl Encoder for AtHand {
    fn encode(&self, _: &EncodeRequest<'_>, _: &AtomicBool) -> Result<EncodedSamples, EncoderError> {
        Err(EncoderError::Failed("the question has a vector, and no text".into()))
    }
}

/// A vector that is at hand.
#[derive(Clone, Copy)]
pub enum AtHandVector<'a> {
    /// Values of any length: they are divided by it before anything is rounded.
    Values(&'a [f64]),
    /// That of a row of a pool, which is left out of the answer.
    Row {
        /// Index into the pools.
        pool: usize,
        /// Row of that dataset.
        row: u64,
    },
}

impl fmt::Debug for AtHandVector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Values(values) => write!(f, "{} values", values.len()),
            Self::Row { pool, row } => write!(f, "row {row} of pool {pool}"),
        }
    }
}

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

impl InfluencePlan {
    /// A question about a vector that is at hand; `spec` has neither targets nor given samples.
    ///
    /// # Errors
    /// Those of [`InfluencePlan::new`]; a vector of another length than the pools', or that is not finite; a row without a vector that could be
    /// compared.
    pub fn about_vector(
        snapshot: &Arc<Snapshot>,
        spec: &InfluenceSpec,
        vector: AtHandVector<'_>,
    ) -> Result<Self, QueryError> {
        // What stands for the sample is never read: its vector is.
        let spec = InfluenceSpec { given: vec!["{}".to_owned()], ..spec.clone() };
        let mut plan = Self::with_encoder(snapshot, &spec, Some(Arc::new(AtHand)))?;
        plan.is_about_neighbours()?;
        let from = match vector {
            AtHandVector::Values(_) => 0,
            AtHandVector::Row { pool, .. } => pool,
        };
        let part = plan.pools().get(from).and_then(|pool| pool.features.first()).cloned();
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
            AtHandVector::Row { pool, row } => {
                plan.left_out = Some((pool, row));
                let stored = snapshot.open_feature_shared(&part)?.row(row)?.ok_or_else(|| {
                    QueryError::Spec(format!("row {row} has no vector in {}", part.display_name()))
                })?;
                let without = [
                    (RowFlags::NO_SCORED, "has no scored token"),
                    (RowFlags::NON_FINITE.union(RowFlags::MISSING), "has no finite vector"),
                ];
                if let Some((_, why)) = without.iter().find(|(flags, _)| stored.flags.intersects(*flags)) {
                    return Err(QueryError::Spec(format!("row {row} {why} in {}", part.display_name())));
                }
                stored
            }
        };
        let given = Given { vectors: vec![vec![stored]], tokens: vec![(0, 0)] };
        *plan.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(given));
        Ok(plan)
    }

    /// What a search for neighbours needs.
    pub(crate) fn neighbours(&self, cancel: &AtomicBool) -> Result<Neighbours, QueryError> {
        self.is_about_neighbours()?;
        let target = self.load_targets(Shape::Pairs, cancel)?;
        let [vector] = target.vectors.as_slice() else {
            return Err(QueryError::Spec("neighbours are looked for at one checkpoint".to_owned()));
        };
        if target.rows.len() != 1 {
            return Err(QueryError::Spec(format!(
                "neighbours are those of one vector; the question has {}",
                target.rows.len()
            )));
        }
        let query = match unit(vector) {
            Ok(unit) => Some(unit.collect()),
            Err(NoDirection::Zero) => None,
            Err(NoDirection::NotFinite) => {
                return Err(QueryError::Spec("the question's vector is not finite".to_owned()));
            }
        };
        Ok(Neighbours { ready: self.ready(cancel)?, query })
    }
}
