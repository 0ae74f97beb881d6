//! Growth of values by functions: the most that one makes of its arguments, row by row, known beforehand.

use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ColumnarValue;
use gstore_functions::MAX_PRINTED;

use super::sizes::{
    NUMBER, PerRow, bytes, counts, instants, json, leaves, numbers, of_texts, scalar_bytes, spans,
};

/// How the result of a function grows with its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Growth {
    /// The first argument, as often as the second says.
    Repeat,
    /// As many characters as the second argument says.
    Pad,
    /// A list with the first argument, as often as the second says.
    Elements,
    /// The list, filled up to as many elements as the second argument says.
    Resize,
    /// The numbers or instants from one to another.
    Range,
    /// All arguments, this many times.
    Sum(u64),
    /// All arguments but the first, with the first between them.
    Joined,
    /// The elements of a list as text, with the other arguments between them.
    Text,
    /// All arguments as JSON.
    Json,
    /// The same of what is no text; a text stays as it is.
    Document,
    /// The first argument with the third in the place of each occurrence of the second.
    Replace,
    /// The first argument with the third, which may repeat parts of it, in the place of each match.
    Matches,
    /// A list of the parts of the first argument that match the second, a pattern.
    AllMatches,
    /// The first argument once for each group of the second, a pattern.
    Groups,
    /// The other arguments in the places that the first, a format, has for them.
    Formatted,
    /// The list with the last argument in the place of elements.
    Exchange,
    /// The elements of the list, each with a number.
    Counted,
    /// Nothing that grows, but work: each part of the first argument is compared with each of the second.
    Pairs,
}

/// The functions that can make much of little, or twice of what they are given: such calls can be nested.
/// Those that [take long](Growth::takes_long) do so for little.
pub(super) const FUNCTIONS: &[(&str, Growth)] = &[
    ("repeat", Growth::Repeat),
    ("lpad", Growth::Pad),
    ("rpad", Growth::Pad),
    ("array_repeat", Growth::Elements),
    ("array_resize", Growth::Resize),
    ("range", Growth::Range),
    ("generate_series", Growth::Range),
    ("concat", Growth::Sum(1)),
    ("concat_ws", Growth::Joined),
    ("overlay", Growth::Sum(1)),
    ("translate", Growth::Sum(4)),
    ("encode", Growth::Sum(2)),
    ("hex", Growth::Sum(2)),
    ("to_char", Growth::Sum(32)),
    ("string_to_array", Growth::Sum(6)),
    ("json_elements", Growth::Sum(6)),
    ("to_json", Growth::Json),
    ("as_json", Growth::Document),
    ("try_as_json", Growth::Document),
    ("json_object", Growth::Json),
    ("json_array", Growth::Json),
    ("regexp_extract_all", Growth::AllMatches),
    ("replace", Growth::Replace),
    ("regexp_replace", Growth::Matches),
    ("regexp_match", Growth::Groups),
    ("printf", Growth::Formatted),
    ("format", Growth::Formatted),
    ("make_array", Growth::Sum(1)),
    ("array_append", Growth::Sum(1)),
    ("array_prepend", Growth::Sum(1)),
    ("array_concat", Growth::Sum(1)),
    ("array_union", Growth::Sum(1)),
    ("arrays_zip", Growth::Sum(1)),
    ("map", Growth::Sum(1)),
    ("array_to_string", Growth::Text),
    ("list_string_agg", Growth::Text),
    ("array_replace", Growth::Exchange),
    ("array_replace_n", Growth::Exchange),
    ("array_replace_all", Growth::Exchange),
    ("list_histogram", Growth::Counted),
    ("levenshtein", Growth::Pairs),
    ("jaro_similarity", Growth::Pairs),
    ("jaro_winkler_similarity", Growth::Pairs),
    ("array_has_all", Growth::Pairs),
    ("array_has_any", Growth::Pairs),
    ("json_contains", Growth::Pairs),
];

/// Bytes of an element of a list, without those of its value.
const ELEMENT: u64 = 16;
/// The same where a format asks for all digits before the point, with what stands between groups of three.
const FIXED: u64 = 420;
/// The same where it asks for none of these, and may ask for bits.
const BITS: u64 = 180;

/// How a function of this name grows.
pub(super) fn of(function: &str) -> Option<Growth> {
    FUNCTIONS.iter().find(|(name, _)| *name == function).map(|(_, growth)| *growth)
}

impl Growth {
    /// Whether a batch of rows may take minutes, so that a statement has to be stopped within one.
    pub(super) fn takes_long(self) -> bool {
        matches!(self, Self::Pairs | Self::Matches | Self::AllMatches | Self::Groups)
    }

    /// Most bytes that a call makes for each of its rows, which are at least those of its arguments:
    /// functions may repeat constants. Calls with too few arguments, which the function refuses, make none.
    pub(super) fn bytes(self, args: &[ColumnarValue], rows: usize) -> DfResult<Vec<u64>> {
        let sizes: Vec<_> = args.iter().map(bytes).collect();
        let mut made = self.made(args, &sizes, rows)?;
        for (row, made) in made.iter_mut().enumerate() {
            *made = (*made).max(sizes.iter().fold(0u64, |sum, sizes| sum.saturating_add(sizes.at(row))));
        }
        Ok(made)
    }

    fn made(self, args: &[ColumnarValue], sizes: &[PerRow<u64>], rows: usize) -> DfResult<Vec<u64>> {
        let arg = |place: usize| args.get(place);
        let at = |place: usize, row: usize| sizes.get(place).map_or(0, |sizes| sizes.at(row));
        let total = |row: usize| sizes.iter().fold(0u64, |sum, s| sum.saturating_add(s.at(row)));
        let of_rows = |bytes: &dyn Fn(usize) -> u64| (0..rows).map(bytes).collect::<Vec<u64>>();
        Ok(match self {
            Self::Sum(times) => {
                let frame = ELEMENT * args.len() as u64;
                of_rows(&|row| total(row).saturating_add(frame).saturating_mul(times))
            }
            Self::Joined => {
                let more = args.len().saturating_sub(2) as u64;
                of_rows(&|row| total(row).saturating_add(at(0, row).saturating_mul(more)))
            }
            Self::Replace => of_rows(&|row| {
                let found = match at(1, row) {
                    0 => at(0, row).saturating_add(1),
                    part => at(0, row) / part,
                };
                at(0, row).saturating_add(found.saturating_mul(at(2, row)))
            }),
            Self::Matches => {
                let all = args.len() > 3;
                let parts = arg(2).and_then(references);
                of_rows(&|row| {
                    let (text, new) = (at(0, row), at(2, row));
                    let found = if all { text.saturating_add(1) } else { 1 };
                    let repeated = text.saturating_mul(parts.unwrap_or(new / 2));
                    text.saturating_add(found.saturating_mul(new)).saturating_add(repeated)
                })
            }
            Self::AllMatches => Self::Sum(6).made(args, sizes, rows)?,
            Self::Groups => {
                let groups = arg(1).map_or(1, groups);
                of_rows(&|row| at(0, row).saturating_add(ELEMENT).saturating_mul(groups))
            }
            Self::Formatted => {
                let Some(format) = arg(0) else { return Ok(Vec::new()) };
                let formats = of_texts(format, formatted);
                of_rows(&|row| {
                    let Places { bytes, values } = formats.at(row);
                    bytes.saturating_add(values.saturating_mul(total(row)))
                })
            }
            Self::Repeat | Self::Pad | Self::Elements | Self::Resize => {
                let Some(wanted) = arg(1) else { return Ok(Vec::new()) };
                let wanted = counts(wanted)?;
                of_rows(&|row| match self {
                    Self::Repeat => wanted.at(row).saturating_mul(at(0, row)),
                    Self::Pad => wanted.at(row).saturating_mul(4),
                    Self::Elements => wanted.at(row).saturating_mul(at(0, row).saturating_add(ELEMENT / 2)),
                    _ => {
                        let filled = wanted.at(row).saturating_mul(at(2, row).saturating_add(ELEMENT));
                        filled.saturating_add(at(0, row))
                    }
                })
            }
            Self::Text | Self::Exchange | Self::Counted => {
                let Some(list) = arg(0) else { return Ok(Vec::new()) };
                let leaves = leaves(list)?;
                let number = if self == Self::Text { NUMBER } else { ELEMENT };
                of_rows(&|row| {
                    let each = (1..args.len()).fold(number, |sum, place| sum.saturating_add(at(place, row)));
                    at(0, row).saturating_add(leaves.at(row).saturating_mul(each))
                })
            }
            Self::Json => {
                let values = args.iter().map(json).collect::<DfResult<Vec<_>>>()?;
                // A comma or a colon behind each, and what stands around all.
                let each = |sum: u64, value: u64| sum.saturating_add(value).saturating_add(1);
                of_rows(&|row| values.iter().map(|value| value.at(row)).fold(2, each))
            }
            Self::Document if arg(0).is_some_and(|of| of.data_type() == DataType::Utf8) => vec![0; rows],
            Self::Document => Self::Json.made(args, sizes, rows)?,
            Self::Range => range(args, rows)?,
            // A yes or no, or a number.
            Self::Pairs => vec![0; rows],
        })
    }
}

/// Most comparisons that a call with these arguments takes for each of its rows.
pub(super) fn pairs(args: &[ColumnarValue], rows: usize) -> DfResult<Vec<u64>> {
    let [first, second, ..] = args else { return Ok(vec![0; rows]) };
    let (first, second) = (parts(first)?, parts(second)?);
    Ok((0..rows).map(|row| first.at(row).saturating_mul(second.at(row))).collect())
}

/// Elements of an argument that is a list, bytes of any other.
fn parts(value: &ColumnarValue) -> DfResult<PerRow<u64>> {
    match value.data_type() {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => leaves(value),
        _ => Ok(bytes(value)),
    }
}

/// How often a replacement that is a constant refers to parts of its match.
fn references(new: &ColumnarValue) -> Option<u64> {
    match new {
        ColumnarValue::Scalar(scalar) => {
            let text = scalar.try_as_str()?.unwrap_or_default();
            Some(text.bytes().filter(|byte| matches!(byte, b'\\' | b'$')).count() as u64)
        }
        ColumnarValue::Array(_) => None,
    }
}

/// What the places of a format take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Places {
    /// Bytes besides those of texts.
    bytes: u64,
    values: u64,
}

/// The places of a format, with the widths that they ask for and the digits of the longest number.
fn formatted(format: &str) -> Places {
    let values = format.matches(['%', '{']).count() as u64;
    let number = if format.contains(['f', 'F']) { FIXED } else { BITS };
    let widths = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let width = |digits: &str| digits.parse().unwrap_or(usize::MAX).min(MAX_PRINTED) as u64;
    // What fills a width up has up to four bytes.
    let widths = widths.fold(0u64, |sum, digits| sum.saturating_add(4 * width(digits)));
    let bytes = (format.len() as u64).saturating_add(widths).saturating_add(values.saturating_mul(number));
    Places { bytes, values }
}

/// Groups of a pattern, and itself; a pattern that is a column is taken for one of nothing but groups.
fn groups(pattern: &ColumnarValue) -> u64 {
    match pattern {
        ColumnarValue::Scalar(scalar) => match scalar.try_as_str() {
            Some(Some(text)) => 1 + text.matches('(').count() as u64,
            _ => 1 + scalar_bytes(scalar),
        },
        ColumnarValue::Array(array) => {
            let sizes = bytes(pattern);
            1 + (0..array.len()).map(|row| sizes.at(row)).max().unwrap_or(0)
        }
    }
}

/// Bytes of a list of numbers, dates or instants, 8 for each.
fn range(args: &[ColumnarValue], rows: usize) -> DfResult<Vec<u64>> {
    let [first, rest @ ..] = args else { return Ok(Vec::new()) };
    let ty = first.data_type();
    if ty.is_integer() || ty.is_null() {
        let (from, to) = match rest.first() {
            Some(to) => (Some(numbers(first)?), numbers(to)?),
            None => (None, numbers(first)?),
        };
        let step = rest.get(1).map(numbers).transpose()?;
        return Ok((0..rows)
            .map(|row| {
                let from = from.as_ref().map_or(0, |from| from.at(row));
                let step = step.as_ref().map_or(1, |step| step.at(row));
                let down = (step < 0) != (to.at(row) < from);
                let steps = from.abs_diff(to.at(row)) / step.unsigned_abs().max(1);
                if down { 8 } else { steps.saturating_add(1).saturating_mul(8) }
            })
            .collect());
    }
    let [to, step] = rest else { return Ok(Vec::new()) };
    let (from, to, step) = (instants(first)?, instants(to)?, spans(step)?);
    // A step of nothing is refused by the function; the shortest is a nanosecond. `as` saturates.
    let steps = |row: usize| ((to.at(row) - from.at(row)).abs() / step.at(row).max(1e-6)) as u64;
    Ok((0..rows).map(|row| steps(row).saturating_add(1).saturating_mul(8)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int64Type;
    use arrow_array::{ArrayRef, Int64Array, ListArray, StringArray};
    use datafusion::scalar::ScalarValue;

    use super::*;

    fn text(value: &str) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::Utf8(Some(value.to_owned())))
    }

    fn number(value: i64) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(value)))
    }

    #[test]
    fn estimates_are_not_below_what_is_made() {
        let of = |growth: Growth, args: &[ColumnarValue]| growth.bytes(args, 1).unwrap()[0];
        assert_eq!(of(Growth::Repeat, &[text("ab"), number(1000)]), 2000);
        assert_eq!(of(Growth::Repeat, &[text("ab"), number(-1)]), 10);
        assert_eq!(of(Growth::Repeat, &[text("abc"), number(i64::MAX)]), u64::MAX);
        assert_eq!(of(Growth::Pad, &[text("ab"), number(1000)]), 4000);
        assert_eq!(of(Growth::Matches, &[text("aaaa"), text("a"), text("bcd"), text("g")]), 19);
        assert_eq!(of(Growth::Matches, &[text("aaaa"), text("a"), text("\\1\\1"), text("g")]), 32);
        assert_eq!(of(Growth::Replace, &[text("aaaa"), text("a"), text("123")]), 16);
        assert_eq!(of(Growth::Replace, &[text("aaaa"), text(""), text("123")]), 19);
        assert_eq!(of(Growth::Range, &[number(10)]), 88);
        assert_eq!(of(Growth::Range, &[number(5), number(-55), number(-5)]), 104);
        assert_eq!(of(Growth::Range, &[number(5), number(1)]), 16);
        assert!(of(Growth::Range, &[number(i64::MIN), number(i64::MAX)]) > 1 << 62);
        assert_eq!(of(Growth::Groups, &[text("aa"), text("((a)(a))")]), 72);
        let list: ArrayRef =
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), Some(2)])]));
        assert_eq!(of(Growth::Counted, &[ColumnarValue::Array(list)]), 64);
        assert_eq!(formatted("%d of %s"), Places { bytes: 8 + 2 * FIXED, values: 2 });
        assert_eq!(formatted("{:>20}{:.2f}"), Places { bytes: 12 + 4 * 22 + 2 * FIXED, values: 2 });
        assert_eq!(of(Growth::Formatted, &[text("%s%s"), text("abc")]), 4 + 2 * BITS + 2 * 7);
        assert_eq!(pairs(&[text("abc"), text("abcd")], 2).unwrap(), [12, 12]);
        assert_eq!(of(Growth::Joined, &[text("--"), text("a"), text("b"), text("c")]), 9);
    }

    #[test]
    fn each_row_has_its_own() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("ccc")]));
        let counts: ArrayRef = Arc::new(Int64Array::from(vec![Some(10), Some(10), None]));
        let args = [ColumnarValue::Array(texts), ColumnarValue::Array(counts)];
        assert_eq!(Growth::Repeat.bytes(&args, 3).unwrap(), [10, 8, 11]);
    }
}
