//! Columns of the errors of scores that are covariances of losses.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, UInt32Array};
use gstore_core::Cancel;
use gstore_query::influence::{Prepared, RowEstimate, Scored};

use crate::answer::AnswerError;

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
    use gstore_query::influence::{InfluenceSpec, Order, TargetRef};
    use gstore_store::{AppendOptions, DatasetName, NewSample, Store};

    use super::*;
    use crate::ask::ask;
    use crate::daunce::{ImportRequest, import};
    use crate::work::JobContext;

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
        let rankings = ask(&store.snapshot().unwrap(), &spec, None, &mut work).unwrap();
        let rows = rankings.rank(Order::Best, 2, &work).unwrap().rows;
        let table = |cancel: &Cancel| rankings.table(Order::Best, &rows, |_| String::new(), cancel);
        assert_eq!(table(&Cancel::new()).unwrap().num_rows(), 2);
        let stopped = table(&Cancel::raised()).unwrap_err();
        assert!(matches!(stopped, AnswerError::Query(QueryError::Cancelled(_))), "{stopped}");
    }
}
