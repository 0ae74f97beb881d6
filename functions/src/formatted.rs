//! Texts of values that the engine makes of them in a way of its own, by `to_char` and `array_to_string`.
//!
//! - `list_string_agg(list, between)` of nothing but NULLs is NULL, as `string_agg` of such rows is
//! - `to_char(time, format)` of one time by the formats of a column: the engine takes the first of them for
//!   all rows
//! - the offset and the zone of times, which the engine writes in another way, and not for those without one
//! - spans of time that are too long for the engine are an error, where it writes `<invalid>`

use std::sync::Arc;

use crate::columnar::around;
use crate::error::FunctionError;
use crate::forward::from_engine;
use crate::spelled::item;
use crate::strptime;
use crate::times::is_time;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, GenericListArray, OffsetSizeTrait};
use arrow_schema::{DataType, TimeUnit};
use arrow_select::nullif::nullif;
use datafusion::error::Result as DfResult;
use datafusion::functions::datetime;
use datafusion::functions_nested::string::array_to_string_udf;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use datafusion::scalar::ScalarValue;

pub(super) fn functions() -> [ScalarUDF; 3] {
    let [time, list] =
        [datetime::to_char(), array_to_string_udf()].map(|engine| around(engine, None, formatted));
    let joined = ScalarUDF::from(JoinedElements { engine: Arc::new(list.clone()) });
    [time, list, joined]
}

fn formatted(engine: &ScalarUDF, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
    if let [time @ ColumnarValue::Scalar(_), ColumnarValue::Array(_)] = args.args.as_mut_slice() {
        *time = ColumnarValue::Array(time.to_array(args.number_rows)?);
    }
    if let [time, format] = args.args.as_mut_slice()
        && is_time(&time.data_type())
        && let ColumnarValue::Scalar(written) = &*format
        && let Some(written) = written.try_as_str().flatten()
    {
        *format = strptime::of_times(written, time)?;
    }
    if let Some(values) = args.args.first().filter(|values| may_be_too_long(&values.data_type())) {
        check(&values.to_array(1)?)?;
    }
    engine.invoke_with_args(args)
}

/// Whether a type is of spans that the engine may have no text of, or of lists of them.
fn may_be_too_long(of: &DataType) -> bool {
    matches!(of, DataType::Duration(TimeUnit::Second | TimeUnit::Millisecond))
        || item(of).is_some_and(|item| may_be_too_long(item.data_type()))
}

/// Refuses spans of 2^63 milliseconds or more, of which the engine has no text.
fn check(values: &ArrayRef) -> DfResult<()> {
    if let Some(item) = item(values.data_type()) {
        let lists = arrow_cast::cast(values, &DataType::List(Arc::clone(item)))?;
        return lists.as_list::<i32>().iter().flatten().try_for_each(|list| check(&list));
    }
    let most = match values.data_type() {
        DataType::Duration(TimeUnit::Second) => i64::MAX.unsigned_abs() / 1000,
        _ => i64::MAX.unsigned_abs(),
    };
    let counts = arrow_cast::cast(values, &DataType::Int64)?;
    if counts.as_primitive::<Int64Type>().iter().flatten().any(|count| count.unsigned_abs() > most) {
        let why = "a span of time is too long to be written like this".to_owned();
        return Err(FunctionError::invalid(why).hint("x::VARCHAR is the text of any").into());
    }
    Ok(())
}

/// The elements of a list in one text, with a text between them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct JoinedElements {
    engine: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for JoinedElements {
    fn name(&self) -> &str {
        "list_string_agg"
    }

    from_engine! {
        signature() -> &Signature;
        return_type(types: &[DataType]) -> DfResult<DataType>;
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if let Some(lists) = args.args.first_mut() {
            *lists = match &*lists {
                ColumnarValue::Scalar(list) => {
                    let list = with_values(&list.to_array()?)?;
                    ColumnarValue::Scalar(ScalarValue::try_from_array(&list, 0)?)
                }
                ColumnarValue::Array(lists) => ColumnarValue::Array(with_values(lists)?),
            };
        }
        self.engine.invoke_with_args(args)
    }
}

/// The lists that have an element which is not NULL, and NULL in the place of others.
fn with_values(lists: &ArrayRef) -> DfResult<ArrayRef> {
    let lacking = match lists.data_type() {
        DataType::List(_) => lack_values(lists.as_list::<i32>()),
        DataType::LargeList(_) => lack_values(lists.as_list::<i64>()),
        _ => return Ok(Arc::clone(lists)),
    };
    Ok(nullif(lists, &lacking)?)
}

fn lack_values<O: OffsetSizeTrait>(lists: &GenericListArray<O>) -> BooleanArray {
    let lacks = |list: Option<ArrayRef>| list.is_none_or(|list| list.logical_null_count() == list.len());
    BooleanArray::from(lists.iter().map(lacks).collect::<Vec<bool>>())
}

#[cfg(test)]
mod tests {
    use arrow_array::{DurationMillisecondArray, DurationSecondArray, ListArray};
    use arrow_schema::Field;
    use datafusion::arrow::buffer::OffsetBuffer;

    use super::*;

    #[test]
    fn spans_that_the_engine_has_no_text_of_are_refused() {
        let seconds = |count: i64| Arc::new(DurationSecondArray::from(vec![None, Some(count)])) as ArrayRef;
        let millis =
            |count: i64| Arc::new(DurationMillisecondArray::from(vec![None, Some(count)])) as ArrayRef;
        let most = i64::MAX / 1000;
        let in_seconds = [0, most, -most, most + 1, -most - 1, i64::MIN].map(seconds);
        let in_millis = [0, i64::MAX, -i64::MAX, i64::MIN].map(millis);
        for spans in in_seconds.into_iter().chain(in_millis) {
            let texts = arrow_cast::cast(&spans, &DataType::Utf8).unwrap();
            let is_invalid = texts.as_string::<i32>().value(1) == "<invalid>";
            assert_eq!(check(&spans).is_err(), is_invalid, "{spans:?}");
            assert!(may_be_too_long(spans.data_type()));
            let item = Arc::new(Field::new_list_field(spans.data_type().clone(), true));
            let lists = ListArray::new(item, OffsetBuffer::from_lengths([1, 1]), spans, None);
            assert!(may_be_too_long(lists.data_type()));
            let lists = Arc::new(lists) as ArrayRef;
            assert_eq!(check(&lists).is_err(), is_invalid);
            assert!(check(&lists.slice(0, 1)).is_ok());
        }
        assert!(!may_be_too_long(&DataType::Duration(TimeUnit::Microsecond)));
    }
}
