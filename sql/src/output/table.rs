//! A table for people: columns aligned, numbers to the right, long text cut to fit.
//!
//! Invariants
//! - widths come from the first rows, so a result of any length is written in constant memory; a later value
//!   that may not be cut widens its column
//! - only text is cut: a number, a date or a boolean is complete, and of a list as many elements are complete
//!   as there is room for

use std::io::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::cell;
use super::is_plain;

/// Rows that decide the widths.
const SAMPLE: usize = 1000;
const GAP: &str = "  ";

/// How wide a table may be.
#[derive(Debug, Clone, Copy)]
pub struct TableStyle {
    /// Width of the terminal; text columns shrink towards it. `None`: as wide as it gets.
    pub width: Option<usize>,
    /// Widest a column of text may be. `None`: as wide as its content.
    pub column: Option<usize>,
}

impl Default for TableStyle {
    fn default() -> Self {
        Self { width: None, column: Some(60) }
    }
}

pub(super) struct TableWriter<W: Write> {
    out: W,
    style: TableStyle,
    names: Vec<String>,
    /// A plan is text of many lines and is written as it is.
    plan: bool,
    layout: Vec<Layout>,
    /// Rows kept until the widths are known.
    head: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

/// How the cells of a column are written.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Whether they stand to the right.
    right: bool,
    cut: Cut,
}

/// Where a cell that is wider than its column ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Nowhere: the column becomes wider.
    Never,
    /// Anywhere: it is text.
    Anywhere,
    /// Anywhere but in a number: it is a list or a struct.
    OutsideNumbers,
}

impl Layout {
    fn of(data_type: &DataType) -> Self {
        let cut = match data_type {
            DataType::Dictionary(_, values) => return Self { right: false, ..Self::of(values) },
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Cut::Anywhere,
            nested if nested.is_nested() => Cut::OutsideNumbers,
            other if is_plain(other) => Cut::Never,
            _ => Cut::Anywhere,
        };
        Self { right: data_type.is_numeric(), cut }
    }
}

impl<W: Write> TableWriter<W> {
    pub(super) fn new(schema: &SchemaRef, out: W, style: TableStyle) -> Self {
        let mut layout: Vec<Layout> = schema.fields().iter().map(|f| Layout::of(f.data_type())).collect();
        if let TableStyle { width: None, column: None } = style {
            layout.iter_mut().for_each(|l| l.cut = Cut::Never);
        }
        Self {
            out,
            style,
            plan: schema.fields().iter().map(|f| f.name().as_str()).eq(["plan_type", "plan"]),
            names: schema.fields().iter().map(|f| visible(f.name())).collect(),
            layout,
            head: Vec::new(),
            widths: None,
        }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let options = FormatOptions::default();
        let columns = batch.columns().iter().map(readable).collect::<Result<Vec<_>, _>>()?;
        let columns = columns.iter().map(|c| Column::new(c, &options)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            if let (true, [kind, text]) = (self.plan, columns.as_slice()) {
                let (kind, text) = (kind.formatter.value(row), text.formatter.value(row).to_string());
                writeln!(self.out, "{kind}:\n{}", text.trim_end())?;
                continue;
            }
            let most = |layout: &Layout| self.style.column.filter(|_| layout.cut != Cut::Never);
            let cells =
                columns.iter().zip(&self.layout).map(|(column, layout)| column.cell(row, most(layout)));
            let cells: Vec<String> = cells.collect::<Result<_, _>>()?;
            match &mut self.widths {
                Some(widths) => {
                    if widen(widths, &cells, &self.layout) {
                        self.style.width.into_iter().for_each(|total| shrink(widths, &self.layout, total));
                    }
                    line(&mut self.out, &cells, widths, &self.layout)?;
                }
                None => self.head.push(cells),
            }
            if self.widths.is_none() && self.head.len() >= SAMPLE {
                self.settle()?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, ArrowError> {
        if self.widths.is_none() && !self.plan {
            self.settle()?;
        }
        Ok(self.out)
    }

    /// Fixes the widths and writes what was kept.
    fn settle(&mut self) -> Result<(), ArrowError> {
        let mut widths: Vec<usize> = self.names.iter().map(|n| n.width()).collect();
        for cells in &self.head {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.width());
            }
        }
        if let Some(limit) = self.style.column {
            widths.iter_mut().for_each(|w| *w = (*w).min(limit.max(1)));
        }
        // Names were limited with the text.
        self.head.iter().for_each(|cells| {
            widen(&mut widths, cells, &self.layout);
        });
        if let Some(total) = self.style.width {
            shrink(&mut widths, &self.layout, total);
        }
        header(&mut self.out, &self.names, &widths, &self.layout)?;
        for cells in std::mem::take(&mut self.head) {
            line(&mut self.out, &cells, &widths, &self.layout)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

/// Makes the columns wider that must hold these cells whole; whether there was one.
fn widen(widths: &mut [usize], cells: &[String], layout: &[Layout]) -> bool {
    let mut wider = false;
    for ((width, cell), _) in widths.iter_mut().zip(cells).zip(layout).filter(|(_, l)| l.cut == Cut::Never) {
        wider |= cell.width() > *width;
        *width = (*width).max(cell.width());
    }
    wider
}

/// Takes from the widest text column until the line fits or every column is at its least.
fn shrink(widths: &mut [usize], layout: &[Layout], total: usize) {
    const LEAST: usize = 12;
    loop {
        let now: usize = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
        let may = |width: usize, layout: &Layout| layout.cut != Cut::Never && width > LEAST;
        let widest =
            widths.iter_mut().zip(layout).filter(|(w, layout)| may(**w, layout)).map(|(w, _)| w).max();
        match widest {
            Some(w) if now > total => *w -= (now - total).min(*w - LEAST).min((*w / 4).max(1)),
            _ => return,
        }
    }
}

/// The names, which are text in any column, and a rule.
fn header(
    out: &mut impl Write,
    names: &[String],
    widths: &[usize],
    layout: &[Layout],
) -> Result<(), ArrowError> {
    let layout: Vec<Layout> = layout.iter().map(|l| Layout { cut: Cut::Anywhere, ..*l }).collect();
    line(out, names, widths, &layout)?;
    let rule: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
    line(out, &rule, widths, &layout)
}

fn line(
    out: &mut impl Write,
    cells: &[String],
    widths: &[usize],
    layout: &[Layout],
) -> Result<(), ArrowError> {
    let mut text = String::new();
    for (i, ((cell, width), layout)) in cells.iter().zip(widths).zip(layout).enumerate() {
        if i > 0 {
            text.push_str(GAP);
        }
        let cell = cut(cell, *width, layout.cut);
        let blank = " ".repeat(width.saturating_sub(cell.width()));
        match layout.right {
            true => text.extend([blank.as_str(), cell.as_str()]),
            false => text.extend([cell.as_str(), blank.as_str()]),
        }
    }
    writeln!(out, "{}", text.trim_end())?;
    Ok(())
}

/// The text within `width`, its end replaced by an ellipsis where it is longer.
fn cut(text: &str, width: usize, how: Cut) -> String {
    if how == Cut::Never || text.width() <= width {
        return text.to_string();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            let of_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
            if how == Cut::OutsideNumbers && of_number(c) {
                kept.truncate(kept.trim_end_matches(of_number).len());
            }
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

/// Line breaks and other control characters as escapes, so that a cell stays on its line and
/// cannot drive the terminal.
fn visible(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_string();
    }
    text.chars()
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

/// The column itself, or its text where a cell is not one value.
fn readable(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match is_plain(values.data_type()) {
        true => Ok(Arc::clone(values)),
        false => cell::as_text(values),
    }
}

struct Column<'a> {
    values: &'a ArrayRef,
    formatter: ArrayFormatter<'a>,
}

impl<'a> Column<'a> {
    fn new(values: &'a ArrayRef, options: &FormatOptions<'a>) -> Result<Self, ArrowError> {
        Ok(Self { values, formatter: ArrayFormatter::try_new(values.as_ref(), options)? })
    }

    fn cell(&self, row: usize, most: Option<usize>) -> Result<String, ArrowError> {
        if self.values.is_null(row) {
            return Ok(String::new());
        }
        if let Some(value) = cell::float(self.values, row) {
            return Ok(cell::short_float(value));
        }
        let text = self.formatter.value(row).try_to_string()?;
        // A few characters more than fit are enough to see that it must be cut.
        Ok(match most {
            Some(most) if text.len() > 4 * most + 8 => {
                visible(&text.chars().take(most + 1).collect::<String>())
            }
            _ => visible(&text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Float32Array, Int64Array, StringArray};
    use arrow_schema::{DataType, Field, Schema};

    fn sample() -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("row", DataType::Int64, false),
            Field::new("text", DataType::Utf8, true),
            Field::new("score", DataType::Float32, false),
        ]);
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(Int64Array::from(vec![7, 12345])),
                Arc::new(StringArray::from(vec![Some("two\nlines and then some"), None])),
                Arc::new(Float32Array::from(vec![0.125, -1.0 / 3.0])),
            ],
        )
        .unwrap()
    }

    #[test]
    fn columns_are_aligned_and_text_is_cut() {
        let batch = sample();
        let style = TableStyle { width: None, column: Some(12) };
        let mut table = TableWriter::new(&batch.schema(), Vec::new(), style);
        table.write(&batch).unwrap();
        let text = String::from_utf8(table.finish().unwrap()).unwrap();
        assert_eq!(
            text,
            "  row  text              score\n\
             -----  ------------  ---------\n    7  two\\nlines …      0.125\n12345                -0.333333\n"
        );
    }

    /// The lines that a column of `values` gives, row by row in batches of one column.
    fn lines(values: &[ArrayRef], style: TableStyle) -> Vec<String> {
        let schema = Arc::new(Schema::new(vec![Field::new("v", values[0].data_type().clone(), true)]));
        let mut table = TableWriter::new(&schema, Vec::new(), style);
        for values in values {
            table
                .write(&RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(values)]).unwrap())
                .unwrap();
        }
        let text = String::from_utf8(table.finish().unwrap()).unwrap();
        text.lines().skip(2).map(|line| line.trim().to_owned()).collect()
    }

    fn styles() -> [TableStyle; 3] {
        [
            TableStyle::default(),
            TableStyle { width: Some(20), column: Some(6) },
            TableStyle { width: None, column: None },
        ]
    }

    #[test]
    fn a_number_that_comes_late_is_whole() {
        use arrow_array::{BooleanArray, Decimal128Array, Float64Array, TimestampMicrosecondArray};
        let late: [(ArrayRef, &str); 7] = [
            (Arc::new(Int64Array::from(vec![2_039_000_014_273])), "2039000014273"),
            (Arc::new(Int64Array::from(vec![i64::MIN])), "-9223372036854775808"),
            (Arc::new(Float32Array::from(vec![-0.002_526_31])), "-0.00252631"),
            (Arc::new(Float64Array::from(vec![-1.234_56e-300])), "-1.23456e-300"),
            (
                Arc::new(Decimal128Array::from(vec![-i128::MAX / 10])),
                "-1701411834604692317316873037158841057.2",
            ),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![1_700_000_000_123_456])),
                "2023-11-14T22:13:20.123456",
            ),
            (Arc::new(BooleanArray::from(vec![false])), "false"),
        ];
        for (value, text) in late {
            let value = match value.data_type() {
                DataType::Decimal128(..) => {
                    let decimals = value.as_any().downcast_ref::<Decimal128Array>().unwrap().clone();
                    Arc::new(decimals.with_precision_and_scale(38, 1).unwrap()) as ArrayRef
                }
                _ => value,
            };
            let empty = arrow_array::new_null_array(value.data_type(), SAMPLE);
            for style in styles() {
                let lines = lines(&[Arc::clone(&empty), Arc::clone(&value)], style);
                assert_eq!(lines.last().unwrap(), text, "{style:?}");
            }
        }
    }

    #[test]
    fn a_list_ends_between_two_numbers_and_a_file_gets_whole_texts() {
        use arrow_array::ListArray;
        use arrow_array::types::Int64Type;
        let numbers = [Some(vec![Some(12), Some(-3_456), Some(789_012_345)])];
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(numbers));
        let whole = "[12,-3456,789012345]";
        for (column, text) in [(20, whole), (19, "[12,-3456,…"), (10, "[12,-3456…"), (9, "[12,…"), (2, "[…")]
        {
            let style = TableStyle { width: None, column: Some(column) };
            assert_eq!(lines(&[Arc::clone(&list)], style), [text], "{column}");
        }
        let short: ArrayRef = Arc::new(StringArray::from(vec!["a"; SAMPLE]));
        let long: ArrayRef = Arc::new(StringArray::from(vec!["a longer one"]));
        let [cut, _, file] = styles();
        assert_eq!(lines(&[Arc::clone(&short), Arc::clone(&long)], cut).last().unwrap(), "…");
        assert_eq!(lines(&[short, long], file).last().unwrap(), "a longer one");
    }

    #[test]
    fn text_gives_way_to_a_number_that_becomes_wider() {
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, false),
            Field::new("text", DataType::Utf8, false),
        ]);
        let batch = |n: i64, rows: usize| {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from(vec![n; rows])),
                Arc::new(StringArray::from(vec!["a text of some thirty letters"; rows])),
            ];
            RecordBatch::try_new(Arc::new(schema.clone()), columns).unwrap()
        };
        let style = TableStyle { width: Some(30), column: Some(60) };
        let mut table = TableWriter::new(&Arc::new(schema.clone()), Vec::new(), style);
        table.write(&batch(1, SAMPLE)).unwrap();
        table.write(&batch(1_234_567_890, 1)).unwrap();
        let text = String::from_utf8(table.finish().unwrap()).unwrap();
        assert_eq!(text.lines().nth(2).unwrap(), "1  a text of some thirty lett…");
        assert_eq!(text.lines().last().unwrap(), "1234567890  a text of some th…");
    }

    #[test]
    fn a_narrow_terminal_takes_from_text_only() {
        let mut widths = [5, 60, 40, 9];
        let [number, text] = [&DataType::Int64, &DataType::Utf8].map(Layout::of);
        shrink(&mut widths, &[number, text, text, number], 60);
        assert!(widths.iter().sum::<usize>() + 6 <= 60, "{widths:?}");
        assert_eq!((widths[0], widths[3]), (5, 9));
    }

    #[test]
    fn wide_characters_count_double() {
        assert_eq!(cut("日本語日本語", 7, Cut::Anywhere), "日本語…");
        assert_eq!(visible("a\u{1b}[31m"), "a\\u{1b}[31m");
    }
}
