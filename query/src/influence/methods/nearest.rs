//! Neighbours of a vector: the question's vector of length 1, and the vectors compared with it.

use gstore_core::Cancel;
use gstore_store::{FeatureReader, RowSet};
use half::f16;

use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::operands::Operands;
use crate::influence::prepare::target_vectors::TargetForm;
use crate::values::{NoDirection, unit};

/// What a search for neighbours needs of a question.
pub(crate) struct Neighbours<'a> {
    operands: &'a Operands,
    /// The question's vector, of length 1; `None` if it has no direction.
    pub(crate) query: Option<Vec<f16>>,
}

impl<'a> Neighbours<'a> {
    /// The vectors of each pool, with the rows that may be found.
    pub(crate) fn pools(&self) -> impl Iterator<Item = (&'a FeatureReader, &'a RowSet)> + use<'a> {
        self.operands.pools.iter().filter_map(|pool| Some((pool.readers.first()?, &*pool.live)))
    }
}

impl Prepared {
    pub(crate) fn neighbours(&self, cancel: &Cancel) -> Result<Neighbours<'_>, QueryError> {
        self.plan().check_nearest()?;
        let target = self.load_targets(TargetForm::Pairs, cancel)?;
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
        Ok(Neighbours { operands: self.operands(cancel)?, query })
    }
}
