//! `to_days(n)`, `to_seconds(n)` and the like: intervals of so many of a unit, as `INTERVAL (n) DAY` is.
//!
//! Whole numbers are exact. DuckDB takes doubles for seconds and milliseconds alone, and rounds them to
//! microseconds, halves to the even one, as is done here for all units. A fraction of a larger unit is what
//! it is in `INTERVAL 1.5 DAY`: hours of a day, days of a month, which has thirty of them, and months of a
//! year.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, IntervalMonthDayNano, UInt64Type};
use arrow_array::{ArrayRef, IntervalMonthDayNanoArray};
use arrow_schema::{DataType, IntervalUnit};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ScalarUDF;

use super::columnar::{Compute, checked};
use super::spans::{DAY, SECOND};
use super::types::is_text;
use crate::error::FunctionError;
use crate::types::name;

/// What doubles are rounded to, in nanoseconds.
const MICROSECOND: i128 = 1000;

/// Digits of a fraction of months that count: what doubles lack of a written number lies behind them.
const FRACTION: f64 = 1e9;

pub(super) fn functions() -> [ScalarUDF; 14] {
    use CountedUnit::{Days, Months, Nanos};
    let of = |name: &'static str, compute: Compute| {
        checked(name, coerced, DataType::Interval(IntervalUnit::MonthDayNano), compute)
    };
    [
        of("to_millennia", |args| spans("millennia", Months(12_000), args)),
        of("to_centuries", |args| spans("centuries", Months(1200), args)),
        of("to_decades", |args| spans("decades", Months(120), args)),
        of("to_years", |args| spans("years", Months(12), args)),
        of("to_quarters", |args| spans("quarters", Months(3), args)),
        of("to_months", |args| spans("months", Months(1), args)),
        of("to_weeks", |args| spans("weeks", Days(7), args)),
        of("to_days", |args| spans("days", Days(1), args)),
        of("to_hours", |args| spans("hours", Nanos(3600 * SECOND), args)),
        of("to_minutes", |args| spans("minutes", Nanos(60 * SECOND), args)),
        of("to_seconds", |args| spans("seconds", Nanos(SECOND), args)),
        of("to_milliseconds", |args| spans("milliseconds", Nanos(1_000_000), args)),
        of("to_microseconds", |args| spans("microseconds", Nanos(MICROSECOND), args)),
        of("to_nanoseconds", |args| spans("nanoseconds", Nanos(1), args)),
    ]
}

/// A unit that is so many of a part of an interval.
#[derive(Debug, Clone, Copy)]
enum CountedUnit {
    Months(i32),
    Days(i32),
    Nanos(i128),
}

impl CountedUnit {
    /// So many of it; `None` beyond what an interval holds.
    fn whole(self, count: i128) -> Option<IntervalMonthDayNano> {
        Some(match self {
            Self::Months(months) => {
                let months = count.checked_mul(months.into())?;
                IntervalMonthDayNano::new(months.try_into().ok()?, 0, 0)
            }
            Self::Days(days) => {
                let days = count.checked_mul(days.into())?;
                IntervalMonthDayNano::new(0, days.try_into().ok()?, 0)
            }
            Self::Nanos(nanos) => {
                let nanos = count.checked_mul(nanos)?;
                IntervalMonthDayNano::new(0, 0, nanos.try_into().ok()?)
            }
        })
    }

    /// So many of it, also a fraction.
    fn fraction(self, count: f64) -> Option<IntervalMonthDayNano> {
        match self {
            Self::Months(each) => {
                let months = (count * f64::from(each) * FRACTION).round() / FRACTION;
                let span = Self::Months(1).whole(trunc(months)?)?;
                let days = match each {
                    ..12 => (months.fract() * 30.0 * FRACTION).round() / FRACTION,
                    _ => 0.0,
                };
                Some(IntervalMonthDayNano { days: days as i32, ..span })
            }
            Self::Days(each) => {
                let span = self.whole(trunc(count)?)?;
                let rest = Self::Nanos(DAY * i128::from(each)).fraction(count.fract())?;
                Some(IntervalMonthDayNano { nanoseconds: rest.nanoseconds, ..span })
            }
            Self::Nanos(each) => {
                let step = each.min(MICROSECOND);
                let steps = (count * (each / step) as f64).round_ties_even();
                Self::Nanos(step).whole(trunc(steps)?)
            }
        }
    }
}

fn trunc(number: f64) -> Option<i128> {
    // What is larger is beyond every part of an interval.
    (number.abs() < 1e30).then_some(number as i128)
}

fn coerced(function: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let [of] = types else {
        return Err(FunctionError::invalid(format!("{function}() is called as {function}(n)")).into());
    };
    Ok(vec![match of {
        DataType::UInt64 => DataType::UInt64,
        of if of.is_integer() || of.is_null() => DataType::Int64,
        of if of.is_numeric() || is_text(of) => DataType::Float64,
        _ => {
            let why = format!("{function}() and INTERVAL (n) take a number, not {}", name(of));
            return Err(FunctionError::invalid(why).into());
        }
    }])
}

/// The intervals of so many of a unit; `plural` is its name in messages.
fn spans(plural: &str, unit: CountedUnit, args: &[ArrayRef]) -> DfResult<ArrayRef> {
    let [counts] = take_function_args(plural, args)?;
    let beyond = |count: String| {
        let why = format!("{count} {plural} are beyond what an INTERVAL holds");
        FunctionError::invalid(why)
            .hint("it has up to 2147483647 months, as many days, and 292 years of hours and what is smaller")
    };
    let of_whole = |count: i128| unit.whole(count).ok_or_else(|| beyond(count.to_string()));
    let of_fraction = |count: f64| unit.fraction(count).ok_or_else(|| beyond(format!("{count:?}")));
    let spans: Result<IntervalMonthDayNanoArray, FunctionError> =
        if let Some(counts) = counts.as_primitive_opt::<Int64Type>() {
            counts.iter().map(|count| count.map(|count| of_whole(count.into())).transpose()).collect()
        } else if let Some(counts) = counts.as_primitive_opt::<UInt64Type>() {
            counts.iter().map(|count| count.map(|count| of_whole(count.into())).transpose()).collect()
        } else if let Some(counts) = counts.as_primitive_opt::<Float64Type>() {
            counts.iter().map(|count| count.map(of_fraction).transpose()).collect()
        } else {
            Err(FunctionError::internal("type of a number of units"))
        };
    Ok(Arc::new(spans?))
}

#[cfg(test)]
mod tests {
    use arrow_array::types::IntervalMonthDayNanoType;
    use arrow_array::{Float64Array, Int64Array, UInt64Array};

    use super::*;

    const SECONDS: CountedUnit = CountedUnit::Nanos(SECOND);

    fn parts(span: IntervalMonthDayNano) -> (i32, i32, i64) {
        (span.months, span.days, span.nanoseconds)
    }

    #[test]
    fn whole_numbers_are_exact() {
        let of = |unit: CountedUnit, count: i64| unit.whole(count.into()).map(parts);
        assert_eq!(of(CountedUnit::Months(12), -2), Some((-24, 0, 0)));
        assert_eq!(of(CountedUnit::Days(7), 3), Some((0, 21, 0)));
        assert_eq!(of(CountedUnit::Nanos(1), i64::MAX), Some((0, 0, i64::MAX)));
        assert_eq!(of(SECONDS, i64::MAX), None);
        assert_eq!(of(CountedUnit::Months(12_000), 1 << 20), None);
    }

    #[test]
    fn fractions_are_rounded_to_microseconds() {
        let of = |unit: CountedUnit, count: f64| unit.fraction(count).map(parts);
        assert_eq!(of(SECONDS, 0.1 + 0.2), Some((0, 0, 300_000_000)));
        assert_eq!(of(SECONDS, 1.0 / 3.0), Some((0, 0, 333_333_000)));
        assert_eq!(of(SECONDS, 1e-7), Some((0, 0, 0)));
        assert_eq!(of(SECONDS, 1_700_000_000.1), Some((0, 0, 1_700_000_000_100_000_000)));
        assert_eq!(of(CountedUnit::Nanos(1_000_000), -0.0025), Some((0, 0, -2000)));
        assert_eq!(of(CountedUnit::Nanos(1), 2.0), Some((0, 0, 2)));
        assert_eq!(of(CountedUnit::Days(1), -1.5), Some((0, -1, -43_200_000_000_000)));
        assert_eq!(of(CountedUnit::Days(7), 1.5), Some((0, 7, 302_400_000_000_000)));
        assert_eq!(of(CountedUnit::Months(1), 4.1), Some((4, 3, 0)));
        assert_eq!(of(CountedUnit::Months(3), 0.1), Some((0, 9, 0)));
        assert_eq!(of(CountedUnit::Months(12), 1.5), Some((18, 0, 0)));
        for count in [1e300, f64::NAN, f64::INFINITY, -1e11] {
            assert_eq!(of(SECONDS, count), None, "{count}");
        }
    }

    #[test]
    fn columns_have_intervals() {
        let columns: [ArrayRef; 3] = [
            Arc::new(Int64Array::from(vec![Some(2), None])),
            Arc::new(UInt64Array::from(vec![Some(2), None])),
            Arc::new(Float64Array::from(vec![Some(2.0), None])),
        ];
        for column in columns {
            let found = spans("days", CountedUnit::Days(1), &[column]).unwrap();
            let found: Vec<_> = found.as_primitive::<IntervalMonthDayNanoType>().iter().collect();
            assert_eq!(found, [Some(IntervalMonthDayNano::new(0, 2, 0)), None]);
        }
        let far: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        let error = spans("hours", CountedUnit::Nanos(3600 * SECOND), &[far]).unwrap_err().to_string();
        assert!(error.contains("18446744073709551615 hours are beyond what an INTERVAL holds"), "{error}");
    }
}
