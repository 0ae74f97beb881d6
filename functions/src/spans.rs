//! Text of intervals in the manner of DuckDB: `1 year 2 months 3 days 17:46:07.123`, also in JSON; and such
//! text as the engine reads it.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType};
use arrow_array::{Array, StringArray};
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};
use arrow_schema::{ArrowError, DataType, FieldRef, IntervalUnit, TimeUnit};
use datafusion::scalar::ScalarValue;

/// Nanoseconds.
pub(super) const SECOND: i128 = 1_000_000_000;
pub(super) const DAY: i128 = 86_400 * SECOND;

/// Whether a type is of spans of time.
pub fn is_span(of: &DataType) -> bool {
    matches!(of, DataType::Interval(_) | DataType::Duration(_))
}

/// Whether values of a type are intervals, or have some in them.
pub fn has_intervals(of: &DataType) -> bool {
    match of {
        DataType::Interval(_) => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_intervals(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_intervals(field.data_type())),
        _ => false,
    }
}

pub(super) fn nanos(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => SECOND,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// The texts of spans. What lies between two times is given in days; an interval as it was written.
pub(super) fn texts(spans: &dyn Array) -> Result<StringArray, ArrowError> {
    if let DataType::Duration(unit) = spans.data_type() {
        let each = nanos(*unit);
        let counts = arrow_cast::cast(spans, &DataType::Int64)?;
        let text = |count: i64| {
            let nanos = i128::from(count) * each;
            text(0, nanos / DAY, nanos % DAY)
        };
        return Ok(counts.as_primitive::<Int64Type>().iter().map(|count| count.map(text)).collect());
    }
    let intervals = arrow_cast::cast(spans, &DataType::Interval(IntervalUnit::MonthDayNano))?;
    let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
    let texts = intervals.iter().map(|interval| {
        interval.map(|span| text(span.months, i128::from(span.days), i128::from(span.nanoseconds)))
    });
    Ok(texts.collect())
}

fn text(months: i32, days: i128, nanos: i128) -> String {
    let mut parts = Vec::new();
    for (count, unit) in
        [(i128::from(months / 12), "year"), (i128::from(months % 12), "month"), (days, "day")]
    {
        let plural = if count.abs() == 1 { "" } else { "s" };
        if count != 0 {
            parts.push(format!("{count} {unit}{plural}"));
        }
    }
    if nanos != 0 || parts.is_empty() {
        let sign = if nanos < 0 { "-" } else { "" };
        let seconds = nanos.abs() / SECOND;
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let mut clock = format!("{sign}{hours:02}:{minutes:02}:{seconds:02}");
        let fraction = nanos.abs() % SECOND;
        if fraction != 0 {
            clock.push_str(format!(".{fraction:09}").trim_end_matches('0'));
        }
        parts.push(clock);
    }
    parts.join(" ")
}

/// The interval of a text with units, as the engine reads it.
pub(super) fn written(interval: &str) -> Option<IntervalMonthDayNano> {
    let of = DataType::Interval(IntervalUnit::MonthDayNano);
    match ScalarValue::try_from_string(interval.to_owned(), &of) {
        Ok(ScalarValue::IntervalMonthDayNano(span)) => span.filter(|_| interval.parse::<f64>().is_err()),
        _ => None,
    }
}

/// Whether a text is an interval that has months, or years and other units of them.
pub fn has_months(interval: &str) -> bool {
    let usual = usual_interval(interval);
    written(usual.as_deref().unwrap_or(interval)).is_some_and(|span| span.months != 0)
}

/// The text of an interval as the engine reads it, if that is another one.
pub fn usual_interval(interval: &str) -> Option<String> {
    let smaller = in_smaller_units(interval);
    without_clock(smaller.as_deref().unwrap_or(interval)).or(smaller)
}

/// The text of an interval with units that the engine lacks: `2 quarters` as `6 months`.
fn in_smaller_units(interval: &str) -> Option<String> {
    let mut parts: Vec<String> = interval.split_whitespace().map(str::to_owned).collect();
    let mut changed = false;
    for at in 1..parts.len() {
        let [count, unit] = parts.get_mut(at - 1..=at)? else { return None };
        let (smaller, times) = match unit.to_ascii_lowercase().as_str() {
            "quarter" | "quarters" => ("months", 3),
            "millennium" | "millenniums" | "millennia" => ("years", 1000),
            _ => continue,
        };
        *count = multiplied(count, times)?;
        smaller.clone_into(unit);
        changed = true;
    }
    changed.then(|| parts.join(" "))
}

/// A written number so many times, of a fraction to nine digits.
pub fn multiplied(count: &str, times: i32) -> Option<String> {
    if let Ok(count) = count.parse::<i64>() {
        return Some(count.checked_mul(times.into())?.to_string());
    }
    let count = count.parse::<f64>().ok().filter(|count| count.is_finite())?;
    Some(((count * f64::from(times) * 1e9).round() / 1e9).to_string())
}

/// The text of an interval whose hours, minutes and seconds are written like those of a clock, with their
/// units: `1 day 01:30` as `1 day 01 hours 30 minutes`.
fn without_clock(interval: &str) -> Option<String> {
    let (before, clock) = match interval.trim().rsplit_once(' ') {
        Some((before, clock)) => (format!("{before} "), clock),
        None => (String::new(), interval.trim()),
    };
    let (sign, clock) = match clock.strip_prefix('-') {
        Some(clock) => ("-", clock),
        None => ("", clock),
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let is_number =
        |part: &&str| part.starts_with(|c: char| c.is_ascii_digit()) && part.parse::<f64>().is_ok();
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(is_number) {
        return None;
    }
    let units = ["hours", "minutes", "seconds"];
    let each = parts.iter().zip(units).map(|(part, unit)| format!("{sign}{part} {unit}"));
    Some(before + &each.collect::<Vec<_>>().join(" "))
}

/// Writes intervals as text in JSON.
#[derive(Debug)]
pub struct IntervalTexts;

impl EncoderFactory for IntervalTexts {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        if !is_span(array.data_type()) {
            return Ok(None);
        }
        let texts = SpanTexts(texts(array)?);
        Ok(Some(NullableEncoder::new(Box::new(texts), array.nulls().cloned())))
    }
}

struct SpanTexts(StringArray);

impl Encoder for SpanTexts {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        // Digits, letters and colons: nothing to escape.
        out.extend_from_slice(format!("\"{}\"", self.0.value(row)).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{DurationMicrosecondArray, IntervalMonthDayNanoArray};

    use super::*;

    #[test]
    fn clocks_in_intervals_have_units() {
        for (written, expected) in [
            ("1 day 01:00:00", Some("1 day 01 hours 00 minutes 00 seconds")),
            ("-1:30", Some("-1 hours -30 minutes")),
            ("2 days 3:4:5.25", Some("2 days 3 hours 4 minutes 5.25 seconds")),
            ("3 days", None),
            ("1 day 5", None),
            ("1:2:3:4", None),
            ("a:b", None),
        ] {
            assert_eq!(without_clock(written).as_deref(), expected);
        }
    }

    #[test]
    fn intervals_have_units_of_the_engine() {
        for (written, expected) in [
            ("1 quarter", Some("3 months")),
            ("-2 Quarters 1 day 01:30", Some("-6 months 1 day 01 hours 30 minutes")),
            ("1 millennium 2 months", Some("1000 years 2 months")),
            ("2 millennia", Some("2000 years")),
            ("1.5 quarters -0.1 quarters", Some("4.5 months -0.3 months")),
            ("half quarter", None),
            ("3 months", None),
        ] {
            assert_eq!(usual_interval(written).as_deref(), expected);
        }
    }

    #[test]
    fn intervals_of_months_are_known_by_all_names_of_their_units() {
        for interval in [
            "1 mon",
            "2 MONTHS",
            "1 yr",
            "3 y",
            "1 decade",
            "1 cent",
            "1 millennium",
            "1 quarter",
            "1 day 1 mons",
        ] {
            assert!(has_months(interval), "{interval}");
        }
        for interval in ["1 day", "90 minutes", "1 m", "01:30", "0 years 3 days", "3", "month", ""] {
            assert!(!has_months(interval), "{interval}");
        }
    }

    #[test]
    fn spans_have_the_text_of_duckdb() {
        let span = IntervalMonthDayNano::new;
        let spans = IntervalMonthDayNanoArray::from(vec![
            Some(span(14, 398, 63_967_123_000_000)),
            Some(span(0, 0, 0)),
            Some(span(-14, 1, 0)),
            Some(span(0, -1, -129_600_000_000_000)),
            None,
        ]);
        let texts_of = |spans: &dyn Array| {
            texts(spans).unwrap().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        };
        let expected = [
            Some("1 year 2 months 398 days 17:46:07.123"),
            Some("00:00:00"),
            Some("-1 year -2 months 1 day"),
            Some("-1 day -36:00:00"),
            None,
        ];
        assert_eq!(texts_of(&spans), expected.map(|text| text.map(str::to_owned)));
        let between = DurationMicrosecondArray::from(vec![176_400_000_000, -1]);
        let expected = ["2 days 01:00:00", "-00:00:00.000001"];
        assert_eq!(texts_of(&between), expected.map(|text| Some(text.to_owned())));
    }
}
