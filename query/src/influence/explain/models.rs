//! Errors of covariances: standard errors over the models, noise floors, and what each model adds.

use gstore_core::Cancel;
use gstore_store::RowSet;
use serde::Serialize;

use crate::daunce::{Estimate, Pair, Products, estimate, without_model};
use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::target_rows::TargetRow;
use crate::influence::result::Scored;

/// Rows whose losses are held at a time.
const CHUNK: usize = 1024;

/// A score of losses, and how far it can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowEstimate {
    /// The score again, in f64, with its standard error over the models and its noise floor.
    pub estimate: Estimate,
    /// Where that was asked for, what stands behind it.
    pub behind: Option<BehindEstimate>,
}

/// What stands behind a score of losses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BehindEstimate {
    /// For each model of the plan by how much the score falls without it; `None` where it is not used.
    pub of_models: Vec<Option<f64>>,
    /// The target sample with the highest score of its own; the first of equals by subtask, target and row.
    pub nearest: TargetRow,
    /// That score.
    pub nearest_score: f64,
}

impl Prepared {
    /// How far the scores of some rows can be trusted, in their order; `behind`: also where they come from.
    ///
    /// Reads the losses of these rows. Cost: rows x queries x models.
    ///
    /// # Errors
    /// A question that compares vectors, damage, and rows that are no answer to this question.
    pub fn estimates(
        &self,
        rows: &[Scored],
        behind: bool,
        cancel: &Cancel,
    ) -> Result<Vec<RowEstimate>, QueryError> {
        let mut found = Vec::with_capacity(rows.len());
        for chunk in rows.chunks(CHUNK) {
            cancel.check()?;
            let losses = self.losses_of(chunk, cancel)?;
            for row in &losses {
                found.push(self.estimate_of(row, behind, cancel)?);
            }
        }
        Ok(found)
    }

    fn losses_of(&self, rows: &[Scored], cancel: &Cancel) -> Result<Vec<Vec<f64>>, QueryError> {
        let sides = self.loss_sides(cancel)?;
        let mut found = vec![Vec::new(); rows.len()];
        for (pool, losses) in sides.pools.iter().enumerate() {
            let own = |scored: &&Scored| scored.pool as usize == pool;
            let wanted = RowSet::from_rows(rows.iter().filter(own).map(|scored| scored.row));
            if wanted.is_empty() {
                continue;
            }
            let block = losses.reader.read_rows(&wanted)?;
            for (scored, found) in rows.iter().zip(&mut found).filter(|(scored, _)| own(scored)) {
                let at = block.rows.binary_search(&scored.row);
                let at = at.map_err(|_| QueryError::Spec(format!("row {} has no losses", scored.row)))?;
                *found = losses.of_row(&block, at).collect();
            }
        }
        match found.iter().any(Vec::is_empty) {
            true => Err(QueryError::Spec("a row belongs to no pool of the question".into())),
            false => Ok(found),
        }
    }

    fn estimate_of(&self, row: &[f64], behind: bool, cancel: &Cancel) -> Result<RowEstimate, QueryError> {
        let operands = self.loss_operands(cancel)?;
        let score = operands.products.centring().how().score;
        let pairs = pairs(&operands.products, row);
        let terms = &operands.target.terms;
        let estimate = estimate(&pairs, score, |values| terms.in_full(values));
        if !behind {
            return Ok(RowEstimate { estimate, behind: None });
        }
        let without = without_model(&pairs, score, |values| terms.in_full(values).0);
        let models = row.len();
        let of_models =
            (0..models).map(|k| Some(estimate.score? - without.get(k).copied().flatten()?)).collect();
        let single = self.loss_operands_by_sample(cancel)?;
        let of_samples = self::pairs(&single.products, row);
        let scores = of_samples.iter().enumerate().filter_map(|(q, pair)| Some((q, pair.score(score)?)));
        let best = scores.fold(None, |best: Option<(usize, f64)>, (q, value)| match best {
            Some((_, known)) if known >= value => best,
            _ => Some((q, value)),
        });
        let (at, nearest_score) = best.unwrap_or((0, f64::NAN));
        let Some(nearest) = single.target.rows.get(at).copied() else {
            return Err(QueryError::Spec("the target has no row".into()));
        };
        Ok(RowEstimate { estimate, behind: Some(BehindEstimate { of_models, nearest, nearest_score }) })
    }
}

fn pairs(products: &Products, row: &[f64]) -> Vec<Pair> {
    (0..products.len()).map(|q| Pair::new(products.centring(), row, products.query(q))).collect()
}
