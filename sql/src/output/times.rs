//! Range check of dates and times before they are written as JSON, where arrow would write its error as the
//! value.

use arrow_array::Array;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType};

/// Refuses a column with a date or time that no calendar here has, also inside of lists and structs.
pub(super) fn check(column: &dyn Array) -> Result<(), ArrowError> {
    if !has_times(column.data_type()) {
        return Ok(());
    }
    let options = FormatOptions::new().with_display_error(false);
    let texts = ArrayFormatter::try_new(column, &options)?;
    let is_out = |row: &usize| texts.value(*row).try_to_string().is_err();
    match (0..column.len()).find(is_out) {
        Some(_) => Err(ArrowError::CastError(format!("a {} is beyond the calendar", column.data_type()))),
        None => Ok(()),
    }
}

fn has_times(ty: &DataType) -> bool {
    match ty {
        DataType::Struct(fields) => fields.iter().any(|field| has_times(field.data_type())),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_times(field.data_type()),
        DataType::Dictionary(_, values) => has_times(values),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => true,
        DataType::Time32(_) | DataType::Time64(_) | DataType::Duration(_) => true,
        _ => false,
    }
}
