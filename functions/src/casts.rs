//! Casts in which the engine differs from DuckDB: of JSON text to lists, of text to times, of text with
//! fractions to whole numbers, also within lists, of text to 32 bits, which refuses too large numbers, of times,
//! intervals and lists to text; of lists, where elements that no row shows need not fit; of times to times of
//! day, which come in another order.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Decimal128Array, ListArray, StringArray};
use arrow_cast::{CastOptions, can_cast_types};
use arrow_schema::{ArrowError, DataType, FieldRef};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::common::DFSchema;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, lit,
};
use datafusion::scalar::ScalarValue;
use gstore_core::json::{is_json, parts, text};
use gstore_core::shortened;

use super::columnar::of_one;
use super::spans::{is_span, usual_interval};
use super::spelled::{self, is_list, item};
use super::times::{self, SAID, is_time, is_time_of_day};
use super::{elements, narrowed};
use crate::error::FunctionError;
use crate::forward::named_as_argument;
use crate::signatures;
use crate::types::is_text;

/// What takes the place of a cast, if it is one of these; `safe` casts give null for what they cannot read.
///
/// # Errors
/// A written text that is to be a time and is none: that is refused before anything runs.
pub(super) fn call(of: &Expr, to: &DataType, safe: bool, schema: &DFSchema) -> DfResult<Option<Expr>> {
    let Ok(from) = of.get_type(schema) else { return Ok(None) };
    // The engine casts text to numbers where the two are compared, and must not round there: `safe` casts are
    // written, and others that are have been replaced before.
    let of_list = matches!(to, DataType::List(_) | DataType::FixedSizeList(..));
    let is_read = is_time(to) || matches!(to, DataType::Interval(_));
    let reads = is_text(&from) && (of_list || is_read || *to == DataType::Float32)
        || safe && reads_integers(&from, to)
        || converts_elements(&from, to);
    let is_written = matches!(from, DataType::Timestamp(..)) || is_span(&from) || is_list(&from);
    let writes = is_written && is_text(to);
    // The engine takes times of day to be in the order of the times that they are of (DataFusion #25506).
    let is_reordered = matches!(from, DataType::Timestamp(..)) && is_time_of_day(to);
    if !(reads || writes || is_reordered) {
        return Ok(None);
    }
    if let Expr::Literal(text, _) = of
        && is_read
    {
        let time = CastFunction::new(to, safe).of(&text.to_array()?)?;
        return Ok(Some(lit(ScalarValue::try_from_array(&time, 0)?)));
    }
    Ok(Some(cast_call(of.clone(), to, safe)))
}

/// Whether a cast is of texts to whole numbers, or of lists of texts to lists of such numbers.
pub(super) fn reads_integers(from: &DataType, to: &DataType) -> bool {
    match (item(from), item(to)) {
        (Some(from), Some(to)) => reads_integers(from.data_type(), to.data_type()),
        (None, None) => is_text(from) && to.is_integer(),
        _ => false,
    }
}

/// Whether a cast is of lists with elements that may not be of the other type: the engine casts the hidden
/// ones too, which are in no row or under a NULL.
fn converts_elements(from: &DataType, to: &DataType) -> bool {
    let (Some(from), Some(to)) = (item(from), item(to)) else { return false };
    let (from, to) = (from.data_type(), to.data_type());
    match is_text(from) {
        true => !is_text(to) && can_cast_types(from, to),
        false => converts_elements(from, to) || narrowed::may_fail(from, to) && can_cast_types(from, to),
    }
}

pub(super) fn cast_call(of: Expr, to: &DataType, safe: bool) -> Expr {
    ScalarUDF::from(CastFunction::new(to, safe)).call(vec![of])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CastFunction {
    to: DataType,
    safe: bool,
}

impl ScalarUDFImpl for CastFunction {
    fn name(&self) -> &str {
        "converted"
    }

    named_as_argument!();

    fn signature(&self) -> &Signature {
        signatures::one()
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        of_one(self.name(), &args, |values| self.of(values))
    }
}

impl CastFunction {
    fn new(to: &DataType, safe: bool) -> Self {
        Self { to: to.clone(), safe }
    }

    fn of(&self, values: &ArrayRef) -> DfResult<ArrayRef> {
        converted(values, &self.to, self.safe)
    }
}

/// The values as those of another type, of lists each element.
fn converted(values: &ArrayRef, to: &DataType, safe: bool) -> DfResult<ArrayRef> {
    let options = CastOptions { safe, ..CastOptions::default() };
    let lists = match item(to) {
        Some(item) => elements::changed(values, |elements| converted(elements, item.data_type(), safe))?,
        None => None,
    };
    if let Some(lists) = lists {
        // From lists of one kind to those of another.
        return Ok(arrow_cast::cast_with_options(&lists, to, &options)?);
    }
    if is_text(values.data_type()) {
        return read(&plain(values)?, to, safe);
    }
    if is_text(to)
        && let Some(texts) = spelled::texts(values, safe)?
    {
        return Ok(arrow_cast::cast(&texts, to)?);
    }
    if matches!((values.data_type(), to), (DataType::Float64, DataType::Float32)) {
        return narrowed::singles(values, safe);
    }
    // The engine's way, which refuses times that are too far for their unit.
    ColumnarValue::Array(Arc::clone(values)).cast_to(to, Some(&options))?.into_array(values.len())
}

fn plain(texts: &ArrayRef) -> DfResult<StringArray> {
    let texts = arrow_cast::cast(texts, &DataType::Utf8)?;
    let plain = texts.as_string_opt::<i32>().cloned();
    Ok(plain.ok_or_else(|| FunctionError::internal("type of a cast"))?)
}

fn read(texts: &StringArray, to: &DataType, safe: bool) -> DfResult<ArrayRef> {
    let options = CastOptions { safe, ..CastOptions::default() };
    match to {
        DataType::List(item) => lists(texts, item, safe),
        DataType::FixedSizeList(item, _) => {
            let lists = lists(texts, item, safe)?;
            Ok(arrow_cast::cast_with_options(&lists, to, &options)?)
        }
        to if to.is_integer() => numbers(texts, to, safe),
        DataType::Float32 => {
            let doubles = arrow_cast::cast_with_options(texts, &DataType::Float64, &options)?;
            narrowed::singles(&doubles, safe)
        }
        to if is_time(to) => times::read(texts, to, safe),
        DataType::Interval(_) => {
            let usual = |text: &str| usual_interval(text).unwrap_or_else(|| text.to_owned());
            let texts: StringArray = texts.iter().map(|text| text.map(usual)).collect();
            Ok(arrow_cast::cast_with_options(&texts, to, &options)?)
        }
        to => Ok(arrow_cast::cast_with_options(texts, to, &options)?),
    }
}

/// The elements of lists in JSON, each read as the type of the elements.
fn lists(texts: &StringArray, item: &FieldRef, safe: bool) -> DfResult<ArrayRef> {
    let (mut lengths, mut known) = (Vec::with_capacity(texts.len()), Vec::with_capacity(texts.len()));
    let mut elements = StringBuilder::new();
    for value in texts {
        let list = value.map(str::trim).filter(|list| *list != "null");
        let sound = list.filter(|list| list.starts_with('[') && is_json(list));
        if let (Some(list), None, false) = (list, sound, safe) {
            return Err(no_list(list).into());
        }
        let mut length = 0_usize;
        for (_, element) in sound.into_iter().flat_map(parts) {
            elements.append_option(text(element));
            length += 1;
        }
        lengths.push(length);
        known.push(sound.is_some());
    }
    let values = read(&elements.finish(), item.data_type(), safe)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, Some(NullBuffer::from(known)))?))
}

fn no_list(text: &str) -> FunctionError {
    FunctionError::invalid(format!("'{}' is not a list in JSON", shortened(text, SAID)))
        .hint("such a list is [\"a\", \"b\"]; string_split(x, ',') makes a list of a text with commas")
}

/// Whole numbers from texts, those with fractions rounded.
fn numbers(texts: &StringArray, to: &DataType, safe: bool) -> DfResult<ArrayRef> {
    let whole = arrow_cast::cast(texts, to)?;
    if whole.null_count() == texts.null_count() {
        return Ok(whole);
    }
    // What does not fit becomes null.
    let rounded: Decimal128Array = texts.iter().map(|text| nearest(text?)).collect();
    let whole = arrow_cast::cast(&rounded.with_precision_and_scale(38, 0)?, to)?;
    let wrong = texts.iter().enumerate().find(|(row, text)| text.is_some() && whole.is_null(*row));
    match wrong {
        Some((_, Some(text))) if !safe => {
            let why = format!("Cannot cast string '{text}' to value of {to} type");
            Err(ArrowError::CastError(why).into())
        }
        _ => Ok(whole),
    }
}

/// The whole number that is nearest to a written one, by all of its digits; halves go away from zero.
pub fn nearest(text: &str) -> Option<i128> {
    let text = text.trim();
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (before, behind) = number.split_once('.').unwrap_or((number, ""));
    let all = format!("{before}{behind}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = all.trim_start_matches('0');
    let zeros = i64::try_from(all.len() - digits.len()).ok()?;
    // How many of the digits stand before the point.
    let point = i64::try_from(before.len()).ok()?.checked_sub(zeros)?.checked_add(exponent)?;
    if digits.is_empty() || point < 0 {
        return Some(0);
    }
    let point = usize::try_from(point).ok().filter(|point| *point <= 38)?;
    let front = digits.get(..point).unwrap_or(digits);
    let whole: i128 = if point == 0 { 0 } else { format!("{front:0<point$}").parse().ok()? };
    let up = digits.as_bytes().get(point).is_some_and(|next| *next >= b'5');
    let whole = whole + i128::from(up);
    Some(if negative { -whole } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_numbers_are_rounded_by_all_digits() {
        for (text, number) in [
            ("1e3", Some(1000)),
            ("12.7", Some(13)),
            ("-12.5", Some(-13)),
            (".5", Some(1)),
            ("0.049e1", Some(0)),
            ("0.05e1", Some(1)),
            ("1e-3", Some(0)),
            ("9223372036854775807.4", Some(9_223_372_036_854_775_807)),
            ("0e99", Some(0)),
            ("1e99", None),
            ("", None),
            ("-", None),
            ("1.2.3", None),
            ("inf", None),
        ] {
            assert_eq!(nearest(text), number, "{text}");
        }
    }
}
