//! Diagnosis of losses in a store, cell by cell.

use gstore_core::{Cancel, RowSet};
use gstore_store::{EnsemblePart, LossBlock, LossReader};

use super::diagnosis::{Diagnosing, Diagnosis, DiagnosisAsk};
use crate::error::QueryError;

/// Looks at all losses of a table of an ensemble, and counts live rows without any. Memory: those of one cell of rows.
///
/// # Errors
/// Damage, and being told to stop.
pub fn diagnose_stored(
    ensemble: &EnsemblePart,
    losses: &LossReader,
    cancel: &Cancel,
) -> Result<Diagnosis, QueryError> {
    let table = losses.table();
    let name =
        |place: &usize| ensemble.members.get(*place).map_or_else(|| place.to_string(), |m| m.id.clone());
    let mut looking = Diagnosing::new(DiagnosisAsk {
        models: table.members.iter().map(name).collect(),
        base: table.base,
        compute: table.compute.clone(),
    });
    let mut block = LossBlock::default();
    let mut there = RowSet::new();
    for cell in losses.cells() {
        cancel.check()?;
        losses.read_cell(cell, None, &mut block)?;
        looking.add(&block.rows, &block.values, &block.offset);
        block.rows.iter().for_each(|row| there.insert(*row..*row + 1));
    }
    looking.add_absent(&losses.live().difference(&there));
    Ok(looking.finish())
}
