//! Range check of dates and times before they are written as JSON, where arrow would write its error as the
//! value.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_cast::cast;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType};

/// Refuses a column with a date or time that no calendar here has, also inside of lists and structs.
pub(super) fn check(column: &dyn Array) -> Result<(), ArrowError> {
    if !has_times(column.data_type()) {
        return Ok(());
    }
    let options = FormatOptions::new().with_display_error(false);
    let texts = ArrayFormatter::try_new(column, &options)?;
    deciding(column)?.into_iter().try_for_each(|row| texts.value(row).try_to_string().map(drop))
}

/// The rows that tell whether all of them can be written: of dates and timestamps the first and the last in
/// time, since the calendar has all between them; of other columns each.
fn deciding(column: &dyn Array) -> Result<Vec<usize>, ArrowError> {
    if !matches!(column.data_type(), DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)) {
        return Ok((0..column.len()).collect());
    }
    let numbers = cast(column, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    let valid = || (0..numbers.len()).filter(|row| numbers.is_valid(*row));
    let first = valid().min_by_key(|row| numbers.value(*row));
    let last = valid().max_by_key(|row| numbers.value(*row));
    Ok(first.into_iter().chain(last).collect())
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
