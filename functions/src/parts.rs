//! Parts of times as DuckDB has them: of what lies between two, days, and hours, minutes and seconds beside
//! these; the engine counts the whole span in each of these units, and leaves out fractions of a second.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, cast,
};

use super::columnar::of_one;
use super::spans::{DAY, nanos};
use super::whole::type_of;
use crate::error::FunctionError;
use crate::signatures;

/// Nanoseconds.
const MINUTE: i64 = 60_000_000_000;

/// The call in the place of one of `date_part`: of what lies between two times, and of seconds since 1970,
/// which the engine divides as a double of nanoseconds, whose last digits that has not.
pub(super) fn call(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let [part, of] = call.args.as_slice() else { return None };
    if call.func.name() != "date_part" {
        return None;
    }
    let ty = type_of(of, schema)?;
    let each = literal(part).and_then(within_minute);
    let of = match ty {
        DataType::Interval(IntervalUnit::MonthDayNano) if each.is_some() => of.clone(),
        DataType::Duration(_) => part_of(PartResult::Days, of.clone()),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) if is_epoch(part) => {
            cast(of.clone(), DataType::Timestamp(TimeUnit::Microsecond, zone))
        }
        _ => return None,
    };
    if let Some(each) = each {
        return Some(part_of(PartResult::WithinMinute(each), of));
    }
    Some(call.func.call(vec![part.clone(), of]))
}

fn part_of(gives: PartResult, of: Expr) -> Expr {
    ScalarUDF::from(gives).call(vec![of])
}

fn literal(part: &Expr) -> Option<&str> {
    part.as_literal()?.try_as_str().flatten()
}

/// Nanoseconds of a part that counts what is left of a minute.
fn within_minute(part: &str) -> Option<i64> {
    match part.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" => Some(1_000_000),
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" => Some(1_000),
        _ => None,
    }
}

fn is_epoch(part: &Expr) -> bool {
    literal(part).is_some_and(|part| part.eq_ignore_ascii_case("epoch"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum PartResult {
    /// What lies between two times as an interval of days and what is left of the last.
    Days,
    /// What is left of the last minute of an interval, in parts of so many nanoseconds: the engine counts
    /// what is left of the last two seconds alone.
    WithinMinute(i64),
}

impl ScalarUDFImpl for PartResult {
    fn name(&self) -> &str {
        match self {
            PartResult::Days => "in_days",
            PartResult::WithinMinute(_) => "within_minute",
        }
    }

    fn signature(&self) -> &Signature {
        signatures::one()
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(match self {
            PartResult::Days => DataType::Interval(IntervalUnit::MonthDayNano),
            PartResult::WithinMinute(_) => DataType::Int32,
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        of_one(self.name(), &args, |spans| self.of(spans))
    }
}

impl PartResult {
    fn of(self, spans: &ArrayRef) -> DfResult<ArrayRef> {
        let Self::WithinMinute(each) = self else { return in_days(spans) };
        let intervals = spans.as_primitive_opt::<IntervalMonthDayNanoType>();
        let intervals = intervals.ok_or_else(|| FunctionError::internal("type of an interval"))?;
        Ok(Arc::new(intervals.unary::<_, Int32Type>(|span| (span.nanoseconds % MINUTE / each) as i32)))
    }
}

fn in_days(spans: &ArrayRef) -> DfResult<ArrayRef> {
    let DataType::Duration(unit) = spans.data_type() else {
        return Err(FunctionError::internal("type of a span").into());
    };
    let each = nanos(*unit);
    let counts = arrow_cast::cast(spans, &DataType::Int64)?;
    let of = |count: i64| {
        let all = i128::from(count) * each;
        // Less than a day is left, which 64 bits hold.
        let days = i32::try_from(all / DAY).map_err(|_| too_long())?;
        let left = i64::try_from(all % DAY).map_err(|_| too_long())?;
        Ok::<_, FunctionError>(IntervalMonthDayNano::new(0, days, left))
    };
    Ok(Arc::new(counts.as_primitive::<Int64Type>().try_unary::<_, IntervalMonthDayNanoType, _>(of)?))
}

fn too_long() -> FunctionError {
    FunctionError::invalid("what lies between two times is too long for its parts".to_owned())
}

#[cfg(test)]
mod tests {
    use arrow_array::DurationMicrosecondArray;

    use super::*;

    #[test]
    fn spans_are_days_and_what_is_left() {
        let second = 1_000_000;
        let spans =
            DurationMicrosecondArray::from(vec![Some(176_400 * second + 1), None, Some(-90_000 * second)]);
        let days = in_days(&(Arc::new(spans) as ArrayRef)).unwrap();
        let days: Vec<_> = days.as_primitive::<IntervalMonthDayNanoType>().iter().collect();
        let hour = 3_600_000_000_000;
        assert_eq!(
            days,
            [
                Some(IntervalMonthDayNano::new(0, 2, hour + 1000)),
                None,
                Some(IntervalMonthDayNano::new(0, -1, -hour)),
            ]
        );
    }
}
