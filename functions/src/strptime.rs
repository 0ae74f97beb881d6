//! `strptime(text, format)`: the time in a text by a format of DuckDB, or by the first of several that it
//! has; and such formats in the letters of the engine.
//!
//! What a format leaves out is that of 1900-01-01 00:00. The engine's `to_timestamp` reads no text that lacks
//! a part, and forgets the time of day where it lacks the hour.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::timezone::Tz;
use arrow_array::types::TimestampNanosecondType;
use arrow_array::{Array, ArrayRef, TimestampNanosecondArray};
use arrow_schema::{DataType, TimeUnit};
use chrono::format::{Fixed, Item, ParseResult, Parsed, StrftimeItems, parse};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use datafusion::scalar::ScalarValue;
use gstore_core::shortened;

use super::spelled::item;
use super::times::{SAID, zone_name};
use super::types::is_text;
use super::zones::instant;
use crate::error::{BEYOND, FunctionError};
use crate::signatures;

const NAME: &str = "strptime";

/// How a zone stands at the end of a format, where alone it can be.
const ZONE: &str = " %Z";

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(ReadTime)
}

/// A format in the letters of the engine, to read a time by it or to write one.
pub fn engine_format(format: &str, is_read: bool) -> String {
    let mut written = String::with_capacity(format.len() + 8);
    let mut signs = format.chars();
    while let Some(sign) = signs.next() {
        if sign != '%' {
            written.push(sign);
            continue;
        }
        match signs.next() {
            Some('c') => written.push_str("%Y-%m-%d %H:%M:%S"),
            Some('x') => written.push_str("%Y-%m-%d"),
            Some('X') => written.push_str("%H:%M:%S"),
            // With the point before it, as the engine reads fewer digits than all of them.
            Some('f' | 'g' | 'n') if is_read && written.ends_with('.') => {
                written.truncate(written.len() - 1);
                written.push_str("%.f");
            }
            Some('f') => written.push_str("%6f"),
            Some('g') => written.push_str("%3f"),
            Some('n') => written.push_str("%9f"),
            other => {
                written.push('%');
                written.extend(other);
            }
        }
    }
    written
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ReadTime;

impl ScalarUDFImpl for ReadTime {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        signatures::own()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let may_be_text = |ty: &DataType| ty.is_null() || is_text(ty);
        let format = match types {
            [text, _] if !may_be_text(text) => None,
            [_, format] if may_be_text(format) => Some(DataType::Utf8),
            [_, formats] if item(formats).is_some_and(|item| is_text(item.data_type())) => {
                Some(DataType::new_list(DataType::Utf8, true))
            }
            _ => None,
        };
        let format = format.ok_or_else(|| {
            FunctionError::invalid(format!("{NAME}() takes a text and a format"))
                .hint("write strptime(text, '%Y-%m-%d'), or ['%Y-%m-%d', '%d.%m.%Y'] for several formats")
        })?;
        Ok(vec![DataType::Utf8, format])
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Nanosecond, None))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [texts, formats] = take_function_args(NAME, &args.args)?;
        let ColumnarValue::Scalar(formats) = formats else {
            let why = "the format of strptime() is not written in the statement".to_owned();
            let hint = "to_timestamp(text, format) takes that of a column, in letters of its own";
            return Err(FunctionError::invalid(why).hint(hint).into());
        };
        let formats = TimeFormat::all(formats)?;
        let read = |texts: &[ArrayRef]| {
            let [texts] = take_function_args(NAME, texts)?;
            times(texts, &formats)
        };
        make_scalar_function(read, Vec::new())(std::slice::from_ref(texts))
    }
}

/// The times in texts; NULL where there is no format.
fn times(texts: &ArrayRef, formats: &[TimeFormat]) -> DfResult<ArrayRef> {
    let texts = texts.as_string_opt::<i32>().ok_or_else(|| FunctionError::internal("type of a text"))?;
    let Some(last) = formats.last() else {
        return Ok(Arc::new(TimestampNanosecondArray::new_null(texts.len())));
    };
    let time = |text: &str| {
        let found = formats.iter().find_map(|format| format.time(text.trim()));
        found.unwrap_or_else(|| {
            let said = shortened(text.trim(), SAID);
            Err(FunctionError::no_time(&format!("{said}' using format '{}", last.written), false))
        })
    };
    let times = texts.iter().map(|text| text.map(time).transpose());
    Ok(Arc::new(times.collect::<Result<TimestampNanosecondArray, FunctionError>>()?))
}

struct TimeFormat {
    /// As the statement has it.
    written: String,
    parts: Vec<Item<'static>>,
    /// Whether the name of a zone stands behind the parts.
    has_zone: bool,
}

impl TimeFormat {
    /// The formats of a constant, NULLs aside.
    fn all(of: &ScalarValue) -> DfResult<Vec<Self>> {
        let mut texts = of.to_array()?;
        if let Some(lists) = texts.as_list_opt::<i32>() {
            texts = if lists.is_null(0) { lists.values().slice(0, 0) } else { lists.value(0) };
        }
        let texts = texts.as_string_opt::<i32>();
        let texts = texts.ok_or_else(|| FunctionError::internal("type of a format"))?;
        Ok(texts.iter().flatten().map(Self::of).collect::<Result<_, FunctionError>>()?)
    }

    fn of(written: &str) -> Result<Self, FunctionError> {
        let read = engine_format(written.trim(), true);
        let before = read.strip_suffix(ZONE);
        let parts = StrftimeItems::new(before.unwrap_or(&read)).parse_to_owned().ok();
        let parts = parts.filter(|parts| !parts.contains(&Item::Fixed(Fixed::TimezoneName)));
        let parts = parts.ok_or_else(|| {
            let why = format!("'{}' is no format of a time", shortened(written, SAID));
            let hint = "a time is written '%Y-%m-%d %H:%M:%S', %% is a percent sign, and %Z stands at the end, \
                        behind a blank";
            FunctionError::invalid(why).hint(hint)
        })?;
        Ok(Self { written: written.to_owned(), parts, has_zone: before.is_some() })
    }

    /// The time in a text, in nanoseconds after 1970; `None` of one that has not this format.
    fn time(&self, text: &str) -> Option<Result<i64, FunctionError>> {
        let (clock, zone) = match self.has_zone {
            true => {
                let (clock, zone) = text.rsplit_once(' ')?;
                (clock, Some(zone_name(zone)?.parse::<Tz>().ok()?))
            }
            false => (text, None),
        };
        let mut parsed = Parsed::new();
        parse(&mut parsed, clock, self.parts.iter()).ok()?;
        // A minute has no second 60 here.
        if parsed.second() == Some(60) {
            return None;
        }
        fill(&mut parsed).ok()?;
        let Some(time) = parsed.to_datetime().ok()?.timestamp_nanos_opt() else {
            let why = format!("'{}'{BEYOND}", shortened(text, SAID));
            return Some(Err(FunctionError::invalid(why).hint("DATE and TIMESTAMP_S reach further")));
        };
        Some(zone.map_or(Ok(time), |zone| instant::<TimestampNanosecondType>(time, zone)))
    }
}

/// Adds what a text left out.
fn fill(parsed: &mut Parsed) -> ParseResult<()> {
    let offset = parsed.offset().unwrap_or(0);
    parsed.set_offset(i64::from(offset))?;
    if parsed.timestamp().is_some() {
        return Ok(());
    }
    if parsed.year().is_none() && parsed.year_mod_100().is_none() {
        parsed.set_year(1900)?;
    }
    if parsed.ordinal().is_none() {
        let (month, day) = (parsed.month().unwrap_or(1), parsed.day().unwrap_or(1));
        parsed.set_month(i64::from(month))?;
        parsed.set_day(i64::from(day))?;
    }
    // 12 without AM or PM is noon.
    let is_after_noon = parsed.hour_mod_12() == Some(0);
    if parsed.hour_mod_12().is_none() {
        parsed.set_hour12(12)?;
    }
    if parsed.hour_div_12().is_none() {
        parsed.set_ampm(is_after_noon)?;
    }
    let (minute, second) = (parsed.minute().unwrap_or(0), parsed.second().unwrap_or(0));
    parsed.set_minute(i64::from(minute))?;
    parsed.set_second(i64::from(second))
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;
    use arrow_cast::display::array_value_to_string;

    use super::*;

    fn read(text: &str, format: &str) -> Result<String, String> {
        let texts = Arc::new(StringArray::from(vec![text])) as ArrayRef;
        let formats = TimeFormat::all(&ScalarValue::from(format));
        let times = formats.and_then(|formats| times(&texts, &formats));
        times.map(|times| array_value_to_string(&times, 0).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_format_leaves_out_is_that_of_1900() {
        // As DuckDB reads them, which has no `%s`.
        for (text, format, time) in [
            ("30:15", "%M:%S", "1900-01-01T00:30:15"),
            ("15", "%S", "1900-01-01T00:00:15"),
            ("13:15", "%H:%S", "1900-01-01T13:00:15"),
            ("5:30", "%I:%M", "1900-01-01T05:30:00"),
            ("12:30", "%I:%M", "1900-01-01T12:30:00"),
            ("12:30 AM", "%I:%M %p", "1900-01-01T00:30:00"),
            ("PM", "%p", "1900-01-01T12:00:00"),
            ("10:20:30", "%T", "1900-01-01T10:20:30"),
            ("2024.25", "%Y.%f", "2024-01-01T00:00:00.250"),
            ("Mar 5", "%b %d", "1900-03-05T00:00:00"),
            ("2024-065", "%Y-%j", "2024-03-05T00:00:00"),
            (" 2024-05-29 10:46:11 ", "%c", "2024-05-29T10:46:11"),
            ("2024-05-06 10:00:00 +02:00", "%Y-%m-%d %H:%M:%S %z", "2024-05-06T08:00:00"),
            ("2024-05-06 10:00:00 europe/berlin", "%Y-%m-%d %H:%M:%S %Z", "2024-05-06T08:00:00"),
            ("1717000000", "%s", "2024-05-29T16:26:40"),
            ("1717000000.25", "%s.%f", "2024-05-29T16:26:40.250"),
        ] {
            assert_eq!(read(text, format).as_deref(), Ok(time), "{text} {format}");
        }
    }

    #[test]
    fn errors_have_the_format_as_it_is_written() {
        for (text, format, says) in [
            ("soon", "%H:%M:%S.%f", "'soon' using format '%H:%M:%S.%f' is no time"),
            ("Mar", "%b %d", "'Mar' using format '%b %d' is no time"),
            ("23:59:60", "%X", "'23:59:60' using format '%X' is no time"),
            ("2024-02-30", "%x", "'2024-02-30' using format '%x' is no time"),
            ("10:00 Nowhere/Else", "%H:%M %Z", "is no time"),
            ("1500", "%Y", "'1500' is beyond what a TIMESTAMP reaches"),
            ("1", "%Q", "'%Q' is no format of a time"),
            ("1", "%Z %Y", "'%Z %Y' is no format of a time"),
        ] {
            let error = read(text, format).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
