//! `strptime(text, format)`: the time in a text by a format of DuckDB, or by the first of several that it
//! has; and such formats in the letters of the engine.
//!
//! A part that a format leaves out is that of 1900-01-01 00:00. The engine's `to_timestamp` does not read a
//! text without a year, month or day, and drops minutes and seconds without an hour.

mod formats;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::timezone::Tz;
use arrow_array::types::TimestampNanosecondType;
use arrow_array::{Array, ArrayRef, TimestampNanosecondArray};
use arrow_schema::{DataType, TimeUnit};
use chrono::format::{Fixed, Item, Numeric, ParseResult, Parsed, parse_and_remainder};
use chrono::{TimeDelta, Weekday};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use datafusion::scalar::ScalarValue;
use gstore_core::shortened;

use self::formats::FormatPart;
pub(crate) use self::formats::of_times;
pub use self::formats::{engine_format, has_zone};
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
            let why = "the format of strptime() must be a constant".to_owned();
            let hint = "to_timestamp(text, format) takes the format from a column, in letters of its own";
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
    parts: Vec<FormatPart>,
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
        let format = written.trim();
        let before = format.strip_suffix(ZONE);
        let is_name =
            |part: &FormatPart| matches!(part, FormatPart::Engine(Item::Fixed(Fixed::TimezoneName)));
        let parts = FormatPart::all(before.unwrap_or(format)).filter(|parts| !parts.iter().any(is_name));
        let parts = parts.ok_or_else(|| {
            let why = format!("'{}' is not a format of a time", shortened(written, SAID));
            let hint = "a format is '%Y-%m-%d %H:%M:%S', for example; %% is a percent sign, and %Z comes at \
            the end, after a blank";
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
        let mut read = ReadParts::default();
        let mut rest = clock;
        for part in &self.parts {
            rest = read.part(part, rest)?;
        }
        // A minute has no second 60 here.
        if !rest.is_empty() || read.time.second() == Some(60) {
            return None;
        }
        let parsed = read.filled()?;
        // Offsets may be of more than a day, which `to_datetime` refuses.
        let offset = parsed.offset().unwrap_or(0);
        let local = parsed.to_naive_datetime_with_offset(offset).ok()?.and_utc();
        let time = local.checked_sub_signed(TimeDelta::seconds(i64::from(offset)));
        let Some(time) = time.and_then(|time| time.timestamp_nanos_opt()) else {
            let why = format!("'{}'{BEYOND}", shortened(text, SAID));
            return Some(Err(FunctionError::invalid(why).hint("DATE and TIMESTAMP_S reach further")));
        };
        Some(zone.map_or(Ok(time), |zone| instant::<TimestampNanosecondType>(time, zone)))
    }
}

/// What was read of a text. What a date goes before, and what AM and PM change, is apart, since a [`Parsed`]
/// refuses values that do not agree.
#[derive(Default)]
struct ReadParts {
    /// All but what follows.
    time: Parsed,
    /// A week, the year of an ISO week, and the number of a weekday.
    week: Parsed,
    hour: Parsed,
    /// AM or PM.
    half: Parsed,
    /// Names of weekdays, which say nothing.
    ignored: Parsed,
    /// The nanoseconds of a fraction; of several the last, as in DuckDB.
    nanos: Option<i64>,
    /// The seconds of an offset, the same.
    offset: Option<i64>,
}

impl ReadParts {
    /// Reads a part of a format at the beginning of a text; what stands behind it, or `None` if it is not
    /// there.
    fn part<'t>(&mut self, part: &FormatPart, text: &'t str) -> Option<&'t str> {
        match part {
            FormatPart::Engine(item) => parse_and_remainder(self.of(item), text, std::iter::once(item)).ok(),
            FormatPart::Fraction(most) => {
                let (nanos, rest) = formats::fraction(text, *most)?;
                self.nanos = Some(nanos);
                Some(rest)
            }
            FormatPart::Offset => {
                let (seconds, rest) = formats::offset(text)?;
                self.offset = Some(seconds);
                Some(rest)
            }
        }
    }

    /// Where what the engine reads goes.
    fn of(&mut self, item: &Item<'_>) -> &mut Parsed {
        use Numeric::{
            Hour, Hour12, IsoWeek, IsoYear, NumDaysFromSun, WeekFromMon, WeekFromSun, WeekdayFromMon,
        };
        match item {
            Item::Numeric(Hour | Hour12, _) => &mut self.hour,
            Item::Numeric(
                IsoYear | IsoWeek | WeekFromSun | WeekFromMon | NumDaysFromSun | WeekdayFromMon,
                _,
            ) => &mut self.week,
            Item::Fixed(Fixed::LowerAmPm | Fixed::UpperAmPm) => &mut self.half,
            Item::Fixed(Fixed::ShortWeekdayName | Fixed::LongWeekdayName) => &mut self.ignored,
            _ => &mut self.time,
        }
    }

    /// The time with what the text left out; `None` where there is no such time.
    fn filled(mut self) -> Option<Parsed> {
        if let Some(nanos) = self.nanos {
            self.time.set_nanosecond(nanos).ok()?;
        }
        if let Some(offset) = self.offset {
            self.time.set_offset(offset).ok()?;
        }
        if self.time.timestamp().is_none() {
            self.fill_date().ok()?;
            let hour = self.hour()?;
            // That of `%+` is in the time.
            if self.time.hour_mod_12().is_none() {
                self.time.set_hour(hour).ok()?;
            }
            let (minute, second) = (self.time.minute().unwrap_or(0), self.time.second().unwrap_or(0));
            self.time.set_minute(i64::from(minute)).ok()?;
            self.time.set_second(i64::from(second)).ok()?;
        }
        Some(self.time)
    }

    /// A date goes before a week, and a week begins with the day that it is counted from.
    fn fill_date(&mut self) -> ParseResult<()> {
        let Self { time, week, .. } = self;
        let has_date = time.ordinal().or(time.month()).or(time.day()).is_some();
        let iso_week = week.isoweek().or(week.isoyear().map(|_| 1));
        if let (false, Some(number)) = (has_date, iso_week) {
            time.set_isoyear(i64::from(week.isoyear().unwrap_or(1900)))?;
            time.set_isoweek(i64::from(number))?;
            return time.set_weekday(week.weekday().unwrap_or(Weekday::Mon));
        }
        if time.year().is_none() && time.year_mod_100().is_none() {
            time.set_year(1900)?;
        }
        match (has_date, week.week_from_sun(), week.week_from_mon()) {
            (false, Some(number), _) => time.set_week_from_sun(i64::from(number))?,
            (false, _, Some(number)) => time.set_week_from_mon(i64::from(number))?,
            _ if time.ordinal().is_some() => return Ok(()),
            _ => {
                let (month, day) = (time.month().unwrap_or(1), time.day().unwrap_or(1));
                time.set_month(i64::from(month))?;
                return time.set_day(i64::from(day));
            }
        }
        let first = if week.week_from_sun().is_some() { Weekday::Sun } else { Weekday::Mon };
        time.set_weekday(week.weekday().unwrap_or(first))
    }

    /// The hour of the day; 12 without AM or PM is noon, and above 12 there is neither.
    fn hour(&self) -> Option<i64> {
        let hour = match (self.hour.hour_div_12(), self.hour.hour_mod_12()) {
            (Some(half), Some(hour)) => half * 12 + hour,
            (None, Some(0)) => 12,
            (_, hour) => hour.unwrap_or(0),
        };
        match self.half.hour_div_12() {
            Some(_) if hour > 12 => None,
            Some(half) => Some(i64::from(half * 12 + hour % 12)),
            None => Some(i64::from(hour)),
        }
    }
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
            ("09:00 PM", "%H:%M %p", "1900-01-01T21:00:00"),
            ("00:30 PM", "%H:%M %p", "1900-01-01T12:30:00"),
            ("12:30 AM", "%H:%M %p", "1900-01-01T00:30:00"),
            ("Tue", "%a", "1900-01-01T00:00:00"),
            ("Thu 1970-01-02", "%a %Y-%m-%d", "1970-01-02T00:00:00"),
            ("2024-03-05 W01", "%Y-%m-%d W%V", "2024-03-05T00:00:00"),
            ("2024-W05-1", "%G-W%V-%u", "2024-01-29T00:00:00"),
            ("2024", "%G", "2024-01-01T00:00:00"),
            ("2024-W05", "%G-W%V", "2024-01-29T00:00:00"),
            ("2024 05 1", "%Y %W %w", "2024-01-29T00:00:00"),
            ("2024 05", "%Y %W", "2024-01-29T00:00:00"),
            ("2024 05 1", "%Y %U %w", "2024-02-05T00:00:00"),
            ("2024 05", "%Y %U", "2024-02-04T00:00:00"),
            ("05 1", "%V %u", "1900-01-29T00:00:00"),
            (" 2024-05-29 10:46:11 ", "%c", "2024-05-29T10:46:11"),
            ("2024-05-06 10:00:00 +02:00", "%Y-%m-%d %H:%M:%S %z", "2024-05-06T08:00:00"),
            ("10:00+02", "%H:%M%z", "1900-01-01T08:00:00"),
            ("10:00 -0230", "%H:%M %z", "1900-01-01T12:30:00"),
            ("10:00 -02:30:15 2024", "%H:%M %z %Y", "2024-01-01T12:30:15"),
            ("10 +02:99", "%H %z", "1900-01-01T06:21:00"),
            ("+02", "%z", "1899-12-31T22:00:00"),
            ("10 +24", "%H %z", "1899-12-31T10:00:00"),
            ("10 -99:59:59", "%H %z", "1900-01-05T13:59:59"),
            ("10 +02 +03", "%H %z %z", "1900-01-01T07:00:00"),
            ("1717000000 +24", "%s %z", "2024-05-29T16:26:40"),
            ("12:00:01.123.25", "%H:%M:%S.%g.%f", "1900-01-01T12:00:01.250"),
            ("12:00:01.5", "%H:%M:%S.%f", "1900-01-01T12:00:01.500"),
            ("12 25", "%H %f", "1900-01-01T12:00:00.250"),
            ("12,01", "%H,%g", "1900-01-01T12:00:00.010"),
            ("12345607", "%f%S", "1900-01-01T00:00:07.123456"),
            ("12:00:01.123456789", "%H:%M:%S.%n", "1900-01-01T12:00:01.123456789"),
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
            ("soon", "%H:%M:%S.%f", "'soon' using format '%H:%M:%S.%f' is not a time"),
            ("Mar", "%b %d", "'Mar' using format '%b %d' is not a time"),
            ("13:00 PM", "%H:%M %p", "'13:00 PM' using format '%H:%M %p' is not a time"),
            ("10:00 and", "%H:%M", "'10:00 and' using format '%H:%M' is not a time"),
            ("23:59:60", "%X", "'23:59:60' using format '%X' is not a time"),
            ("2024-02-30", "%x", "'2024-02-30' using format '%x' is not a time"),
            ("10:00 Nowhere/Else", "%H:%M %Z", "is not a time"),
            ("1500", "%Y", "'1500' is beyond what a TIMESTAMP reaches"),
            ("10:00:01", "%H:%M:%S.%f", "is not a time"),
            ("10:00:01.", "%H:%M:%S.%f", "is not a time"),
            ("10:00:01.1234567", "%H:%M:%S.%f", "is not a time"),
            ("10:00:01.1234", "%H:%M:%S.%g", "is not a time"),
            ("10 +2", "%H %z", "is not a time"),
            ("10 +02:", "%H %z", "is not a time"),
            ("10 +023", "%H %z", "is not a time"),
            ("10 +0200:15", "%H %z", "is not a time"),
            ("10 02", "%H %z", "is not a time"),
            ("10 Z", "%H %z", "is not a time"),
            ("1", "%Q", "'%Q' is not a format of a time"),
            ("1", "%", "'%' is not a format of a time"),
            ("1", "%Z %Y", "'%Z %Y' is not a format of a time"),
        ] {
            let error = read(text, format).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
