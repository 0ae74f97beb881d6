//! A picture of the result of a statement, by the types of its columns.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, TimeUnit};

use super::super::calendar::{DAY, Part, written};
use super::super::{Axis, Body, Histogram, Panel, Picture, Series, Token};
use super::bins::Bins;
use super::{cell, counted, drawable, too_large};
use crate::answer::AnswerError;

/// Rows that have bars of their own, at most.
const BARS: usize = 60;

/// Tokens that are drawn, at most.
const TOKENS: usize = 4096;

/// Columns that are numbers and mean nothing in a picture.
const KEYS: [&str; 3] = ["row", "pos", "target_row"];

/// Places on an axis, each with its row.
type Places = Vec<(f64, usize)>;

struct NamedColumn {
    name: String,
    values: Vec<f64>,
}

/// A column whose values label the rows.
struct LabelColumn<'n> {
    at: usize,
    name: &'n str,
    is_text: bool,
}

/// A result as the first of these that fits its columns:
/// - tokens with values: a text in colours
/// - numbers behind a single date or time, which differs in all rows: lines over time
/// - numbers of rows that are labelled by texts, dates, times or booleans, or of a single row: bars
/// - several columns of numbers, of which the first ascends where it is known: lines over it
/// - else the distribution of one column of numbers, `score` if there is one
///
/// # Errors
/// A result without a row or without a number.
pub fn table(batches: &[RecordBatch]) -> Result<Picture, AnswerError> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let Some(first) = batches.first().filter(|_| rows > 0) else {
        return Err(AnswerError::Refused("the result has no rows, so there is nothing to draw".to_owned()));
    };
    let schema = first.schema();
    let (mut numbers, mut categories, mut front) = (Vec::new(), Vec::new(), None);
    for (i, field) in schema.fields().iter().enumerate() {
        if field.data_type().is_numeric() && !KEYS.contains(&field.name().as_str()) {
            let mut values = Vec::with_capacity(rows);
            for batch in batches {
                values.extend(floats(batch.column(i))?);
            }
            numbers.push(NamedColumn { name: field.name().clone(), values });
            front.get_or_insert(categories.len());
        } else if is_category(field.data_type()) {
            categories.push(LabelColumn { at: i, name: field.name(), is_text: is_text(field.data_type()) });
        }
    }
    let score = numbers.iter().position(|column| column.name == "score").or(numbers.len().checked_sub(1));
    let Some(score) = score else {
        return Err(AnswerError::Refused(
            "no column of the result is a number, so there is nothing to draw".to_owned(),
        ));
    };
    let token = categories.iter().find(|column| column.is_text && column.name == "token");
    let names = naming(&categories, front.unwrap_or_default());
    let has_text = categories.iter().any(|column| column.is_text);
    let times = match (names, &categories[..]) {
        ([only], [_]) => times(batches, only)?,
        _ => None,
    };
    let mut notes = Vec::new();
    let body = match (token, times, ascending(&numbers[0].values)) {
        (Some(token), ..) if rows <= TOKENS => {
            let tokens = cells(batches, token.at)?.into_iter().zip(&numbers[score].values);
            Body::Tokens(tokens.map(|(text, value)| Token { text, value: Some(*value) }).collect())
        }
        (_, Some((x, places)), _) => {
            notes.extend(left_out(rows - places.len(), "a time"));
            lines(x, &places, &numbers)
        }
        _ if !names.is_empty() && rows <= BARS => bars(labels(batches, names)?, &numbers),
        // One row has no distribution.
        _ if rows == 1 => Body::Bars {
            rows: numbers.iter().map(|column| (column.name.clone(), column.values.clone())).collect(),
            series: vec![String::new()],
            shares: false,
        },
        (_, _, Some(places)) if !has_text && numbers.len() > 1 => {
            notes.extend(left_out(rows - places.len(), &format!("`{}`", numbers[0].name)));
            lines(Axis::linear(&numbers[0].name), &places, &numbers[1..])
        }
        _ => histogram(&numbers, score),
    };
    let shown = match &body {
        Body::Histogram(_) | Body::Tokens(_) => &numbers[score..=score],
        _ => &numbers[..],
    };
    if let (Body::Histogram(_), [column]) = (&body, shown) {
        let without = column.values.iter().filter(|value| value.is_nan()).count();
        notes.extend(left_out(without, &format!("`{}`", column.name)));
    }
    let beyond =
        |column: &NamedColumn| too_large(&format!("`{}`", column.name), column.values.iter().copied());
    notes.extend(shown.iter().filter_map(beyond));
    let names: Vec<&str> = numbers.iter().map(|column| column.name.as_str()).collect();
    let heading = match &body {
        Body::Histogram(_) | Body::Tokens(_) | Body::Heat(_) => numbers[score].name.clone(),
        Body::Lines { y, .. } => y.name.clone(),
        Body::Bars { .. } => names.join(", "),
    };
    let rows = counted(rows as u64, "row");
    let title = format!("{heading} of {rows}");
    let about = format!("A picture of {rows} with the columns {}.", names.join(", "));
    Ok(Picture { title, about, panels: vec![Panel { heading, body, notes }] })
}

/// The columns that label the rows: the only one if it is a text, else the `front` columns before the first
/// number, unless a text stands behind it.
fn naming<'c, 'n>(categories: &'c [LabelColumn<'n>], front: usize) -> &'c [LabelColumn<'n>] {
    let (before, behind) = categories.split_at(front);
    match categories {
        [only] if only.is_text => categories,
        _ if behind.iter().any(|column| column.is_text) => &[],
        _ => before,
    }
}

fn is_category(kind: &DataType) -> bool {
    is_text(kind) || kind.is_temporal() || *kind == DataType::Boolean
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Values of a column of numbers: NaN where there is none, infinite where one is too large to draw.
fn floats(column: &ArrayRef) -> Result<Vec<f64>, AnswerError> {
    let column = cast(column, &DataType::Float64)?;
    Ok(column.as_primitive::<Float64Type>().iter().map(|value| value.map_or(f64::NAN, drawable)).collect())
}

fn cells(batches: &[RecordBatch], at: usize) -> Result<Vec<String>, AnswerError> {
    let of_batch = |batch: &RecordBatch| -> Result<Vec<String>, ArrowError> {
        (0..batch.num_rows()).map(|row| cell(batch.column(at), row)).collect()
    };
    Ok(batches.iter().map(of_batch).collect::<Result<Vec<_>, _>>()?.concat())
}

/// What each row is called.
fn labels(batches: &[RecordBatch], names: &[LabelColumn<'_>]) -> Result<Vec<String>, AnswerError> {
    let mut labels: Vec<String> = Vec::new();
    for column in names {
        let cells = cells(batches, column.at)?;
        labels = match labels.is_empty() {
            true => cells,
            false => labels.into_iter().zip(cells).map(|(label, cell)| format!("{label}, {cell}")).collect(),
        };
    }
    Ok(labels)
}

fn bars(labels: Vec<String>, numbers: &[NamedColumn]) -> Body {
    let rows = labels.into_iter().enumerate();
    let rows = rows.map(|(i, label)| (label, numbers.iter().map(|column| column.values[i]).collect()));
    let series = numbers.iter().map(|column| column.name.clone()).collect();
    Body::Bars { rows: rows.collect(), series, shares: false }
}

/// The places of the rows that have a number, if these ascend.
fn ascending(numbers: &[f64]) -> Option<Places> {
    let places: Places = numbers.iter().copied().zip(0..).filter(|(x, _)| !x.is_nan()).collect();
    (places.len() > 1 && places.is_sorted_by(|a, b| a.0 < b.0)).then_some(places)
}

fn left_out(rows: usize, without: &str) -> Option<String> {
    (rows > 0).then(|| format!("Left out: {} without {without}.", counted(rows as u64, "row")))
}

/// An axis of times, and the times of the rows that have one, in ascending order; none where two rows have
/// the same time, or the column holds durations.
fn times(batches: &[RecordBatch], column: &LabelColumn<'_>) -> Result<Option<(Axis, Places)>, AnswerError> {
    let (mut times, mut before, mut is_dated) = (Places::new(), 0_usize, true);
    for batch in batches {
        let values = batch.column(column.at);
        let kind = values.data_type();
        if seconds(0, kind).is_none() {
            return Ok(None);
        }
        is_dated = !matches!(kind, DataType::Time32(_) | DataType::Time64(_));
        let values = cast(values, &DataType::Int64)?;
        let values = values.as_primitive::<Int64Type>().iter().zip(before..);
        times.extend(values.filter_map(|(value, row)| Some((seconds(value?, kind)?, row))));
        before += batch.num_rows();
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    if times.len() < 2 || !times.is_sorted_by(|a, b| a.0 < b.0) {
        return Ok(None);
    }
    let ends = [times[0].0, times[times.len() - 1].0].map(|time| written(time, Part::Day, false));
    // Ticks may be times of a day.
    let name = match (is_dated, &ends) {
        (false, _) => column.name.to_owned(),
        (true, [first, last]) if first == last => format!("{}, {first}", column.name),
        (true, [first, last]) => format!("{}, {first} to {last}", column.name),
    };
    Ok(Some((Axis::time(&name), times)))
}

/// A date or a time of this type in seconds.
fn seconds(value: i64, kind: &DataType) -> Option<f64> {
    let unit = match kind {
        DataType::Date32 => return Some(value as f64 * DAY),
        DataType::Date64 => &TimeUnit::Millisecond,
        DataType::Timestamp(unit, _) | DataType::Time32(unit) | DataType::Time64(unit) => unit,
        _ => return None,
    };
    let in_a_second = match unit {
        TimeUnit::Second => 1.0,
        TimeUnit::Millisecond => 1e3,
        TimeUnit::Microsecond => 1e6,
        TimeUnit::Nanosecond => 1e9,
    };
    Some(value as f64 / in_a_second)
}

/// Lines over places of rows, in their order.
fn lines(x: Axis, places: &[(f64, usize)], columns: &[NamedColumn]) -> Body {
    let series = columns.iter().enumerate().map(|(colour, column)| {
        let points = places.iter().map(|(x, row)| [*x, column.values[*row]]);
        Series::new(&column.name, colour, points.collect())
    });
    let name = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    Body::Lines { x, y: Axis::linear(&name), series: series.collect() }
}

/// The distribution of a column, with the noise floor where the result has it.
fn histogram(numbers: &[NamedColumn], at: usize) -> Body {
    let mut bins = Bins::default();
    numbers[at].values.iter().filter(|value| value.is_finite()).for_each(|value| bins.add(*value));
    let (first, width, counts) = bins.intervals();
    let floors = numbers.iter().find(|column| column.name == "noise_floor" && numbers[at].name == "score");
    let band = floors.and_then(|column| {
        let mut known: Vec<f64> = column.values.iter().copied().filter(|value| value.is_finite()).collect();
        known.sort_unstable_by(f64::total_cmp);
        let floor = known.get(known.len() / 2).filter(|floor| **floor > 0.0)?;
        Some((-floor, *floor, "noise floor".to_owned()))
    });
    let (x, y) = (numbers[at].name.clone(), "rows".to_owned());
    Body::Histogram(Histogram { x, y, first, width, counts, band, marks: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BooleanArray, Date32Array, Float32Array, Float64Array, Int64Array, StringArray, Time32SecondArray,
        TimestampNanosecondArray,
    };

    use super::*;

    fn drawn(columns: &[(&str, ArrayRef)]) -> Result<Body, String> {
        let batch = RecordBatch::try_from_iter(columns.iter().map(|(n, c)| (*n, Arc::clone(c)))).unwrap();
        let picture = table(&[batch.slice(0, 1), batch.slice(1, batch.num_rows() - 1)]);
        picture.map_err(|error| error.to_string()).map(|mut picture| picture.panels.remove(0).body)
    }

    #[test]
    fn dates_and_booleans_before_the_numbers_name_the_rows() {
        let day: ArrayRef = Arc::new(Date32Array::from(vec![Some(0), Some(1), None]));
        let ok: ArrayRef = Arc::new(BooleanArray::from(vec![true, false, true]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        let n: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 5]));
        let names = |columns: &[(&str, &ArrayRef)]| {
            let columns: Vec<(&str, ArrayRef)> = columns.iter().map(|(n, c)| (*n, Arc::clone(c))).collect();
            match drawn(&columns).unwrap() {
                Body::Bars { rows, series, .. } => Some((
                    rows.into_iter().map(|(label, _)| label).collect::<Vec<_>>().join("; "),
                    series.len(),
                )),
                _ => None,
            }
        };
        let named = |labels: &str, series| Some((labels.to_owned(), series));
        // Lines need a day of its own for each row.
        let same: ArrayRef = Arc::new(Date32Array::from(vec![0, 0, 1]));
        assert_eq!(names(&[("day", &same), ("n", &n)]), named("1970-01-01; 1970-01-01; 1970-01-02", 1));
        let both = named("true, 1970-01-01; false, 1970-01-02; true, (none)", 1);
        assert_eq!(names(&[("ok", &ok), ("day", &day), ("n", &n)]), both);
        assert_eq!(names(&[("ok", &ok), ("n", &n), ("m", &n)]), named("true; false; true", 2));
        let both = named("1970-01-01, a; 1970-01-02, b; (none), c", 1);
        assert_eq!(names(&[("day", &day), ("source", &text), ("n", &n)]), both);
        assert_eq!(names(&[("source", &text), ("n", &n), ("day", &day)]), named("a; b; c", 1));
        // Behind the numbers they are what else is known of the row.
        assert_eq!(names(&[("step", &n), ("n", &n), ("ok", &ok)]), None);
    }

    #[test]
    fn numbers_of_days_and_times_are_lines_in_their_order() {
        let n: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 5]));
        let shown = |x: ArrayRef| match drawn(&[("at", x), ("n", Arc::clone(&n)), ("m", Arc::clone(&n))]) {
            Ok(Body::Lines { x, series, .. }) => (x, series[1].points.clone()),
            other => panic!("{other:?}"),
        };
        let days = shown(Arc::new(Date32Array::from(vec![Some(31), None, Some(0)])));
        assert_eq!(days, (Axis::time("at, 1970-01-01 to 1970-02-01"), vec![[0.0, 5.0], [31.0 * DAY, 1.0]]));
        let second = 1_000_000_000;
        let moments = TimestampNanosecondArray::from(vec![7 * second, 8 * second, second / 2]);
        let (axis, points) = shown(Arc::new(moments.with_timezone("+02:00")));
        assert_eq!(axis, Axis::time("at, 1970-01-01"));
        assert_eq!(points, [[0.5, 5.0], [7.0, 1.0], [8.0, 2.0]]);
        let (axis, points) = shown(Arc::new(Time32SecondArray::from(vec![3, 2, 1])));
        assert_eq!((axis, points[0]), (Axis::time("at"), [1.0, 5.0]));
        let picture = table(&[RecordBatch::try_from_iter([
            ("day", Arc::new(Date32Array::from(vec![Some(0), None, Some(1)])) as ArrayRef),
            ("n", n),
        ])
        .unwrap()])
        .unwrap();
        assert_eq!((picture.title.as_str(), picture.panels[0].heading.as_str()), ("n of 3 rows", "n"));
        assert_eq!(picture.panels[0].notes, ["Left out: 1 row without a time."]);
    }

    #[test]
    fn rows_without_the_first_number_are_left_out_of_lines() {
        let pictured = |steps: Vec<Option<i64>>| {
            let n: ArrayRef = Arc::new(Int64Array::from_iter_values((0..).take(steps.len())));
            let step: ArrayRef = Arc::new(Int64Array::from(steps));
            let mut picture =
                table(&[RecordBatch::try_from_iter([("step", step), ("n", n)]).unwrap()]).unwrap();
            picture.panels.remove(0)
        };
        let panel = pictured(vec![Some(3), Some(5), None]);
        let Body::Lines { series, .. } = &panel.body else { panic!("{panel:?}") };
        assert_eq!(series[0].points, [[3.0, 0.0], [5.0, 1.0]]);
        assert_eq!(panel.notes, ["Left out: 1 row without `step`."]);
        for steps in [vec![Some(3), None], vec![None, None], vec![Some(3), None, Some(3)]] {
            let panel = pictured(steps);
            assert!(matches!(panel.body, Body::Histogram(_)) && panel.notes.is_empty(), "{panel:?}");
        }
    }

    #[test]
    fn values_that_cannot_be_drawn_are_left_out_and_counted() {
        let pictured = |values: Vec<f64>| {
            let steps: ArrayRef = Arc::new(Int64Array::from_iter_values((1..).take(values.len())));
            let v: ArrayRef = Arc::new(Float64Array::from(values));
            let of = |columns: Vec<(&str, &ArrayRef)>| {
                let columns = columns.into_iter().map(|(name, column)| (name, Arc::clone(column)));
                table(&[RecordBatch::try_from_iter(columns).unwrap()]).unwrap()
            };
            [of(vec![("v", &v)]), of(vec![("step", &steps), ("v", &v)])]
        };
        let beyond = "Left out: 3 values of `v` beyond 1e300.";
        let values = vec![1.0, 2.0, f64::NAN, 1e301, f64::INFINITY, -f64::MAX];
        let [mut histogram, mut lines] = pictured(values);
        assert_eq!(histogram.panels[0].notes, ["Left out: 1 row without `v`.", beyond]);
        let Body::Histogram(shown) = histogram.panels.remove(0).body else { panic!("{histogram:?}") };
        assert_eq!((shown.first, shown.counts.iter().sum::<u64>()), (1.0, 2));
        assert_eq!(lines.panels.remove(0).notes, [beyond]);
        let [none, _] = pictured(vec![f64::NAN; 3]);
        assert_eq!(none.panels[0].notes, ["Left out: 3 rows without `v`."]);
        let name: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        let v: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 1e301]));
        let bars = table(&[RecordBatch::try_from_iter([("name", name), ("v", v)]).unwrap()]).unwrap();
        assert_eq!(bars.panels[0].notes, ["Left out: 1 value of `v` beyond 1e300."]);
        assert!(bars.svg().contains("<title>b: (left out)</title>"), "{}", bars.svg());
        // The largest ones have a bar, whose upper bound is beyond them.
        for values in [vec![1e300, 1e300], vec![-1e300, 1e300], vec![0.0, 1e300]] {
            let [histogram, _] = pictured(values);
            let svg = histogram.svg();
            let bars = svg.matches(": 1</title>").count() + 2 * svg.matches(": 2</title>").count();
            assert!(bars == 2 && histogram.panels[0].notes.is_empty(), "{svg}");
        }
    }

    #[test]
    fn the_types_of_the_columns_choose_the_picture() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
        let step: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 5]));
        let score: ArrayRef = Arc::new(Float32Array::from(vec![Some(0.5), None, Some(-0.25)]));
        let floor: ArrayRef = Arc::new(Float32Array::from(vec![0.1, 0.2, 0.3]));
        let body = drawn(&[("source", Arc::clone(&text)), ("n", Arc::clone(&step))]).unwrap();
        let Body::Bars { rows, series, .. } = body else { panic!("{body:?}") };
        assert_eq!((rows[1].clone(), series), (("(none)".to_owned(), vec![2.0]), vec!["n".to_owned()]));

        let body = drawn(&[("step", Arc::clone(&step)), ("loss", Arc::clone(&floor))]).unwrap();
        let Body::Lines { x, series, .. } = body else { panic!("{body:?}") };
        assert_eq!((x.name.as_str(), series[0].points[2][0]), ("step", 5.0));

        let both =
            [("row", Arc::clone(&step)), ("score", Arc::clone(&score)), ("noise_floor", Arc::clone(&floor))];
        let body = drawn(&both).unwrap();
        let Body::Histogram(histogram) = body else { panic!("{body:?}") };
        assert_eq!((histogram.x.as_str(), histogram.y.as_str()), ("score", "rows"));
        assert_eq!(histogram.counts.iter().sum::<u64>(), 2);
        assert!(histogram.band.is_some_and(|(_, high, _)| (high - 0.2).abs() < 1e-6));
        // A band has a width.
        for floor in [-0.2f32, 0.0] {
            let floor: ArrayRef = Arc::new(Float32Array::from(vec![floor; 3]));
            let none = drawn(&[("score", Arc::clone(&score)), ("noise_floor", floor)]).unwrap();
            assert!(matches!(&none, Body::Histogram(shown) if shown.band.is_none()), "{none:?}");
        }

        let body = drawn(&[("pos", step), ("token", Arc::clone(&text)), ("score", score)]).unwrap();
        let Body::Tokens(tokens) = body else { panic!("{body:?}") };
        assert_eq!((tokens.len(), tokens[0].value), (3, Some(0.5)));
        assert!(drawn(&[("a", text)]).unwrap_err().contains("no column of the result is a number"));
        assert!(table(&[]).is_err());
        let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let picture = table(&[RecordBatch::try_from_iter([("n", one)]).unwrap()]).unwrap();
        assert_eq!(picture.title, "n of 1 row");
        let Body::Bars { rows, .. } = &picture.panels[0].body else { panic!("{picture:?}") };
        assert_eq!(*rows, [("n".to_owned(), vec![1.0])]);
    }
}
