//! Records of a table of losses, one after the other, as the losses of cells.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use gstore_core::{Remedy, Unit, first_of, many_of};
use gstore_data::{DataFile, FieldNames, Place, RawRecord, RecordSource, parse_object};
use serde_json::{Map, Value};

use super::RecordModels;
use crate::daunce::DaunceError;
use crate::daunce::import::cells::{CellWriter, DuplicateCell};
use crate::daunce::import::manifest::Signal;
use crate::daunce::import::matrix::LossMatrix;
use crate::daunce::import::rows::SampleRows;
use crate::work::JobContext;

/// Columns that are never losses.
const BESIDE: [&str; 3] = ["id", "model", "n_tokens"];
/// Records after which progress is reported.
pub(super) const STEP: u64 = 4096;
/// How the records of a file are read.
pub(super) struct RecordReader<'a> {
    pub(super) path: &'a Path,
    /// Folder of the temporary file of its losses.
    pub(super) scratch: &'a Path,
    pub(super) signal: Signal,
    pub(super) models: RecordModels<'a>,
    /// Ids of the models that are known.
    pub(super) known: HashSet<&'a str>,
    /// Key of the losses in records of cells, once all records were seen.
    pub(super) key: Option<&'static str>,
    /// Of each key of losses the first record that names no model and has a null under it.
    pub(super) nulls: [OnceCell<Place>; 2],
}
pub(super) struct RecordCell<'a> {
    pub(super) id: String,
    pub(super) model: String,
    /// Key of its record that has the loss, and whether the record has the key.
    pub(super) column: &'a str,
    pub(super) is_told: bool,
    /// NaN where the record says that there is none.
    pub(super) value: f64,
}
/// What reading all records gives.
pub(super) struct ReadRecords {
    pub(super) count: u64,
    pub(super) source: Box<dyn RecordSource>,
    /// The columns that were left out, where no models are known.
    pub(super) left_out: BTreeSet<String>,
}
impl RecordReader<'_> {
    pub(super) fn wrong(&self, detail: impl Into<String>) -> DaunceError {
        DaunceError::file(self.path, detail)
    }

    fn at(&self, place: &Place, detail: &str) -> DaunceError {
        self.wrong(format!("{place}: {detail}"))
    }

    fn twice(&self, place: Option<&Place>, cell: DuplicateCell, of: (&SampleRows, &[String])) -> DaunceError {
        let found = place.map_or_else(String::new, |place| format!(", found up to {place}"));
        let way = match self.models {
            RecordModels::Named(_) => format!("; {} takes the later one", Remedy::Option("replace", "")),
            // What losses are relative to is never replaced.
            RecordModels::One(_) => String::new(),
        };
        self.wrong(format!("{}{found}{way}", duplicate_message(cell, of)))
    }

    /// Columns that losses stand in, of a table with one for each model.
    pub(super) fn columns_of_losses(&self, source: &dyn RecordSource) -> Vec<String> {
        let mut columns = source.columns();
        let unnamed = source.unnamed();
        columns.retain(|column| !self.is_beside(column) && !is_index(column) && !unnamed.contains(column));
        columns
    }

    /// Whether no model of a table with a column for each has this name.
    fn is_beside(&self, column: &str) -> bool {
        BESIDE.iter().chain(&self.keys()).any(|key| *key == column)
    }

    /// Reads the losses of all `records` to their places.
    pub(super) fn matrix(
        &self,
        (rows, models): (&SampleRows, &[String]),
        (records, replace): (u64, bool),
        work: &mut JobContext<'_>,
    ) -> Result<LossMatrix, DaunceError> {
        let places = SampleRows::of(models.to_vec()).places;
        let sizes = (rows.ids.len(), models.len());
        let mut cells = CellWriter::new(self.scratch, self.path, sizes, replace)?;
        let mut place_of = |place: &Place, cell: RecordCell<'_>| {
            let example = rows.places.get(&cell.id);
            let model = places.get(&cell.model);
            let (Some(example), Some(model)) = (example, model) else {
                return Err(self.wrong("it changed while it was read"));
            };
            let key = (*example * models.len() + *model) as u64;
            match cells.push(key, cell.value)? {
                None => Ok(()),
                Some(twice) => Err(self.twice(Some(place), twice, (rows, models))),
            }
        };
        self.each(("reading losses", records), &mut place_of, work)?;
        if let Some(twice) = cells.flush()? {
            return Err(self.twice(None, twice, (rows, models)));
        }
        if cells.replaced > 0 {
            let losses = many_of(cells.replaced, "loss is", "losses are");
            let note = format!("{losses} given again with another value; the later one counts");
            work.progress.note(&format!("{}: {note}", self.path.display()));
        }
        Ok(LossMatrix::of_own(cells.file, self.path, rows.ids.len(), models.len()))
    }

    /// Reads all records, of which there are `total` (0: unknown).
    pub(super) fn each(
        &self,
        (stage, total): (&str, u64),
        take: &mut dyn FnMut(&Place, RecordCell<'_>) -> Result<(), DaunceError>,
        work: &mut JobContext<'_>,
    ) -> Result<ReadRecords, DaunceError> {
        let file = DataFile::detect(self.path)?;
        let mut source = file.open(&FieldNames::default())?;
        // The same losses as an array have to be the same numbers.
        source.give_exact_floats();
        let (mut count, mut columns) = (0, Vec::new());
        let (unnamed, mut left_out) = (source.unnamed(), BTreeSet::new());
        work.progress.start(stage, total, Unit::Rows);
        while let Some(record) = source.next_record() {
            let RawRecord { place, json } = record?;
            if json.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let mut record = parse_object(json).map_err(|error| self.at(&place, &error.to_string()))?;
            if columns.is_empty() {
                columns = source.columns();
            }
            // Samples that lack a loss of theta_0 may have a NaN.
            if record.len() < columns.len() && matches!(self.models, RecordModels::Named(_)) {
                add_nans(&mut record, &columns, &source.nulls());
            }
            if self.known.is_empty() {
                let is_left = |key: &String| is_index(key) || unnamed.contains(key);
                left_out.extend(record.keys().filter(|key| is_left(key)).cloned());
                record.retain(|key, _| !is_left(key));
            }
            self.cells(&place, (&record, &columns), take)?;
            count += 1;
            if count % STEP == 0 {
                work.cancel.check()?;
                work.progress.advance(STEP);
            }
        }
        work.progress.advance(count % STEP);
        work.progress.finish();
        Ok(ReadRecords { count, source, left_out })
    }

    fn cells(
        &self,
        place: &Place,
        (record, columns): (&Map<String, Value>, &[String]),
        take: &mut dyn FnMut(&Place, RecordCell<'_>) -> Result<(), DaunceError>,
    ) -> Result<(), DaunceError> {
        let text = |key: &str| -> Option<String> {
            match record.get(key)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            }
        };
        let id = text("id").ok_or_else(|| self.at(place, "a record needs an `id`"))?;
        let named = text("model");
        let found = self.keys().into_iter().find(|key| is_told(key, (record, columns)));
        let model = match (named, self.models) {
            (Some(named), _) => Some(named),
            (None, RecordModels::One(model)) => found.map(|_| model.to_owned()),
            (None, RecordModels::Named(known)) => {
                self.check_unnamed(place, (record, columns), known)?;
                None
            }
        };
        if let Some(model) = model {
            let column = self.key.or(found);
            let (column, is_told) = (column.unwrap_or("loss"), column.is_some());
            let value = match self.tokens(place, record)? {
                // Whatever stands for it: a mean over no tokens is NaN.
                Some(0.0) => f64::NAN,
                _ => self.value(place, column, record.get(column).unwrap_or(&Value::Null))?,
            };
            self.check_model(place, &model)?;
            return take(place, RecordCell { id, model, column, is_told, value });
        }
        if self.known.is_empty() {
            let is_model =
                |key: &str, value: &Value| key != "id" && !(value.is_null() && self.is_beside(key));
            for (model, value) in record.iter().filter(|(key, value)| is_model(key, value)) {
                let (value, id) = (self.value(place, model, value)?, id.clone());
                take(place, RecordCell { id, model: model.clone(), column: model, is_told: true, value })?;
            }
            return Ok(());
        }
        for model in self.models.known() {
            let (value, is_told) = (record.get(model), record.contains_key(model));
            let value = self.value(place, model, value.unwrap_or(&Value::Null))?;
            take(place, RecordCell { id: id.clone(), model: model.clone(), column: model, is_told, value })?;
        }
        Ok(())
    }

    /// Refuses the record of a cell that names no model: its columns would be taken for models. One with a
    /// null for its loss is noted.
    fn check_unnamed(
        &self,
        place: &Place,
        (record, columns): (&Map<String, Value>, &[String]),
        known: &[String],
    ) -> Result<(), DaunceError> {
        if known.iter().any(|model| record.contains_key(model)) {
            return Ok(());
        }
        let has = |key: &&str| record.get(*key).is_some_and(|value| !value.is_null());
        // Where the models are known, a table with a column for each may have other columns.
        let tokens = known.is_empty().then_some("n_tokens");
        let of_cell = self.keys().into_iter().chain(tokens).find(has);
        if let Some(key) = of_cell {
            return Err(self.unnamed(place, key));
        }
        for (key, first) in self.keys().iter().zip(&self.nulls) {
            if is_told(key, (record, columns)) {
                first.get_or_init(|| place.clone());
            }
        }
        Ok(())
    }

    /// Refuses a null for the loss of no model under a key that has losses elsewhere.
    pub(super) fn check_nulls(&self, keys_of_losses: &BTreeSet<String>) -> Result<(), DaunceError> {
        let nulls = self.keys().into_iter().zip(&self.nulls);
        let mut of_cells = nulls.filter(|(key, _)| keys_of_losses.contains(*key));
        let first = of_cells.find_map(|(key, first)| Some(self.unnamed(first.get()?, key)));
        first.map_or(Ok(()), Err)
    }

    fn unnamed(&self, place: &Place, key: &str) -> DaunceError {
        let detail = format!(
            "the record has `{key}` and does not name its `model`; in a table with one record for each sample, each model has a \
             column, which is named by its id"
        );
        self.at(place, &detail)
    }

    fn check_model(&self, place: &Place, model: &str) -> Result<(), DaunceError> {
        match self.known.is_empty() || self.known.contains(model) {
            true => Ok(()),
            false => Err(self.at(place, &format!("{model:?} is not one of the models of the manifest"))),
        }
    }

    /// Keys of the loss of a record that is a cell's. The first that any record has is that of all of them:
    /// where a value of the signal is missing, the loss beside it is another quantity.
    pub(super) fn keys(&self) -> [&'static str; 2] {
        [self.signal.name(), "loss"]
    }

    fn value(&self, place: &Place, column: &str, value: &Value) -> Result<f64, DaunceError> {
        if value.is_null() {
            return Ok(f64::NAN);
        }
        finite(value).ok_or_else(|| {
            let says = "which is not a finite number; a missing loss is null, or left out";
            self.at(place, &format!("`{column}` is {value}, {says}"))
        })
    }

    /// How many tokens the loss of a record is of, where it says so.
    fn tokens(&self, place: &Place, record: &Map<String, Value>) -> Result<Option<f64>, DaunceError> {
        let Some(value) = record.get("n_tokens").filter(|value| !value.is_null()) else { return Ok(None) };
        let tokens = finite(value).filter(|tokens| *tokens >= 0.0);
        tokens
            .map(Some)
            .ok_or_else(|| self.at(place, &format!("`n_tokens` is {value}, which is not a number of tokens")))
    }
}

/// Whether a column is by its name the index of a data frame: as pandas writes it into Parquet and Arrow, and
/// as it reads one of CSV, which has more numbers if it was saved again or the header has several lines.
fn is_index(column: &str) -> bool {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    if let Some(number) = column.strip_prefix("__index_level_").and_then(|rest| rest.strip_suffix("__")) {
        return is_number(number);
    }
    let numbers = |rest: &str| rest.split("_level_").flat_map(|part| part.split('.')).all(is_number);
    column.strip_prefix("Unnamed: ").is_some_and(numbers)
}

/// Whether a record has a key, or its table a column of that name, which is left out of a record where it is
/// null.
fn is_told(key: &str, (record, columns): (&Map<String, Value>, &[String])) -> bool {
    record.contains_key(key) || columns.iter().any(|column| column == key)
}

pub(super) fn left_out_note(path: &Path, columns: &BTreeSet<String>) -> String {
    format!(
        "{}: left out as no models: {}; a column without a name, or of the index of a data frame, has no losses",
        path.display(),
        first_of(columns, 10)
    )
}

/// Adds columns of a table that its record lacks although they are not null, which are NaN, as texts: only a
/// null says that a loss is missing.
fn add_nans(record: &mut Map<String, Value>, columns: &[String], nulls: &[String]) {
    if record.len() + nulls.len() >= columns.len() {
        return;
    }
    for column in columns.iter().filter(|column| !BESIDE.contains(&column.as_str())) {
        if !record.contains_key(column) && !nulls.contains(column) {
            record.insert(column.clone(), Value::from("NaN"));
        }
    }
}

/// A finite number, or a text of one: in a column of CSV with one cell that is no number all cells are texts.
fn finite(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite())
}

fn duplicate_message(cell: DuplicateCell, (rows, models): (&SampleRows, &[String])) -> String {
    let count = models.len().max(1) as u64;
    let id = rows.ids.get((cell.key / count) as usize).map_or("", String::as_str);
    let model = models.get((cell.key % count) as usize).map_or("", String::as_str);
    format!(
        "the loss of {id:?} under {model:?} appears twice, as {} and as {}",
        cell.values[0], cell.values[1]
    )
}
