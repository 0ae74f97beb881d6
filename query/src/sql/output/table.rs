//! A table for people: columns aligned, numbers to the right, long text cut to fit.
//!
//! Widths come from the first rows, so a result of any length is written in constant memory.

use std::io::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, SchemaRef};
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
    /// Widest a single column may be. `None`: as wide as its content.
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
    right: Vec<bool>,
    /// Rows kept until the widths are known.
    head: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

impl<W: Write> TableWriter<W> {
    pub(super) fn new(schema: &SchemaRef, out: W, style: TableStyle) -> Self {
        Self {
            out,
            style,
            plan: schema.fields().iter().map(|f| f.name().as_str()).eq(["plan_type", "plan"]),
            names: schema.fields().iter().map(|f| visible(f.name())).collect(),
            right: schema.fields().iter().map(|f| f.data_type().is_numeric()).collect(),
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
            let cells: Vec<String> =
                columns.iter().map(|c| c.cell(row, self.style.column)).collect::<Result<_, _>>()?;
            match &self.widths {
                Some(widths) => line(&mut self.out, &cells, widths, &self.right)?,
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
        if let Some(total) = self.style.width {
            shrink(&mut widths, &self.right, total);
        }
        line(&mut self.out, &self.names, &widths, &self.right)?;
        let rule: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
        line(&mut self.out, &rule, &widths, &self.right)?;
        for cells in std::mem::take(&mut self.head) {
            line(&mut self.out, &cells, &widths, &self.right)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

/// Takes from the widest text column until the line fits or every column is at its least.
fn shrink(widths: &mut [usize], right: &[bool], total: usize) {
    const LEAST: usize = 12;
    loop {
        let now: usize = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
        let widest =
            widths.iter_mut().zip(right).filter(|(w, right)| !**right && **w > LEAST).map(|(w, _)| w).max();
        match widest {
            Some(w) if now > total => *w -= (now - total).min(*w - LEAST).min((*w / 4).max(1)),
            _ => return,
        }
    }
}

fn line(out: &mut impl Write, cells: &[String], widths: &[usize], right: &[bool]) -> Result<(), ArrowError> {
    let mut text = String::new();
    for (i, ((cell, width), right)) in cells.iter().zip(widths).zip(right).enumerate() {
        if i > 0 {
            text.push_str(GAP);
        }
        let cell = cut(cell, *width);
        let blank = " ".repeat(width.saturating_sub(cell.width()));
        match right {
            true => text.extend([blank.as_str(), cell.as_str()]),
            false => text.extend([cell.as_str(), blank.as_str()]),
        }
    }
    writeln!(out, "{}", text.trim_end())?;
    Ok(())
}

/// The text within `width`, its end replaced by an ellipsis where it is longer.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_string();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

/// Line breaks and other control characters as escapes, so that a cell stays on its line and cannot drive the terminal.
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

    #[test]
    fn a_narrow_terminal_takes_from_text_only() {
        let mut widths = [5, 60, 40, 9];
        shrink(&mut widths, &[true, false, false, true], 60);
        assert!(widths.iter().sum::<usize>() + 6 <= 60, "{widths:?}");
        assert_eq!((widths[0], widths[3]), (5, 9));
    }

    #[test]
    fn wide_characters_count_double() {
        assert_eq!(cut("日本語日本語", 7), "日本語…");
        assert_eq!(visible("a\u{1b}[31m"), "a\\u{1b}[31m");
    }
}
