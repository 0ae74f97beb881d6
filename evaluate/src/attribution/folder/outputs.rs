//! Outputs of the runs of a ground truth, a file each.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use gstore_core::Cancel;
use parquet::arrow::ArrowWriter;
use serde_json::Value;

use super::super::read::{number, text_of};
use super::{TruthFolder, place};
use crate::error::EvaluateError;
use crate::pairs::PairSource;
use crate::records::each_record;

/// The loss of a model on a query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryLoss {
    /// The query.
    pub id: String,
    /// Its mean loss.
    pub loss: f64,
    /// Its scored tokens.
    pub tokens: u64,
}

impl TruthFolder {
    /// Keeps what the model of a run says.
    ///
    /// # Errors
    /// Queries that are not all of them, a loss that is not finite, a file that cannot be written.
    pub fn record(&self, run: usize, losses: &[QueryLoss]) -> Result<(), EvaluateError> {
        let is_all = losses.len() == self.queries.len()
            && losses.iter().all(|of| self.queries.place(&of.id).is_some());
        if let Some(of) = losses.iter().find(|of| !of.loss.is_finite()) {
            return Err(self.bad("outputs", &format!("run {run} has no finite loss for query {:?}", of.id)));
        }
        if !is_all {
            return Err(self.bad("outputs", &format!("run {run} does not say something of every query")));
        }
        let column = |value: fn(&QueryLoss) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(losses.iter().map(value)))
        };
        let columns: [(&str, ArrayRef); 4] = [
            ("query", Arc::new(StringArray::from_iter_values(losses.iter().map(|of| &of.id)))),
            ("loss", column(|of| of.loss)),
            ("output", column(|of| -of.loss)),
            ("tokens", Arc::new(UInt64Array::from_iter_values(losses.iter().map(|of| of.tokens)))),
        ];
        let failed =
            |error: &dyn std::fmt::Display| EvaluateError::Io(std::io::Error::other(error.to_string()));
        let batch = RecordBatch::try_from_iter(columns).map_err(|error| failed(&error))?;
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), None).map_err(|error| failed(&error))?;
        writer.write(&batch).map_err(|error| failed(&error))?;
        writer.close().map_err(|error| failed(&error))?;
        place(&self.folder.join("outputs"), &format!("{run:05}.parquet"), &bytes)
    }

    /// The outputs of a run for all queries.
    pub(super) fn outputs_of(&self, run: usize, cancel: &Cancel) -> Result<Vec<f64>, EvaluateError> {
        let path = self.output_file(run);
        let mut outputs = vec![f64::NAN; self.queries.len()];
        each_record(&PairSource::Files(vec![path.clone()]), cancel, &mut |at, value| {
            let id = text_of(value.get("query")).ok_or_else(|| at.error("an output needs its `query`"))?;
            let place = self.queries.place(&id).and_then(|place| outputs.get_mut(place));
            let place = place.ok_or_else(|| at.error("its query is none of this truth"))?;
            *place = number(&at, "output", value.get("output").unwrap_or(&Value::Null))?;
            Ok(())
        })?;
        match outputs.iter().position(|output| output.is_nan()) {
            None => Ok(outputs),
            Some(place) => {
                let what = format!("it has no output for query {:?}", self.queries.id(place));
                Err(EvaluateError::File { path, what })
            }
        }
    }
}
