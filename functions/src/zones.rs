//! Times and zones as in DuckDB: `time AT TIME ZONE 'zone'`, which is `timezone('zone', time)`, and `now()`.
//!
//! A time without a zone is what clocks in the zone show, and becomes the instant at which they do. Of an
//! instant it is what they show then, a time without a zone. Instants are shown in UTC. The engine would cast
//! both to a time with the zone, and its `now()` has none.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::temporal_conversions::as_datetime;
use arrow_array::timezone::Tz;
use arrow_array::types::{
    ArrowTimestampType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_schema::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::functions::datetime::now::NowFunc;
use datafusion::functions::datetime::to_local_time::adjust_to_local_time;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::scalar::ScalarValue;
use gstore_core::shortened;

use super::narrowed::per_second;
use super::times::{SAID, zone_name};
use crate::error::{BEYOND, FunctionError};
use crate::signatures;
use crate::types;

/// The zone of instants that are given no other.
pub const UTC: &str = "UTC";

pub(super) fn functions() -> [ScalarUDF; 2] {
    let mut options = ConfigOptions::default();
    options.execution.time_zone = Some(UTC.to_owned());
    [ScalarUDF::from(ZoneFunction), ScalarUDF::from(NowFunc::new_with_config(&options))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ZoneFunction;

impl ScalarUDFImpl for ZoneFunction {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        signatures::own()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let [zone, time] = take_function_args(self.name(), types)?;
        let time = match time {
            DataType::Timestamp(..) => time.clone(),
            // In microseconds, so that years up to 9999 have a beginning.
            DataType::Date32 | DataType::Date64 | DataType::Null => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            other => {
                let why = format!("AT TIME ZONE takes a time, not {}", types::name(other));
                let hint = "x::TIMESTAMP reads a text as one, and x::TIMESTAMPTZ one with an offset";
                return Err(FunctionError::invalid(why).hint(hint).into());
            }
        };
        Ok(vec![zone.clone(), time])
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Err(FunctionError::internal("type of a time in an unknown zone").into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let [zone, _] = take_function_args(self.name(), args.scalar_arguments)?;
        let is_known = written(*zone)?.is_some();
        let [_, time] = take_function_args(self.name(), args.arg_fields)?;
        let DataType::Timestamp(unit, from) = time.data_type() else {
            return Err(FunctionError::internal("type of a time").into());
        };
        let to = from.is_none().then(|| Arc::<str>::from(UTC));
        let nullable = time.is_nullable() || !is_known;
        Ok(Arc::new(Field::new(self.name(), DataType::Timestamp(*unit, to), nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [zone, time] = take_function_args(self.name(), &args.args)?;
        let zone = match zone {
            ColumnarValue::Scalar(zone) => Some(zone),
            ColumnarValue::Array(_) => None,
        };
        let Some(zone) = written(zone)? else {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(args.return_type())?));
        };
        let compute = |times: &[ArrayRef]| {
            let [times] = take_function_args("timezone", times)?;
            in_zone(times, zone)
        };
        make_scalar_function(compute, Vec::new())(std::slice::from_ref(time))
    }
}

/// A zone that there is, by its name, which is a constant; none of NULL.
fn written(name: Option<&ScalarValue>) -> Result<Option<Tz>, FunctionError> {
    if name.is_some_and(ScalarValue::is_null) {
        return Ok(None);
    }
    let Some(name) = name.and_then(ScalarValue::try_as_str).flatten() else {
        let why = "the zone of AT TIME ZONE must be a constant";
        return Err(FunctionError::invalid(why.to_owned())
            .hint("write it as a text, as in time AT TIME ZONE 'Europe/Berlin'"));
    };
    zone_name(name).unwrap_or(name).parse::<Tz>().map(Some).map_err(|_| {
        let why = format!("there is no time zone '{}'", shortened(name, SAID));
        FunctionError::invalid(why).hint("write a zone as 'Europe/Berlin', 'UTC' or '+02:00'")
    })
}

fn in_zone(times: &ArrayRef, zone: Tz) -> DfResult<ArrayRef> {
    match times.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => of_unit::<TimestampSecondType>(times, zone),
        DataType::Timestamp(TimeUnit::Millisecond, _) => of_unit::<TimestampMillisecondType>(times, zone),
        DataType::Timestamp(TimeUnit::Microsecond, _) => of_unit::<TimestampMicrosecondType>(times, zone),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => of_unit::<TimestampNanosecondType>(times, zone),
        _ => Err(FunctionError::internal("type of a time").into()),
    }
}

fn of_unit<T: ArrowTimestampType>(times: &ArrayRef, zone: Tz) -> DfResult<ArrayRef> {
    let times = times.as_primitive::<T>();
    let (found, to) = match times.timezone() {
        Some(_) => (times.try_unary::<_, T, _>(|instant| shown::<T>(instant, zone))?, None),
        None => (times.try_unary::<_, T, _>(|time| instant::<T>(time, zone))?, Some(UTC)),
    };
    Ok(Arc::new(found.with_timezone_opt(to)))
}

/// What clocks in a zone show at an instant.
fn shown<T: ArrowTimestampType>(instant: i64, zone: Tz) -> Result<i64, FunctionError> {
    let day = day_in::<T>();
    // The engine panics where the difference to UTC leads beyond the last time.
    let around = [instant.saturating_sub(day), instant.saturating_add(day)];
    if around.into_iter().any(|time| as_datetime::<T>(time).is_none()) {
        return Err(beyond());
    }
    adjust_to_local_time::<T>(instant, zone).map_err(|_| beyond())
}

/// A day in a type's unit.
fn day_in<T: ArrowTimestampType>() -> i64 {
    86_400 * per_second(&T::UNIT)
}

/// The instant at which clocks in a zone show this. Where they show it twice it is the later one; where they
/// are put forward past it, the one at which those would show it that were not.
pub(super) fn instant<T: ArrowTimestampType>(time: i64, zone: Tz) -> Result<i64, FunctionError> {
    let day = day_in::<T>();
    // With the difference to UTC that clocks have at an instant near it.
    let by_offset_at = |near: i64| {
        let offset = shown::<T>(near, zone)?.checked_sub(near);
        offset.and_then(|offset| time.checked_sub(offset)).ok_or_else(beyond)
    };
    let (before, after) = (by_offset_at(time.saturating_sub(day))?, by_offset_at(time.saturating_add(day))?);
    let (first, last) = (before.min(after), before.max(after));
    let is_last = first == last || shown::<T>(last, zone)? == time || shown::<T>(first, zone)? != time;
    Ok(if is_last { last } else { first })
}

fn beyond() -> FunctionError {
    FunctionError::invalid(format!("a time{BEYOND}"))
}

#[cfg(test)]
mod tests {
    use arrow_cast::parse::string_to_timestamp_nanos;

    use super::*;

    #[test]
    fn a_time_of_a_zone_is_the_instant_that_duckdb_has() {
        let nanos = |text: &str| string_to_timestamp_nanos(text).unwrap();
        for (zone, time, expected) in [
            ("Europe/Berlin", "2024-06-01 12:00:00", "2024-06-01 10:00:00"),
            ("Europe/Berlin", "2024-03-31 01:59:59", "2024-03-31 00:59:59"),
            ("Europe/Berlin", "2024-03-31 02:30:00", "2024-03-31 01:30:00"),
            ("Europe/Berlin", "2024-03-31 03:00:00", "2024-03-31 01:00:00"),
            ("Europe/Berlin", "2024-10-27 01:30:00", "2024-10-26 23:30:00"),
            ("Europe/Berlin", "2024-10-27 02:30:00", "2024-10-27 01:30:00"),
            ("America/New_York", "2024-11-03 01:30:00", "2024-11-03 06:30:00"),
            ("America/New_York", "2024-03-10 02:30:00", "2024-03-10 07:30:00"),
            ("Australia/Lord_Howe", "2024-04-07 01:45:00", "2024-04-06 15:15:00"),
            ("Australia/Lord_Howe", "2024-10-06 02:15:00", "2024-10-05 15:45:00"),
            ("Pacific/Apia", "2011-12-30 12:00:00", "2011-12-30 22:00:00"),
            ("Europe/Berlin", "1880-01-01 00:00:00", "1879-12-31 23:06:32"),
            ("+02:00", "2024-06-01 12:00:00", "2024-06-01 10:00:00"),
        ] {
            let zone: Tz = zone.parse().unwrap();
            let found = instant::<TimestampNanosecondType>(nanos(time), zone).unwrap();
            assert_eq!(found, nanos(expected), "{zone}: {time}");
            let second = 1_000_000_000;
            let found = instant::<TimestampSecondType>(nanos(time) / second, zone).unwrap();
            assert_eq!(found, nanos(expected) / second, "{zone}: {time}");
        }
        let berlin: Tz = "Europe/Berlin".parse().unwrap();
        assert!(instant::<TimestampNanosecondType>(i64::MAX, berlin).is_err());
        // The last second that there is.
        assert!(shown::<TimestampSecondType>(8_210_266_876_799, berlin).is_err());
        assert!(shown::<TimestampSecondType>(i64::MIN, berlin).is_err());
    }
}
