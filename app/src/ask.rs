//! Questions whose rankings are tables: about samples that are in no dataset, which rows of a pool lower
//! their loss and which raise it; about losses of an ensemble, which covary.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{BooleanArray, RecordBatch};
use gstore_core::{Cancel, Remedy, did_you_mean, nearest};
use gstore_query::daunce::Agreement;
use gstore_query::influence::{
    Encoder, InfluenceSpec, Order, Pair, Prepared, Ranking, Reason, RowFilter, RowMask, Scored,
};
use gstore_store::{Snapshot, TokenCount};

use crate::answer::{
    AnswerError, Pool, ids, open_pools, rank_columns, record, row_columns, tell_notes, text_column,
};
use crate::daunce::errors;
use crate::picture::{Picture, RankedRows, ranked};
use crate::work::JobContext;

/// A question whose rows are ranked from either end.
pub struct RankedQuestion {
    prepared: Prepared,
    pools: Vec<Pool>,
}

/// Everything that is known of one row and its score.
pub struct ExplainedRow {
    /// The dataset of the row.
    pub pool: String,
    /// Where its score comes from.
    pub pair: Pair,
    /// Whether its text is that of a given sample.
    pub in_target: bool,
    /// Its tokens, where the encoding knows them.
    pub tokens: Option<TokenCount>,
    /// Its record, if it was stored with it.
    pub record: Option<Vec<u8>>,
    /// Tokens, scored tokens and record of each given sample.
    pub given: Vec<((u32, u32), String)>,
}

/// Prepares a question; `models` compute the vectors of samples that are given with it at the first answer.
///
/// # Errors
/// Names that the snapshot does not have, features that cannot be compared, losses that are not there or of
/// too few models, and damage.
pub fn ask(
    snapshot: &Arc<Snapshot>,
    spec: &InfluenceSpec,
    models: Option<Arc<dyn Encoder>>,
    work: &mut JobContext<'_>,
) -> Result<RankedQuestion, AnswerError> {
    let prepared = Prepared::with_encoder(snapshot, spec, models)?;
    tell_notes(&prepared, work);
    Ok(RankedQuestion { prepared, pools: open_pools(snapshot, &spec.pools)? })
}

impl RankedQuestion {
    fn is_of_given(&self) -> bool {
        !self.prepared.spec().given.is_empty()
    }

    /// The first `most` rows of an order. Of given samples these are proponents (the best order) or
    /// opponents: where all rows are of one side, the other is empty.
    ///
    /// # Errors
    /// Samples whose vectors cannot be computed, rows that lack losses, damage, and being told to stop.
    pub fn rank(&self, order: Order, most: usize, work: &JobContext<'_>) -> Result<Ranking, AnswerError> {
        let mut ranking = self.prepared.top_k(order, most, None, work.threads, work.cancel)?;
        // A proponent lowers the loss, an opponent raises it.
        let is_one = |row: &Scored| if order == Order::Best { row.score > 0.0 } else { row.score < 0.0 };
        ranking.rows.retain(|row| !self.is_of_given() || is_one(row));
        Ok(ranking)
    }

    /// How alike halves of the models rank whose losses are compared, for several numbers of models: when
    /// there are enough.
    ///
    /// # Errors
    /// A question that is not about losses, damage, and being told to stop.
    pub fn agreement(&self, top: usize, work: &JobContext<'_>) -> Result<Agreement, AnswerError> {
        Ok(self.prepared.agreement(top, work.cancel)?)
    }

    /// `side, rank, score, pool, id, row, text` of ranked rows, without `pool` where there is one; `text`
    /// makes texts of records. Scores of losses have `se, z, models, noise_floor` behind them, rows of a
    /// question about given samples `in_target` before their texts.
    ///
    /// # Errors
    /// Damage, and being told to stop.
    pub fn table(
        &self,
        order: Order,
        rows: &[Scored],
        text: impl Fn(&[u8]) -> String,
        cancel: &Cancel,
    ) -> Result<RecordBatch, AnswerError> {
        let side = match (self.is_of_given(), order == Order::Best) {
            (true, true) => "proponent",
            (true, false) => "opponent",
            (false, true) => "best",
            (false, false) => "worst",
        };
        let texts = text_column(rows, &self.pools, text)?;
        let mut columns = rank_columns(side, rows);
        if self.prepared.plan().models().is_some() {
            columns.extend(errors(&self.prepared, rows, cancel)?);
        }
        columns.extend(row_columns(rows, &self.pools, ids(rows, &self.pools)?));
        if self.is_of_given() {
            columns.push(("in_target", Arc::new(self.in_target(rows, cancel)?)));
        }
        columns.push(texts);
        // Both sides must have one schema, whichever of them has a null.
        let may_lack = |name: &str| matches!(name, "se" | "z" | "noise_floor" | "id" | "text");
        let columns = columns.into_iter().map(|(name, array)| (name, array, may_lack(name)));
        Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
    }

    /// Of each row whether its text is that of a given sample.
    fn in_target(&self, rows: &[Scored], cancel: &Cancel) -> Result<BooleanArray, AnswerError> {
        let mut marks = vec![false; rows.len()];
        for pool in 0..self.pools.len() {
            let own: Vec<usize> = (0..rows.len()).filter(|i| rows[*i].pool as usize == pool).collect();
            let numbers: Vec<u64> = own.iter().map(|i| rows[*i].row).collect();
            let found = self.prepared.in_target(pool, &numbers, cancel)?;
            own.into_iter().zip(found).for_each(|(i, found)| marks[i] = found);
        }
        Ok(BooleanArray::from(marks))
    }

    /// A picture of ranked rows, with what they are called: the distribution of the scores of all rows, and
    /// the shares of the values of a metadata column among these and in the pool, where the pools have it and
    /// can be drawn. None where no row has a score.
    ///
    /// # Errors
    /// Damage, and being told to stop.
    pub fn picture(
        &self,
        (rows, called): (&[Scored], &str),
        by: &str,
        work: &mut JobContext<'_>,
    ) -> Result<Option<Picture>, AnswerError> {
        let of = RankedRows { prepared: &self.prepared, pools: &self.pools, rows, called, in_order: true };
        ranked(&of, by, work)
    }

    /// Where the score of the row with this id comes from.
    ///
    /// # Errors
    /// An id that no row or several have, a row without a score, damage, and being told to stop.
    pub fn explain(&self, id: &str, work: &JobContext<'_>) -> Result<ExplainedRow, AnswerError> {
        let (number, row) = self.find(id, work.cancel)?;
        let pool = &self.pools[number];
        let Some(pair) = self.prepared.pair(number, row, work.threads, work.cancel)? else {
            let why = self.why_none(number, row, work.cancel)?;
            let name = &pool.name;
            return Err(AnswerError::Refused(format!(
                "row {row} of `{name}` (id {id:?}) has no score: {why}"
            )));
        };
        let batch = pool.samples.get(&[row], &["record"])?;
        let given = self.prepared.given_tokens(work.cancel)?;
        let in_target = self.prepared.in_target(number, &[row], work.cancel)?;
        Ok(ExplainedRow {
            pool: pool.name.clone(),
            pair,
            in_target: in_target.first().copied().unwrap_or(false),
            tokens: self.tokens(number, row)?,
            record: record(batch.column(0)).map(<[u8]>::to_vec),
            given: given.into_iter().zip(self.prepared.given_records().iter().cloned()).collect(),
        })
    }

    fn why_none(&self, pool: usize, row: u64, cancel: &Cancel) -> Result<String, AnswerError> {
        let prepared = &self.prepared;
        if prepared.spec().exclude_target && prepared.in_target(pool, &[row], cancel)?.first() == Some(&true)
        {
            return Ok(format!(
                "its text is that of a given sample, and {} leaves such rows out; ask without it",
                Remedy::Option("exclude_target", "")
            ));
        }
        let mut filter = RowFilter::new();
        for other in 0..prepared.pools().len() {
            let mask = if other == pool { RowMask::from_iter([row]) } else { RowMask::new() };
            filter = filter.with(other, mask);
        }
        let mut reason = None;
        prepared.excluded(Some(&filter), 1, cancel, |rows| {
            reason = rows.first().map(|excluded| excluded.reason);
            ControlFlow::Continue(())
        })?;
        let why = match reason {
            Some(Reason::NoScored) => {
                "none of its tokens is scored, for example because its answer is empty or was cut off"
            }
            Some(Reason::NonFinite) => "its vector has values that are not finite",
            Some(Reason::Missing) => "it has no vector at one of the checkpoints, or at none",
            Some(Reason::Overflow) => "its score is beyond the range of numbers",
            Some(Reason::Constant) => "its losses do not vary over the models",
            None => "it is left out",
        };
        Ok(why.to_owned())
    }

    /// The pool and row of an id.
    fn find(&self, id: &str, cancel: &Cancel) -> Result<(usize, u64), AnswerError> {
        let mut found: Vec<(usize, u64)> = Vec::new();
        let mut best: Option<String> = None;
        for (number, pool) in self.pools.iter().enumerate() {
            for batch in pool.samples.scan(&["row", "id"], None) {
                cancel.check()?;
                let batch = batch?;
                let (rows, ids) =
                    (batch.column(0).as_primitive::<UInt64Type>(), batch.column(1).as_string::<i32>());
                for (row, own) in rows.values().iter().zip(ids).filter_map(|(row, own)| Some((row, own?))) {
                    if own == id {
                        found.push((number, *row));
                    }
                }
                if found.is_empty() {
                    let near = nearest(id, best.as_deref().into_iter().chain(ids.iter().flatten()));
                    best = near.map(str::to_owned);
                }
            }
        }
        let names: Vec<String> = self.pools.iter().map(|pool| format!("`{}`", pool.name)).collect();
        let names = names.join(", ");
        Err(AnswerError::Refused(match found.as_slice() {
            [only] => return Ok(*only),
            [] => format!("no row of {names} has the id {id:?}{}", did_you_mean(id, best.as_deref())),
            _ => {
                let pool = Remedy::Option("pool", "");
                format!("several of {names} have a row with the id {id:?}; name one with {pool}")
            }
        }))
    }

    fn tokens(&self, pool: usize, row: u64) -> Result<Option<TokenCount>, AnswerError> {
        let side = &self.prepared.pools()[pool];
        let Some(entry) = side.encoding().and_then(|key| side.dataset.encoding(key)) else { return Ok(None) };
        let counts = self.prepared.snapshot().encoding(entry)?.counts(row..row + 1)?;
        Ok(counts.first().copied())
    }
}
