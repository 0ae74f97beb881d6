//! Diagnosis of the losses of an ensemble.

use gstore_core::Cancel;
use gstore_query::QueryError;
use gstore_query::daunce::{Diagnosis, diagnose_stored};
use gstore_store::{LossWanted, Snapshot};

use crate::answer::AnswerError;

/// Looks at the losses of each dataset under the models of an ensemble, in the order of their names;
/// `datasets`: these alone. After losses were recorded or imported it tells what is wrong with them.
///
/// # Errors
/// Names that the snapshot does not have, losses that are not there, damage, and being told to stop.
pub fn diagnose(
    snapshot: &Snapshot,
    ensemble: &str,
    datasets: &[String],
    cancel: &Cancel,
) -> Result<Vec<(String, Diagnosis)>, AnswerError> {
    let ensemble = snapshot.ensemble(ensemble)?;
    let tables = snapshot.loss_tables(ensemble);
    if let Some(none) = datasets.iter().find(|name| !tables.iter().any(|table| table.dataset == **name)) {
        // Says which there are.
        snapshot.open_losses(ensemble, &LossWanted::of(none)).map_err(QueryError::from)?;
    }
    let mut found = Vec::new();
    for table in tables.iter().filter(|table| datasets.is_empty() || datasets.contains(&table.dataset)) {
        let wanted = LossWanted {
            dataset: &table.dataset,
            encoding: Some(&table.encoding),
            signal: Some(&table.signal),
        };
        let losses = snapshot.open_losses(ensemble, &wanted).map_err(QueryError::from)?;
        let several = tables.iter().filter(|other| other.dataset == table.dataset).count() > 1;
        let name = match several {
            true => format!("{} ({})", table.dataset, table.signal),
            false => table.dataset.clone(),
        };
        found.push((name, diagnose_stored(ensemble, &losses, cancel)?));
    }
    Ok(found)
}
