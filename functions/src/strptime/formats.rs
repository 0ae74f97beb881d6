//! Formats of DuckDB: in the letters of the engine to write times by them, and in parts to read them.
//!
//! The engine reads a fraction without a point only if it has all digits, and an offset only with its
//! minutes.

use std::sync::Arc;

use arrow_array::{Array, StringArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use chrono::format::{Item, StrftimeItems};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ColumnarValue;
use datafusion::scalar::ScalarValue;

/// What stands behind `%` for an offset in a format to write by. The engine only reads by it, so that nothing
/// else stands so in such a format.
const OFFSET: &str = "#z";

/// The signs of a format, and behind each `%` its letter.
fn signs(format: &str) -> impl Iterator<Item = (char, Option<char>)> {
    let mut signs = format.chars();
    std::iter::from_fn(move || {
        let sign = signs.next()?;
        Some((sign, if sign == '%' { signs.next() } else { None }))
    })
}

/// Puts a sign behind what the engine has of a format.
fn put(engine: &mut String, sign: char, letter: Option<char>) {
    match letter {
        Some('c') => engine.push_str("%Y-%m-%d %H:%M:%S"),
        Some('x') => engine.push_str("%Y-%m-%d"),
        Some('X') => engine.push_str("%H:%M:%S"),
        letter => {
            engine.push(sign);
            engine.extend(letter);
        }
    }
}

/// A format in the letters of the engine, to write a time by it.
pub fn engine_format(format: &str) -> String {
    let mut engine = String::with_capacity(format.len() + 8);
    for (sign, letter) in signs(format) {
        match letter {
            Some('f') => engine.push_str("%6f"),
            Some('g') => engine.push_str("%3f"),
            Some('n') => engine.push_str("%9f"),
            Some('z') => engine.extend(["%", OFFSET]),
            letter => put(&mut engine, sign, letter),
        }
    }
    engine
}

/// Formats of the engine for these times, one for all or one for each, with what DuckDB writes for their
/// offsets and their zone: for those without a zone the engine has neither.
pub(crate) fn of_times(format: &str, times: &ColumnarValue) -> DfResult<ColumnarValue> {
    let ty = times.data_type();
    let zone = match &ty {
        DataType::Timestamp(_, zone) => zone.as_deref().unwrap_or_default(),
        _ => "",
    };
    let zone = if zone == "+00:00" { "UTC" } else { zone };
    if matches!(zone, "" | "UTC") || !format.contains(OFFSET) {
        return Ok(ColumnarValue::Scalar(ScalarValue::from(with_zone(format, "+00", zone))));
    }
    let times = times.to_array(1)?;
    let options = FormatOptions::new().with_timestamp_tz_format(Some("%::z"));
    let offsets = ArrayFormatter::try_new(&times, &options)?;
    let format = |row: usize| -> DfResult<Option<String>> {
        if times.is_null(row) {
            return Ok(None);
        }
        let offset = offsets.value(row).try_to_string()?;
        Ok(Some(with_zone(format, offset.trim_end_matches(":00"), zone)))
    };
    let formats = (0..times.len()).map(format).collect::<DfResult<StringArray>>()?;
    Ok(ColumnarValue::Array(Arc::new(formats)))
}

/// A format of the engine with an offset and a zone as they are written.
fn with_zone(format: &str, offset: &str, zone: &str) -> String {
    let (mut engine, mut rest) = (String::with_capacity(format.len()), format);
    while let Some((before, behind)) = rest.split_once('%') {
        engine.push_str(before);
        rest = if let Some(rest) = behind.strip_prefix(OFFSET) {
            engine.push_str(offset);
            rest
        } else if let Some(rest) = behind.strip_prefix('Z') {
            engine.push_str(zone);
            rest
        } else {
            let mut signs = behind.chars();
            engine.push('%');
            engine.extend(signs.next());
            signs.as_str()
        };
    }
    engine + rest
}

/// Whether a format has an offset or a zone: what is read by it is an instant.
pub fn has_zone(format: &str) -> bool {
    signs(format).any(|(_, letter)| matches!(letter, Some('z' | 'Z')))
}

/// A part of a format.
pub(super) enum FormatPart {
    /// One that the engine reads.
    Engine(Item<'static>),
    /// The digits of a fraction of a second, so many at most.
    Fraction(usize),
    /// An offset from UTC: `+02`, `+0230`, `+02:30` or `+02:30:15`.
    Offset,
}

impl FormatPart {
    /// The parts of a format; `None` of what is none.
    pub(super) fn all(format: &str) -> Option<Vec<Self>> {
        let (mut parts, mut engine) = (Vec::new(), String::new());
        for (sign, letter) in signs(format) {
            let part = match letter {
                Some('f') => Self::Fraction(6),
                Some('g') => Self::Fraction(3),
                Some('n') => Self::Fraction(9),
                Some('z') => Self::Offset,
                letter => {
                    put(&mut engine, sign, letter);
                    continue;
                }
            };
            parts.extend(engine_parts(&engine)?);
            parts.push(part);
            engine.clear();
        }
        parts.extend(engine_parts(&engine)?);
        Some(parts)
    }
}

fn engine_parts(format: &str) -> Option<Vec<FormatPart>> {
    let items = StrftimeItems::new(format).parse_to_owned().ok()?;
    Some(items.into_iter().map(FormatPart::Engine).collect())
}

/// The digits that a text begins with, so many at most, and what stands behind them.
fn digits(text: &str, most: usize) -> (&str, &str) {
    text.split_at(text.bytes().take(most).take_while(u8::is_ascii_digit).count())
}

/// The nanoseconds of the fraction that a text begins with, of so many digits at most, and what stands behind
/// it.
pub(super) fn fraction(text: &str, most: usize) -> Option<(i64, &str)> {
    let (fraction, rest) = digits(text, most);
    let nanos = format!("{fraction:0<9}").parse().ok().filter(|_| !fraction.is_empty())?;
    Some((nanos, rest))
}

/// The seconds of an offset that a text begins with, and what stands behind it.
pub(super) fn offset(text: &str) -> Option<(i64, &str)> {
    let (sign, hours) = match text.strip_prefix('-') {
        Some(hours) => (-1, hours),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, rest) = two_digits(hours)?;
    let (minutes, seconds, rest) = match rest.strip_prefix(':') {
        Some(minutes) => {
            let (minutes, rest) = two_digits(minutes)?;
            let (seconds, rest) = rest.strip_prefix(':').map_or(Some((0, rest)), two_digits)?;
            (minutes, seconds, rest)
        }
        None if rest.starts_with(|sign: char| sign.is_ascii_digit()) => {
            let (minutes, rest) = two_digits(rest)?;
            (minutes, 0, rest)
        }
        None => (0, 0, rest),
    };
    Some((sign * (hours * 3600 + minutes * 60 + seconds), rest))
}

fn two_digits(text: &str) -> Option<(i64, &str)> {
    let (number, rest) = digits(text, 2);
    Some((number.parse().ok().filter(|_| number.len() == 2)?, rest))
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;

    use super::*;

    #[test]
    fn formats_to_write_by_have_the_letters_of_the_engine() {
        for (format, engine) in [
            ("%Y-%m", "%Y-%m"),
            ("%-d %c", "%-d %Y-%m-%d %H:%M:%S"),
            ("%X.%g %f%%f %n", "%H:%M:%S.%3f %6f%%f %9f"),
            ("%x %z %%z", "%Y-%m-%d %#z %%z"),
            ("%", "%"),
        ] {
            assert_eq!(engine_format(format), engine);
        }
    }

    #[test]
    fn offsets_and_zones_are_written_as_in_duckdb() {
        let time = |at: i64, zone: &str| {
            ScalarValue::TimestampSecond(Some(at), (!zone.is_empty()).then(|| zone.into()))
        };
        for (time, written) in [
            (time(0, ""), "%H +00  %%Z %"),
            (ScalarValue::Date32(Some(0)), "%H +00  %%Z %"),
            (time(0, "UTC"), "%H +00 UTC %%Z %"),
            (time(0, "+00:00"), "%H +00 UTC %%Z %"),
            (time(0, "Europe/Berlin"), "%H +01 Europe/Berlin %%Z %"),
            (time(1_720_000_000, "Europe/Berlin"), "%H +02 Europe/Berlin %%Z %"),
            (time(-2_500_000_000, "Europe/Berlin"), "%H +00:53:28 Europe/Berlin %%Z %"),
            (time(0, "Asia/Kolkata"), "%H +05:30 Asia/Kolkata %%Z %"),
        ] {
            let format = of_times("%H %#z %Z %%Z %", &ColumnarValue::Scalar(time)).unwrap();
            assert_eq!(format.to_array(1).unwrap().as_string::<i32>().value(0), written);
        }
    }

    #[test]
    fn a_zone_in_a_format_is_one_of_its_letters() {
        for (format, has) in [("%H %z", true), ("%Z", true), ("%H%%z", false), ("%%%z", true), ("z%", false)]
        {
            assert_eq!(has_zone(format), has, "{format}");
        }
    }
}
