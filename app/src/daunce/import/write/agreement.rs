//! Comparison of the tables that an import has of one dataset, before any is stored: a contradiction that is
//! found when the second is written comes too late for the first.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::path::Path;

use gstore_store::{EnsemblePart, Snapshot};

use super::ImportedTable;
use crate::daunce::DaunceError;
use crate::daunce::import::source::LossSource;
use crate::daunce::import::window::CellLosses;
use crate::work::JobContext;

/// Compares the tables of each dataset with each other, in the order in which they are written.
///
/// # Errors
/// Two losses for one cell, unless those of the store are replaced too; losses of theta_0 that differ, or
/// come behind a table without any.
pub(in crate::daunce::import) fn compare_tables(
    snapshot: &Snapshot,
    ensemble: &EnsemblePart,
    sources: &[LossSource],
    replace: bool,
    work: &mut JobContext<'_>,
) -> Result<(), DaunceError> {
    let datasets: BTreeSet<&str> = sources.iter().map(|source| source.dataset.as_str()).collect();
    for dataset in datasets {
        let tables: Vec<&LossSource> = sources.iter().filter(|source| source.dataset == dataset).collect();
        let mut offsets = HashMap::new();
        for (at, source) in tables.iter().enumerate().filter(|_| tables.len() > 1) {
            let table = ImportedTable::open(snapshot, ensemble, source, replace)?;
            table.compare_with(tables.get(..at).unwrap_or_default(), &mut offsets, work)?;
        }
    }
    Ok(())
}

impl ImportedTable<'_> {
    /// `offsets`: what theta_0 says of the rows of the tables before; NaN where it says nothing.
    fn compare_with(
        &self,
        before: &[&LossSource],
        offsets: &mut HashMap<u64, f32>,
        work: &mut JobContext<'_>,
    ) -> Result<(), DaunceError> {
        if let Some(first) = before.first()
            && self.offset.is_none()
            && self.source.has_base()
            && !first.has_base()
        {
            let detail = format!(
                "{} has losses of this dataset but none of theta_0: the first file of a dataset must have them",
                first.path.display()
            );
            return Err(DaunceError::file(self.source.base_path(), detail));
        }
        let compared = before.iter().filter(|_| !self.replace);
        let compared: Vec<_> = compared.map(|table| (*table, self.models_in(table))).collect();
        let mut window = CellLosses::default();
        for rows in &self.cells {
            work.cancel.check()?;
            self.window(rows, &mut window)?;
            self.compare_base(&window, offsets)?;
            for (table, models) in compared.iter().filter(|(_, models)| !models.is_empty()) {
                self.compare_losses(&window, table, models)?;
            }
        }
        Ok(())
    }

    /// Columns of the models that another table has as well, here and there.
    fn models_in(&self, table: &LossSource) -> Vec<(usize, usize)> {
        let place = |model: &String| table.models.iter().position(|other| other == model);
        let models = self.source.models.iter().enumerate();
        models.filter_map(|(column, model)| Some((column, place(model)?))).collect()
    }

    fn compare_base(&self, window: &CellLosses, offsets: &mut HashMap<u64, f32>) -> Result<(), DaunceError> {
        for (at, (row, place)) in window.rows.iter().enumerate() {
            // With an offset of the store both were compared.
            if self.offset.as_ref().is_some_and(|(_, rows)| rows.contains(*row)) {
                continue;
            }
            let base = window.base.get(at).copied().filter(|base| base.is_finite());
            let first = *offsets.entry(*row).or_insert(base.map_or(f32::NAN, |base| base as f32));
            if let Some(base) = base.filter(|base| *base as f32 != first) {
                let first: &dyn Display = if first.is_nan() { &"none" } else { &first };
                return Err(self.contradiction(self.source.base_path(), *place, "theta_0", base, first));
            }
        }
        Ok(())
    }

    fn compare_losses(
        &self,
        window: &CellLosses,
        table: &LossSource,
        models: &[(usize, usize)],
    ) -> Result<(), DaunceError> {
        let place_there = |place: usize| {
            let id = self.source.rows.ids.get(place)?;
            table.rows.places.get(id).copied()
        };
        let both = window.rows.iter().enumerate();
        let both = both.filter_map(|(at, (_, place))| Some((at, place_there(*place)?)));
        let (here, there): (Vec<usize>, Vec<usize>) = both.unzip();
        if there.is_empty() {
            return Ok(());
        }
        let mut losses = Vec::new();
        table.cells(&there, &mut losses)?;
        for (at, first) in here.iter().zip(losses.chunks(table.models.len().max(1))) {
            for (column, other) in models {
                let given = window.loss(*at, *column, self.source.models.len());
                let first = first.get(*other).copied().unwrap_or(f64::NAN);
                // As exact as they are stored at most: one file may have them in single precision.
                if !given.is_nan() && !first.is_nan() && given as f32 != first as f32 {
                    let place = window.rows.get(*at).map_or(0, |(_, place)| *place);
                    let model = self.source.models.get(*column).map_or("", String::as_str);
                    return Err(self.contradiction(&self.source.path, place, model, given, &first));
                }
            }
        }
        Ok(())
    }

    fn contradiction(
        &self,
        path: &Path,
        place: usize,
        model: &str,
        given: f64,
        first: &dyn Display,
    ) -> DaunceError {
        let id = self.id_of(place);
        DaunceError::file(
            path,
            format!("the loss of {id:?} under {model:?} is {given}, but {first} in an earlier file"),
        )
    }
}
