//! Types of the columns of a table of text, which are those of all its values.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::{DataType, Field, Schema};
use gstore_functions::read_times;

use super::digits::{NumberTexts, is_cut, is_padded};
use super::times::TimeTexts;
use super::{Batches, OwnTable};
use crate::error::SqlError;

impl OwnTable {
    /// The columns of a table of text, with the types that all their fields have. Numbers may have `Inf` or
    /// `NAN` among them. A column with `007` is text, as in a dataset, and one of fractions with an integer
    /// beyond their digits: a number would not read back. Dates and times are told by their form, so each is
    /// read as a cast reads it: a column in which one is none, such as `2024-02-30`, is text as well.
    pub(super) fn columns(&self, delimiter: u8) -> Result<Schema, SqlError> {
        let found = self.headed(delimiter, None)?;
        let mut typed = self.with_told_texts(found, delimiter)?;
        let is_open = |ty: &DataType| matches!(ty, DataType::Int64 | DataType::Float64) || ty.is_temporal();
        let open = places(&typed, is_open);
        for batch in self.written(&typed, delimiter, &open)? {
            for (values, column) in batch?.columns().iter().zip(&open) {
                let (Some(field), Some(texts)) = (typed.get_mut(*column), values.as_string_opt::<i32>())
                else {
                    continue;
                };
                let is_float = field.data_type() == &DataType::Float64;
                let is_lossy = |text: &str| is_padded(text) || is_float && is_cut(text);
                let is_text = match field.data_type() {
                    DataType::Int64 | DataType::Float64 => texts.iter().flatten().any(is_lossy),
                    time if time.is_temporal() => {
                        let read = read_times(texts, time, true).map_err(|e| self.failed(e))?;
                        read.null_count() > texts.null_count()
                    }
                    // One of its texts has said so.
                    _ => false,
                };
                if is_text {
                    *field = text(field);
                }
            }
        }
        Ok(Schema::new(typed))
    }

    /// The columns of the header, with the types that the engine finds in the first rows; in all without a
    /// number.
    pub(super) fn headed(&self, delimiter: u8, rows: Option<usize>) -> Result<Vec<Field>, SqlError> {
        let format = arrow_csv::reader::Format::default().with_header(true).with_delimiter(delimiter);
        let found = format.infer_schema(self.text()?, rows).map_err(|e| self.failed(e))?.0;
        // Data frames write their index under no name. Datasets call such a column so, too.
        let named = |(i, field): (usize, &Arc<Field>)| match field.as_ref().clone() {
            field if field.name().is_empty() => field.with_name(format!("column_{}", i + 1)),
            field => field,
        };
        Ok(found.fields().iter().enumerate().map(named).collect())
    }

    /// The columns with floats in place of texts that are all numbers, infinite or none, and with times in
    /// place of those that all have the form of one. What the engine takes for times is looked at as text.
    fn with_told_texts(&self, mut fields: Vec<Field>, delimiter: u8) -> Result<Vec<Field>, SqlError> {
        let texts = places(&fields, |ty| ty == &DataType::Utf8 || ty.is_temporal());
        let mut told = vec![(NumberTexts::default(), TimeTexts::default()); texts.len()];
        for batch in self.written(&fields, delimiter, &texts)? {
            for (values, (numbers, times)) in batch?.columns().iter().zip(&mut told) {
                let texts = || values.as_string_opt::<i32>().into_iter().flatten().flatten();
                numbers.see(texts());
                times.see(texts());
            }
            if told.iter().all(|(numbers, times)| numbers.other && times.other) {
                break;
            }
        }
        for (column, (numbers, times)) in texts.into_iter().zip(told) {
            let kind = if numbers.are_all() { Some(DataType::Float64) } else { times.kind() };
            if let Some(field) = fields.get_mut(column) {
                *field = Field::new(field.name(), kind.unwrap_or(DataType::Utf8), true);
            }
        }
        Ok(fields)
    }

    /// Some of the columns as they are written; no batches where none is wanted.
    fn written(&self, fields: &[Field], delimiter: u8, columns: &[usize]) -> Result<Batches, SqlError> {
        if columns.is_empty() {
            return Ok(Box::new(std::iter::empty()));
        }
        let texts: Vec<Field> = fields.iter().map(text).collect();
        self.separated(&Arc::new(Schema::new(texts)), delimiter, columns)
    }
}

fn text(field: &Field) -> Field {
    Field::new(field.name(), DataType::Utf8, true)
}

fn places(fields: &[Field], is_one: impl Fn(&DataType) -> bool) -> Vec<usize> {
    fields.iter().enumerate().filter(|(_, field)| is_one(field.data_type())).map(|(place, _)| place).collect()
}
