//! `date_diff(part, from, to)`: boundaries of years, months, days, ... between two times, as DuckDB counts.
//!
//! Times count in nanoseconds: in a larger unit those before 1970 would be cut to a later boundary.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array};
use arrow_schema::{DataType, TimeUnit};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ScalarUDF;
use gstore_core::calendar::month_of;

use super::columnar::checked;
use super::spans::{DAY, SECOND, nanos};
use crate::error::FunctionError;
use crate::types::name;

pub(super) fn function() -> ScalarUDF {
    checked("date_diff", coerced, DataType::Int64, |arrays| Ok(Arc::new(counts(arrays)?)))
        .with_aliases(["datediff"])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DatePart {
    /// One of the same length at any time, in nanoseconds.
    Even(i128),
    Week,
    /// One of so many months.
    Months(i64),
}

impl DatePart {
    fn named(text: &str) -> Result<Self, FunctionError> {
        let word = text.trim().to_ascii_lowercase();
        Ok(match word.strip_suffix('s').unwrap_or(&word) {
            "nanosecond" => Self::Even(1),
            "microsecond" => Self::Even(1000),
            "millisecond" => Self::Even(1_000_000),
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
                let hint = "it counts year, quarter, month, week, day, hour, minute, second, millisecond, microsecond and nanosecond";
                return Err(FunctionError::invalid(why).hint(hint));
            }
        })
    }

    /// The number of the part that a time is in, counted from any one; `None` beyond all dates.
    fn number(self, time: i128) -> Option<i128> {
        let day = time.div_euclid(DAY);
        Some(match self {
            Self::Even(length) => time.div_euclid(length),
            // 1970 began on a Thursday, and weeks begin on Monday.
            Self::Week => (day + 3).div_euclid(7),
            Self::Months(length) => month_of(day.try_into().ok()?).div_euclid(length).into(),
        })
    }
}

fn coerced(_: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let text = |ty: &DataType| ty.is_string() || ty.is_null();
    let time = |ty: &DataType| matches!(ty, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
    let read = |ty: &DataType| match ty {
        DataType::Timestamp(unit, _) => DataType::Timestamp(*unit, None),
        _ => DataType::Timestamp(TimeUnit::Microsecond, None),
    };
    match types {
        [part, from, to] if text(part) && [from, to].iter().all(|ty| text(ty) || time(ty)) => {
            Ok(vec![DataType::Utf8, read(from), read(to)])
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
    let Some(parts) = parts.as_string_opt::<i32>() else {
        return Err(FunctionError::internal("types of date_diff()").into());
    };
    let mut counts = Vec::with_capacity(parts.len());
    for ((part, from), to) in parts.iter().zip(nanoseconds(from)?).zip(nanoseconds(to)?) {
        let (Some(part), Some(from), Some(to)) = (part, from, to) else {
            counts.push(None);
            continue;
        };
        let part = DatePart::named(part)?;
        let ends = part.number(to).zip(part.number(from));
        let count = ends.and_then(|(to, from)| i64::try_from(to - from).ok());
        counts.push(Some(
            count.ok_or_else(|| FunctionError::invalid("the times are too far apart".to_owned()))?,
        ));
    }
    Ok(Int64Array::from(counts))
}

fn nanoseconds(times: &ArrayRef) -> DfResult<Vec<Option<i128>>> {
    let DataType::Timestamp(unit, _) = times.data_type() else {
        return Err(FunctionError::internal("types of date_diff()").into());
    };
    let each = nanos(*unit);
    let counts = arrow_cast::cast(times, &DataType::Int64)?;
    let counts = counts.as_primitive::<Int64Type>().iter();
    Ok(counts.map(|count| count.map(|count| i128::from(count) * each)).collect())
}

#[cfg(test)]
mod tests {
    use arrow_array::{StringArray, TimestampNanosecondArray, TimestampSecondArray};

    use super::*;

    #[test]
    fn boundaries_are_counted_and_not_lengths() {
        let number = |part: &str, time: i128| DatePart::named(part).unwrap().number(time).unwrap();
        assert_eq!(number("day", DAY) - number("day", DAY - 1), 1);
        // Sunday, 4 January 1970, and the Monday after it.
        assert_eq!(number("weeks", 4 * DAY) - number("Week", 4 * DAY - 1), 1);
        assert_eq!(number("hour", -1), -1);
        assert_eq!(number("nanoseconds", -1), -1);
        assert_eq!(number("month", 0) - number("month", -1), 1);
        assert!(DatePart::named("fortnight").is_err_and(|error| error.to_string().contains("quarter")));
    }

    #[test]
    fn times_of_all_units_go_together() {
        let count = |part: &str, from: ArrayRef, to: ArrayRef| {
            let part: ArrayRef = Arc::new(StringArray::from(vec![part]));
            counts(&[part, from, to]).map(|counts| counts.value(0))
        };
        let seconds = |time: i64| Arc::new(TimestampSecondArray::from(vec![time])) as ArrayRef;
        let nanos = |time: i64| Arc::new(TimestampNanosecondArray::from(vec![time])) as ArrayRef;
        assert_eq!(count("nanosecond", seconds(-1), nanos(1)).unwrap(), 1_000_000_001);
        assert_eq!(count("microsecond", seconds(0), nanos(-1)).unwrap(), -1);
        assert_eq!(count("year", seconds(0), seconds(i64::MAX)).unwrap(), 292_277_024_626);
        assert!(count("millisecond", seconds(i64::MIN), seconds(i64::MAX)).is_err());
    }
}
