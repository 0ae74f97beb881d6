//! Outputs of the runs of a ground truth, a file each.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use gstore_core::{Cancel, is_of_cancel};
use gstore_store::vfs::write_whole;
use parquet::arrow::ArrowWriter;
use serde_json::Value;

use super::super::read::{number, same_as_loss};
use super::TruthFolder;
use super::identity::Identity;
use super::recipe::Recipe;
use crate::error::EvaluateError;
use crate::records::{PairSource, each_record, text_of};

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

/// A run that is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRun {
    /// Its number.
    pub run: usize,
    /// What is wrong with the outputs that it has: they cannot be read, or are of something else.
    pub damage: Option<String>,
}

impl TruthFolder {
    /// Keeps what the model of a run says, that was trained as agreed.
    ///
    /// # Errors
    /// Queries that are not all of them, a loss that is not finite, a recipe that was changed meanwhile, a
    /// file that cannot be written.
    pub fn record(&self, run: usize, losses: &[QueryLoss], agreed: &Recipe) -> Result<(), EvaluateError> {
        let recipe = self.still(agreed, run)?;
        let places: HashSet<_> = losses.iter().filter_map(|of| self.queries.place(&of.id)).collect();
        let is_all = losses.len() == self.queries.len() && places.len() == losses.len();
        if let Some(of) = losses.iter().find(|of| !of.loss.is_finite()) {
            return Err(self.bad("outputs", &format!("run {run} has no finite loss for query {:?}", of.id)));
        }
        if !is_all {
            return Err(self.bad("outputs", &format!("run {run} does not have an output for every query")));
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
        writer.append_key_value_metadata(self.identity(run, &recipe).entry());
        writer.close().map_err(|error| failed(&error))?;
        Ok(write_whole(&self.output_file(run), &bytes)?)
    }

    /// Those of some runs that are to be done: without outputs, with damaged ones, or with those of
    /// something else.
    ///
    /// # Errors
    /// A file that the system does not let be read; outputs without the recipe of their models;
    /// being told to stop.
    pub fn undone(&self, runs: Range<usize>, cancel: &Cancel) -> Result<Vec<PendingRun>, EvaluateError> {
        let runs = runs.start..runs.end.min(self.runs());
        // The first run that is done writes the recipe.
        let recipe = match self.remaining(runs.clone()).len() < runs.len() {
            true => self.recipe()?,
            false => Value::Null,
        };
        let mut undone = Vec::new();
        for run in runs {
            let path = self.output_file(run);
            if !path.exists() {
                undone.push(PendingRun { run, damage: None });
                continue;
            }
            // What the system refuses would be refused again after the run is done once more.
            drop(fs_err::read(path)?);
            match self.read_outputs(run, &recipe, cancel) {
                Ok(_) => {}
                Err(error) if is_of_cancel(&error) => return Err(error),
                Err(damage) => undone.push(PendingRun { run, damage: Some(damage.to_string()) }),
            }
        }
        Ok(undone)
    }

    /// The outputs of some runs for all queries; of a file that cannot be used the error says what mends it.
    pub(super) fn outputs_of(&self, runs: &[usize], cancel: &Cancel) -> Result<Vec<Vec<f64>>, EvaluateError> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let recipe = self.recipe()?;
        let (mut outputs, mut said) = (Vec::with_capacity(runs.len()), Vec::with_capacity(runs.len()));
        for run in runs {
            let read = self.read_outputs(*run, &recipe, cancel);
            let (of_run, is_said) = read.map_err(|error| self.unusable(*run, error))?;
            outputs.push(of_run);
            said.push(is_said);
        }
        self.check_unsaid(runs, (&outputs, &said))?;
        Ok(outputs)
    }

    fn unusable(&self, run: usize, error: EvaluateError) -> EvaluateError {
        match error {
            error if is_of_cancel(&error) => error,
            error => EvaluateError::File {
                path: self.output_file(run),
                what: format!(
                    "what run {run} said of the queries cannot be used ({error}): retrain it again, with the command that filled the folder, or remove the file to go without its subset"
                ),
            },
        }
    }

    /// The outputs of a run, and whether the file says that it is of it.
    fn read_outputs(
        &self,
        run: usize,
        recipe: &Value,
        cancel: &Cancel,
    ) -> Result<(Vec<f64>, bool), EvaluateError> {
        let path = self.output_file(run);
        let identity = Identity::of_file(&path)?;
        if let Some(what) = identity.as_ref().and_then(|found| found.unlike(&self.identity(run, recipe))) {
            return Err(EvaluateError::File { path, what });
        }
        let mut outputs = vec![f64::NAN; self.queries.len()];
        each_record(&PairSource::Files(vec![path.clone()]), cancel, &mut |at, value| {
            let id = text_of(value.get("query")).ok_or_else(|| at.error("an output needs its `query`"))?;
            let place = self.queries.place(&id).and_then(|place| outputs.get_mut(place));
            let place = place.ok_or_else(|| at.error("its query is not one of this truth"))?;
            *place = number(&at, "output", value.get("output").unwrap_or(&Value::Null))?;
            same_as_loss(&at, &value, *place)
        })?;
        match outputs.iter().position(|output| output.is_nan()) {
            None => Ok((outputs, identity.is_some())),
            Some(place) => {
                let what = format!("it has no output for query {:?}", self.queries.id(place));
                Err(EvaluateError::File { path, what })
            }
        }
    }
}
