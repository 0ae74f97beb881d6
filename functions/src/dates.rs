//! `date_diff(part, from, to)`: boundaries of years, months, days, ... between two times, as DuckDB counts.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, Int64Array};
use arrow_schema::{DataType, TimeUnit};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ScalarUDF;
use gstore_core::calendar::month_of;

use super::columnar::checked;
use crate::error::FunctionError;
use crate::types::name;

/// Microseconds.
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

pub(super) fn function() -> ScalarUDF {
    checked("date_diff", coerced, DataType::Int64, |arrays| Ok(Arc::new(counts(arrays)?)))
        .with_aliases(["datediff"])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DatePart {
    /// One of the same length at any time, in microseconds.
    Even(i64),
    Week,
    /// One of so many months.
    Months(i64),
}

impl DatePart {
    fn named(text: &str) -> Result<Self, FunctionError> {
        let word = text.trim().to_ascii_lowercase();
        Ok(match word.strip_suffix('s').unwrap_or(&word) {
            "microsecond" => Self::Even(1),
            "millisecond" => Self::Even(1000),
            "second" => Self::Even(SECOND),
            "minute" => Self::Even(60 * SECOND),
            "hour" => Self::Even(3600 * SECOND),
            "day" => Self::Even(DAY),
            "week" => Self::Week,
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Months(12),
            _ => {
                let why = format!("date_diff() does not count `{text}`");
                let hint = "it counts year, quarter, month, week, day, hour, minute, second, millisecond and microsecond";
                return Err(FunctionError::invalid(why).hint(hint));
            }
        })
    }

    /// The number of the part that a time is in, counted from any one.
    fn number(self, time: i64) -> i64 {
        let day = time.div_euclid(DAY);
        match self {
            Self::Even(length) => time.div_euclid(length),
            // 1970 began on a Thursday, and weeks begin on Monday.
            Self::Week => (day + 3).div_euclid(7),
            Self::Months(length) => month_of(day).div_euclid(length),
        }
    }
}

fn coerced(_: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let text = |ty: &DataType| ty.is_string() || ty.is_null();
    let time = |ty: &DataType| matches!(ty, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
    match types {
        [part, from, to] if text(part) && [from, to].iter().all(|ty| text(ty) || time(ty)) => {
            let time = DataType::Timestamp(TimeUnit::Microsecond, None);
            Ok(vec![DataType::Utf8, time.clone(), time])
        }
        _ => Err(wrong_ends(types.get(1..).unwrap_or_default()).into()),
    }
}

/// The error about ends that are no times; `epoch_ms(t)` and its like are calls of this function by then.
fn wrong_ends(ends: &[DataType]) -> FunctionError {
    match ends.iter().find(|ty| ty.is_numeric()) {
        Some(number) => {
            let number = name(number);
            let why = format!("date_diff(), epoch_ms(), epoch_us() and epoch_ns() take times, not {number}");
            FunctionError::invalid(why).hint(
                "the time of a number is to_timestamp(n), to_timestamp_millis(n) or to_timestamp_micros(n)",
            )
        }
        None => {
            let why = "date_diff() is called as date_diff('day', from, to), of two dates or timestamps";
            FunctionError::invalid(why.to_owned())
        }
    }
}

fn counts(arrays: &[ArrayRef]) -> DfResult<Int64Array> {
    let [parts, from, to] = take_function_args("date_diff", arrays)?;
    let times = |array: &ArrayRef| array.as_primitive_opt::<TimestampMicrosecondType>().cloned();
    let (Some(parts), Some(from), Some(to)) = (parts.as_string_opt::<i32>(), times(from), times(to)) else {
        return Err(FunctionError::internal("types of date_diff()").into());
    };
    let mut counts = Vec::with_capacity(parts.len());
    for ((part, from), to) in parts.iter().zip(&from).zip(&to) {
        let (Some(part), Some(from), Some(to)) = (part, from, to) else {
            counts.push(None);
            continue;
        };
        let part = DatePart::named(part)?;
        let count = part.number(to).checked_sub(part.number(from));
        counts.push(Some(
            count.ok_or_else(|| FunctionError::invalid("the times are too far apart".to_owned()))?,
        ));
    }
    Ok(Int64Array::from(counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_counted_and_not_lengths() {
        let number = |part: &str, time: i64| DatePart::named(part).unwrap().number(time);
        assert_eq!(number("day", DAY) - number("day", DAY - 1), 1);
        // Sunday, 4 January 1970, and the Monday after it.
        assert_eq!(number("weeks", 4 * DAY) - number("Week", 4 * DAY - 1), 1);
        assert_eq!(number("hour", -1), -1);
        assert!(DatePart::named("fortnight").is_err_and(|error| error.to_string().contains("quarter")));
    }
}
