//! `predicted(dataset, prefilter)`: what a stored prefilter says of each row, computed when it is read.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::stats::Precision;
use datafusion::error::Result as DfResult;
use gstore_functions::canonical;
use gstore_learn::{KIND, LearnError, OpenFeatures, Prediction, Prefilter};
use gstore_store::{RowSet, Snapshot};

use super::args::text;
use super::blocking::Demand;
use super::error::{SqlError, SqlErrorKind};
use super::influence::FunctionCall;
use super::leaf::{BatchConsumer, ReadRequest, RowReader, batch_of};
use super::scan::RowsTable;

/// Options of `predicted()`: its two arguments by name.
pub(crate) const OPTIONS: &[&str] = &["dataset", "prefilter"];

/// Columns before those of the targets.
static COLUMNS: [(&str, DataType, bool); 5] = [
    ("row", DataType::UInt64, false),
    ("id", DataType::Utf8, false),
    ("score", DataType::Float64, true),
    ("target", DataType::Utf8, true),
    ("kept", DataType::Boolean, false),
];

/// The table function `predicted`.
pub(crate) fn table(call: &FunctionCall<'_>) -> DfResult<Arc<dyn TableProvider>> {
    let [dataset, name] = call.args.positional(["dataset", "prefilter"])?;
    let snapshot = &call.source.snapshot;
    let dataset = text("dataset", dataset)?;
    snapshot.dataset(&dataset).map_err(|e| SqlError::lookup(e).about("dataset"))?;
    let prefilter = find(snapshot, &text("prefilter", name)?).map_err(|e| e.about("prefilter"))?;
    // Features that are not there are said when the statement is planned, not when it is read.
    let features = prefilter.open(snapshot, &dataset).map_err(prefilter_error)?;
    Ok(Arc::new(RowsTable(Arc::new(PredictionRows::new(dataset, prefilter, features)))))
}

fn find(snapshot: &Snapshot, name: &str) -> Result<Prefilter, SqlError> {
    let artifact = snapshot.artifact_of_kind(KIND, name).map_err(|error| match error.is_damage() {
        true => SqlError::new(SqlErrorKind::Damaged, error.to_string()),
        false => SqlError::unknown(error.to_string()),
    })?;
    Prefilter::from_value(artifact.content).map_err(prefilter_error)
}

fn prefilter_error(error: LearnError) -> SqlError {
    match error {
        LearnError::Cancelled(_) => SqlError::cancelled(),
        LearnError::Lookup(error) => SqlError::lookup(error),
        LearnError::Read(error) => error.into(),
        error => SqlError::invalid(error.to_string()),
    }
}

/// The predictions for a dataset.
struct PredictionRows {
    dataset: String,
    prefilter: Prefilter,
    features: OpenFeatures,
    schema: SchemaRef,
}

impl PredictionRows {
    fn new(dataset: String, prefilter: Prefilter, features: OpenFeatures) -> Self {
        let fixed = COLUMNS.iter().map(|(name, ty, null)| Field::new(*name, ty.clone(), *null));
        let targets = prefilter.targets.iter();
        let targets = targets.map(|name| Field::new(format!("predicted_{name}"), DataType::Float64, true));
        let schema = Arc::new(Schema::new(fixed.chain(targets).collect::<Vec<Field>>()));
        Self { dataset, prefilter, features, schema }
    }

    fn batch(&self, rows: &[u64], wanted: &[usize]) -> Result<RecordBatch, SqlError> {
        let schema = Arc::new(self.schema.project(wanted)?);
        let found = self.prefilter.predict_rows(&self.features, rows).map_err(prefilter_error)?;
        let columns: Result<Vec<ArrayRef>, SqlError> =
            wanted.iter().map(|column| self.column(*column, rows, &found)).collect();
        Ok(batch_of(schema, columns?, rows.len())?)
    }

    fn column(
        &self,
        column: usize,
        rows: &[u64],
        found: &[Option<Prediction>],
    ) -> Result<ArrayRef, SqlError> {
        let numbers = |value: &dyn Fn(&Prediction) -> Option<f64>| -> ArrayRef {
            let numbers: Float64Array = found.iter().map(|p| p.as_ref().and_then(value)).collect();
            canonical(&(Arc::new(numbers) as ArrayRef))
        };
        let names = &self.prefilter.targets;
        Ok(match COLUMNS.get(column).map(|(name, ..)| *name) {
            Some("row") => Arc::new(UInt64Array::from_iter_values(rows.iter().copied())),
            Some("id") => {
                let ids = self.features.samples().ids(rows)?;
                Arc::new(StringArray::from_iter_values(ids))
            }
            Some("score") => numbers(&|p| Some(p.score)),
            Some("target") => {
                let name =
                    |p: &Option<Prediction>| p.as_ref().and_then(|p| names.get(p.target)).map(String::as_str);
                Arc::new(found.iter().map(name).collect::<StringArray>())
            }
            Some(_) => {
                let kept = |p: &Option<Prediction>| Some(p.as_ref().is_none_or(|p| p.kept));
                Arc::new(found.iter().map(kept).collect::<BooleanArray>())
            }
            None => numbers(&|p| p.values.get(column - COLUMNS.len()).copied()),
        })
    }
}

impl RowReader for PredictionRows {
    fn describe(&self) -> (&'static str, String) {
        ("PredictedExec", format!("dataset={}, learner={}", self.dataset, self.prefilter.learner.name()))
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn count(&self) -> Precision<usize> {
        usize::try_from(self.features.samples().rows().len()).map_or(Precision::Absent, Precision::Exact)
    }

    fn row_column(&self) -> Option<usize> {
        Some(0)
    }

    fn ascends(&self) -> bool {
        true
    }

    fn read(&self, want: &ReadRequest, each: BatchConsumer<'_>) -> Result<(), SqlError> {
        let wanted = self.features.samples().rows().intersection(&RowSet::from_range(want.rows.clone()));
        for rows in wanted.by_cell() {
            want.cancelled.check().map_err(|error| prefilter_error(error.into()))?;
            if each(self.batch(&rows, &want.columns)?)? == Demand::Enough {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::TABLE_FUNCTIONS;

    #[test]
    fn the_columns_are_those_that_completion_offers() {
        let offered = TABLE_FUNCTIONS.into_iter().find(|function| function.name == "predicted").unwrap();
        assert_eq!(offered.columns, COLUMNS.each_ref().map(|(name, ..)| *name));
        assert!(!offered.with_pool);
    }
}
