//! Rankings by covariances of losses as tables, with the errors of their scores.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, UInt32Array};
use gstore_core::Cancel;
use gstore_query::daunce::Agreement;
use gstore_query::influence::{InfluenceSpec, Order, Prepared, Ranking, RowEstimate, Scored};
use gstore_store::Snapshot;

use crate::answer::{AnswerError, Pool, ids, open_pools, rank_columns, row_columns, tell_notes, text_column};
use crate::work::JobContext;

/// A question about losses, ready to be answered.
pub struct LossRankings {
    prepared: Prepared,
    pools: Vec<Pool>,
}

/// Prepares a question about losses.
///
/// # Errors
/// Names that the snapshot does not have, losses that are not there or of too few models, and damage.
pub fn rank_losses(
    snapshot: &Arc<Snapshot>,
    spec: &InfluenceSpec,
    work: &mut JobContext<'_>,
) -> Result<LossRankings, AnswerError> {
    let prepared = Prepared::new(snapshot, spec)?;
    tell_notes(&prepared, work);
    Ok(LossRankings { prepared, pools: open_pools(snapshot, &spec.pools)? })
}

impl LossRankings {
    /// The first `most` rows of an order.
    ///
    /// # Errors
    /// Rows that lack losses, damage, and being told to stop.
    pub fn rank(&self, order: Order, most: usize, work: &JobContext<'_>) -> Result<Ranking, AnswerError> {
        Ok(self.prepared.top_k(order, most, None, work.threads, work.cancel)?)
    }

    /// How alike halves of the models rank, for several numbers of models: when there are enough.
    ///
    /// # Errors
    /// Damage, and being told to stop.
    pub fn agreement(&self, top: usize, work: &JobContext<'_>) -> Result<Agreement, AnswerError> {
        Ok(self.prepared.agreement(top, work.cancel)?)
    }

    /// `side, rank, score, se, z, models, noise_floor, pool, id, row, text` of ranked rows, without `pool`
    /// where there is one; `text` makes texts of records.
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
        let side = if order == Order::Best { "best" } else { "worst" };
        let texts = text_column(rows, &self.pools, text)?;
        let mut columns = rank_columns(side, rows);
        columns.extend(errors(&self.prepared, rows, cancel)?);
        columns.extend(row_columns(rows, &self.pools, ids(rows, &self.pools)?));
        columns.push(texts);
        let may_lack = |name: &str| matches!(name, "se" | "z" | "noise_floor" | "id" | "text");
        let columns = columns.into_iter().map(|(name, array)| (name, array, may_lack(name)));
        Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
    }
}

/// The columns `se, z, models, noise_floor` of some rows.
pub(crate) fn errors(
    prepared: &Prepared,
    rows: &[Scored],
    cancel: &Cancel,
) -> Result<Vec<(&'static str, ArrayRef)>, AnswerError> {
    let found = prepared.estimates(rows, false, cancel)?;
    let floats = |of: fn(&RowEstimate) -> Option<f64>| -> ArrayRef {
        Arc::new(found.iter().map(of).collect::<Float64Array>())
    };
    let models = |row: &RowEstimate| u32::try_from(row.estimate.models).unwrap_or(u32::MAX);
    Ok(vec![
        ("se", floats(|row| row.estimate.se)),
        ("z", floats(|row| row.estimate.z())),
        ("models", Arc::new(UInt32Array::from_iter_values(found.iter().map(models)))),
        ("noise_floor", floats(|row| row.estimate.noise_floor)),
    ])
}

#[cfg(test)]
mod tests {
    use gstore_query::QueryError;
    use gstore_query::daunce::Covariance;
    use gstore_query::influence::TargetRef;
    use gstore_store::{AppendOptions, DatasetName, NewSample, Store};

    use super::*;
    use crate::daunce::{ImportRequest, import};

    #[test]
    fn a_table_of_rows_can_be_stopped() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::create(place.path().join("store")).unwrap();
        let mut tables = Vec::new();
        for dataset in ["pool", "val"] {
            let name = DatasetName::try_from(dataset).unwrap();
            let mut append = store.append(&name, vec![], AppendOptions::default()).unwrap();
            for id in ["a", "b"] {
                let record = format!("{{\"text\": \"{id} of {dataset}\"}}");
                append.push(NewSample { id, record: Some(record.as_bytes()), metadata: vec![] }).unwrap();
            }
            append.finish().unwrap();
            let losses = place.path().join(format!("{dataset}.csv"));
            fs_err::write(&losses, "id,m0,m1,m2,m3\na,1,2,3,5\nb,2,1,4,3\n").unwrap();
            tables.push((dataset.to_owned(), losses));
        }
        let (ensemble, base) = (Some("e".to_owned()), Some("theta".to_owned()));
        let request = ImportRequest { ensemble, base, tables, ..ImportRequest::default() };
        let mut work = JobContext::silent("test");
        import(&store, &request, &mut work).unwrap();
        let spec = InfluenceSpec {
            pools: vec!["pool".to_owned()],
            targets: vec![TargetRef { dataset: "val".to_owned(), subtask: None }],
            covariance: Some(Covariance::default()),
            ..InfluenceSpec::default()
        };
        let rankings = rank_losses(&store.snapshot().unwrap(), &spec, &mut work).unwrap();
        let rows = rankings.rank(Order::Best, 2, &work).unwrap().rows;
        let table = |cancel: &Cancel| rankings.table(Order::Best, &rows, |_| String::new(), cancel);
        assert_eq!(table(&Cancel::new()).unwrap().num_rows(), 2);
        let stopped = table(&Cancel::raised()).unwrap_err();
        assert!(matches!(stopped, AnswerError::Query(QueryError::Cancelled(_))), "{stopped}");
    }
}
