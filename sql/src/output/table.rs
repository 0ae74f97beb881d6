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
mod tests;
