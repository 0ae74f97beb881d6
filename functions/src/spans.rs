//! Text of intervals in the manner of DuckDB: `1 year 2 months 3 days 17:46:07.123`, also in JSON.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, IntervalMonthDayNanoType};
use arrow_array::{Array, StringArray};
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};
use arrow_schema::{ArrowError, DataType, FieldRef, IntervalUnit, TimeUnit};

/// Nanoseconds.
const SECOND: i128 = 1_000_000_000;
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
    use arrow_array::types::IntervalMonthDayNano;
    use arrow_array::{DurationMicrosecondArray, IntervalMonthDayNanoArray};

    use super::*;

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
