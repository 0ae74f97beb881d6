//! Rows of JSON: an object a line, or one list of objects. They are read as training data is.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_json::reader::{Decoder, infer_json_schema_from_iterator};
use arrow_schema::{ArrowError, FieldRef, Schema};
use gstore_data::{FieldNames, Place, RawRecord, RecordError, RecordSource, parse_object};
use serde_json::Value;

use super::digits::{as_exact, as_text};
use super::shape::JsonShape;
use super::{BATCH, BATCH_BYTES, OwnTable, data_error};
use crate::error::{SqlError, SqlErrorKind};

/// Batches of the objects of a file.
pub(super) struct ObjectBatches {
    table: OwnTable,
    records: Box<dyn RecordSource>,
    decoder: Decoder,
}

impl ObjectBatches {
    /// The columns of the schema, of all rows.
    pub(super) fn open(table: &OwnTable, schema: Schema) -> Result<Self, SqlError> {
        let reader = arrow_json::ReaderBuilder::new(Arc::new(schema)).with_batch_size(BATCH);
        // A number in a column of texts is its digits.
        let decoder = reader.with_coerce_primitive(true).build_decoder().map_err(|e| table.failed(e))?;
        Ok(Self { table: table.clone(), records: table.records()?, decoder })
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        let mut bytes = 0;
        while self.decoder.len() < BATCH && bytes < BATCH_BYTES {
            let Some(record) = self.records.next_record() else { break };
            let json = record.map_err(data_error)?.json;
            bytes += json.len() as u64;
            self.decoder.decode(json).map_err(|e| self.table.failed(e))?;
        }
        self.decoder.flush().map_err(|e| self.table.failed(e))
    }
}

impl Iterator for ObjectBatches {
    type Item = Result<RecordBatch, SqlError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}

impl OwnTable {
    /// The columns of objects, with the types that all their values have. Floats with an integer beyond their
    /// digits are text: its last digits would be others.
    pub(super) fn objects(&self) -> Result<Schema, SqlError> {
        let found = self.found()?;
        let mut fields = found.fields().to_vec();
        let texts: Vec<FieldRef> = fields.iter().map(as_text).collect();
        let floats: Vec<usize> = (0..fields.len()).filter(|&i| fields[i] != texts[i]).collect();
        if floats.is_empty() {
            return Ok(found);
        }
        let table = Self { schema: Arc::new(Schema::new(texts)), ..self.clone() };
        for batch in table.batches(&floats)? {
            let batch = batch?;
            for (float, values) in floats.iter().zip(batch.columns()) {
                fields[*float] = as_exact(&fields[*float], values);
            }
        }
        Ok(Schema::new(fields))
    }

    fn records(&self) -> Result<Box<dyn RecordSource>, SqlError> {
        self.file.open(&FieldNames::default()).map_err(data_error)
    }

    /// The columns as their values stand there.
    fn found(&self) -> Result<Schema, SqlError> {
        let mut records = self.records()?;
        let (mut shape, mut wrong) = (JsonShape::default(), None);
        let objects = std::iter::from_fn(|| {
            let object = match records.next_record()? {
                Ok(record) => self.object(&record, &mut shape),
                Err(error) => Err(data_error(error)),
            };
            // The engine's error cannot hold this one, and ends the reading.
            Some(object.map_err(|error| {
                wrong = Some(error);
                ArrowError::JsonError(String::new())
            }))
        });
        let found = infer_json_schema_from_iterator(objects);
        match wrong {
            Some(error) => Err(error),
            None => found.map_err(|e| self.failed(e)),
        }
    }

    /// One object, whose values go together with those before.
    fn object(&self, record: &RawRecord<'_>, shape: &mut JsonShape) -> Result<Value, SqlError> {
        let object = parse_object(record.json).map_err(|error| {
            let wrong = self.at(&record.place, &error.to_string());
            match error {
                RecordError::NotObject(_) => wrong.hint("each row is an object, whose keys are the columns"),
                // Its message has the way out.
                _ if record.json.trim_ascii() == b"{" => wrong,
                _ => wrong.hint("correct it, or leave it out; a file that was cut off is to be copied again"),
            }
        })?;
        let object = Value::Object(object);
        shape.see(&object).map_err(|other| self.at(&record.place, &other.to_string()))?;
        Ok(object)
    }

    fn at(&self, place: &Place, why: &str) -> SqlError {
        SqlError::new(SqlErrorKind::Failed, format!("{}, {place}: {why}", self.path().display()))
    }
}
