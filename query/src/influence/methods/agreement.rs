//! Agreement of the models of a question, on rows that are spread over its pools.

use gstore_core::Cancel;
use gstore_store::RowSet;

use crate::daunce::{Agreement, AgreementAsk, agreement};
use crate::error::QueryError;
use crate::influence::prepare::Prepared;

/// Rows that are ranked at most: so many are as good as all for a rank correlation, and their losses stay in
/// memory.
const MOST_ROWS: u64 = 4096;

/// Target samples that they are ranked for at most.
const MOST_QUERIES: usize = 256;

impl Prepared {
    /// How alike halves of the models rank the pools' rows for the samples of the target, for several numbers
    /// of models; `top`: rows at the top whose overlap is counted. At most 4096 rows and 256 samples at equal
    /// distances are ranked, those of them that have the losses of all models.
    ///
    /// # Errors
    /// A question that compares vectors, damage, and being told to stop.
    pub fn agreement(&self, top: usize, cancel: &Cancel) -> Result<Agreement, QueryError> {
        let how = self.covariance()?.how;
        let sides = self.loss_sides(cancel)?;
        let candidates = self.candidates(cancel)?;
        let all: u64 = candidates.iter().map(|rows| rows.len()).sum();
        let step = all.div_ceil(MOST_ROWS).max(1);
        let (mut rows, mut without) = (Vec::new(), 0);
        for (losses, candidates) in sides.pools.iter().zip(candidates) {
            cancel.check()?;
            let some = candidates.iter().enumerate().filter(|(i, _)| (*i as u64).is_multiple_of(step));
            let some = RowSet::from_rows_sorted(some.map(|(_, row)| row));
            let block = losses.reader.read_rows(&some)?;
            without += some.len() as usize - block.len();
            (0..block.len()).for_each(|i| rows.extend(losses.of_row(&block, i)));
        }
        let operands = self.loss_operands_by_sample(cancel)?;
        let products = &operands.products;
        let step = products.len().div_ceil(MOST_QUERIES).max(1);
        let queries: Vec<f64> =
            (0..products.len()).step_by(step).flat_map(|q| products.query(q)).copied().collect();
        let models = sides.centring.models();
        let mut found = agreement(&rows, &queries, models, &AgreementAsk::up_to(models.len(), how, top));
        found.rows_left_out += without;
        found.queries_left_out += operands.target.excluded.missing as usize;
        Ok(found)
    }
}
