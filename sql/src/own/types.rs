//! Types of the columns of a table of text, which are those of all its values.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::{DataType, Field, Schema};

use super::OwnTable;
use super::digits::{NumberTexts, is_cut, is_padded};
use crate::error::SqlError;

/// Which texts of a column of times were seen.
#[derive(Debug, Clone, Copy, Default)]
struct Offsets {
    /// Those with an offset, such as `+02:00` or `Z`.
    with: bool,
    without: bool,
}

impl Offsets {
    fn see<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        for text in texts {
            // Behind `2024-02-29 10:00:00` stand fractions and an offset.
            let behind = text.get(19..).unwrap_or_default();
            let has_offset = behind.contains(|c: char| c != '.' && !c.is_ascii_digit());
            *(if has_offset { &mut self.with } else { &mut self.without }) = true;
        }
    }
}

impl OwnTable {
    /// The columns of a table of text, with the types that all their fields have. Numbers may have `Inf` or
    /// `NAN` among them. A column with `007` is text, as in a dataset, and one of fractions with an integer
    /// beyond their digits: a number would not read back. Dates and times are told by their form, so each is
    /// read: a column in which one is none, such as `2024-02-30`, is text as well. Times that all have an offset
    /// are instants; among others they are text, since nothing says when the others are.
    pub(super) fn columns(&self, delimiter: u8) -> Result<Schema, SqlError> {
        let format = arrow_csv::reader::Format::default().with_header(true).with_delimiter(delimiter);
        let found = format.infer_schema(self.text()?, None).map_err(|e| self.failed(e))?.0;
        // Data frames write their index under no name. Datasets call such a column so, too.
        let named = |(i, field): (usize, &Arc<Field>)| match field.as_ref().clone() {
            field if field.name().is_empty() => field.with_name(format!("column_{}", i + 1)),
            field => field,
        };
        let found = Schema::new(found.fields().iter().enumerate().map(named).collect::<Vec<_>>());
        let found = self.with_infinite(found, delimiter)?;
        let is_open = |ty: &DataType| matches!(ty, DataType::Int64 | DataType::Float64) || ty.is_temporal();
        let fields = found.fields();
        let open: Vec<usize> =
            (0..fields.len()).filter(|i| fields.get(*i).is_some_and(|f| is_open(f.data_type()))).collect();
        if open.is_empty() {
            return Ok(found);
        }
        let text = |field: &Field| Field::new(field.name(), DataType::Utf8, true);
        let texts: Vec<Field> = fields.iter().map(|field| text(field)).collect();
        let mut typed: Vec<Field> = fields.iter().map(|field| field.as_ref().clone()).collect();
        let mut offsets = vec![Offsets::default(); open.len()];
        for batch in self.separated(&Arc::new(Schema::new(texts)), delimiter, &open)? {
            let batch = batch?;
            for ((values, column), offsets) in batch.columns().iter().zip(&open).zip(&mut offsets) {
                let Some(field) = typed.get_mut(*column) else { continue };
                let mut written = values.as_string_opt::<i32>().into_iter().flatten().flatten();
                let is_float = field.data_type() == &DataType::Float64;
                let is_lossy = |text: &str| is_padded(text) || is_float && is_cut(text);
                let is_text = match field.data_type().is_temporal() {
                    true => {
                        offsets.see(written);
                        let read = arrow_cast::cast(values, field.data_type()).map_err(|e| self.failed(e))?;
                        read.null_count() > values.null_count()
                    }
                    false => written.any(is_lossy),
                };
                if is_text {
                    *field = text(field);
                }
            }
        }
        for (column, offsets) in open.iter().zip(offsets) {
            let Some(field) = typed.get_mut(*column) else { continue };
            match (field.data_type(), offsets) {
                (DataType::Timestamp(unit, _), Offsets { with: true, without: false }) => {
                    let instants = DataType::Timestamp(*unit, Some("UTC".into()));
                    *field = field.clone().with_data_type(instants);
                }
                (DataType::Timestamp(..), Offsets { with: true, without: true }) => *field = text(field),
                _ => {}
            }
        }
        Ok(Schema::new(typed))
    }

    /// The columns with floats in place of texts that are all numbers, infinite or none.
    fn with_infinite(&self, found: Schema, delimiter: u8) -> Result<Schema, SqlError> {
        let mut fields = found.fields().to_vec();
        let is_text = |i: &usize| fields.get(*i).is_some_and(|field| field.data_type() == &DataType::Utf8);
        let texts: Vec<usize> = (0..fields.len()).filter(is_text).collect();
        let mut open: Vec<NumberTexts> = vec![NumberTexts::default(); texts.len()];
        if open.is_empty() {
            return Ok(found);
        }
        for batch in self.separated(&Arc::new(found.clone()), delimiter, &texts)? {
            let batch = batch?;
            for (values, numbers) in batch.columns().iter().zip(&mut open) {
                let values =
                    values.as_string_opt::<i32>().into_iter().flat_map(|values| values.iter().flatten());
                numbers.see(values);
            }
            if open.iter().all(|numbers| numbers.other) {
                return Ok(found);
            }
        }
        for (column, _) in texts.iter().zip(&open).filter(|(_, numbers)| numbers.are_all()) {
            if let Some(field) = fields.get_mut(*column) {
                *field = Arc::new(Field::new(field.name(), DataType::Float64, true));
            }
        }
        Ok(Schema::new(fields))
    }
}
