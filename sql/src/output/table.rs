//! A table for people: columns aligned, numbers to the right, long text cut to fit.
//!
//! Invariants
//! - widths come from the first rows, so a result of any length is written in constant memory; a later value
//!   that may not be cut widens its column
//! - only text with blanks is cut, or of more than [`WORD`] columns: a number, a date, a boolean, a label, an
//!   id and the name of a column are complete, and of a list as many elements as there is room for
//! - where a terminal has no room for that, labels are cut too, except those of names
//! - what does not fit a terminal even then has headings on two lines and one blank between columns
//! - what does not fit then either loses columns in its middle, and says which

use std::io::Write;
use std::ops::Range;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, SchemaRef};
use gstore_core::visible;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::cell::{self, readable};
use super::layout::{
    CellTruncation, GAP, LEFT_OUT, Layout, NARROW_GAP, Room, WORD, broken, fit, names_things, no_room,
    shrink, unbroken, widen,
};
use super::plan;

/// Rows that decide the widths.
const SAMPLE: usize = 1000;

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
    /// What stands for null.
    null: &'static str,
    /// Rows kept until the widths are known.
    head: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    /// Blanks between two columns.
    gap: &'static str,
    /// The columns for which there is no room.
    left_out: Range<usize>,
}

impl<W: Write> TableWriter<W> {
    pub(super) fn new(schema: &SchemaRef, out: W, style: TableStyle) -> Self {
        let mut layout: Vec<Layout> = schema.fields().iter().map(|f| Layout::of(f.data_type())).collect();
        let whole = matches!(style, TableStyle { width: None, column: None });
        for (layout, field) in layout.iter_mut().zip(schema.fields()) {
            if whole || layout.cut == CellTruncation::OutsideLabels && names_things(field.name()) {
                layout.cut = CellTruncation::Never;
            }
        }
        Self {
            out,
            style,
            plan: schema.fields().iter().map(|f| f.name().as_str()).eq(["plan_type", "plan"]),
            names: schema.fields().iter().map(|f| visible(f.name())).collect(),
            layout,
            null: "NULL",
            head: Vec::new(),
            widths: None,
            gap: GAP,
            left_out: 0..0,
        }
    }

    pub(super) fn with_null(self, null: &'static str) -> Self {
        Self { null, ..self }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let options = FormatOptions::default();
        let columns = batch.columns().iter().map(readable).collect::<Result<Vec<_>, _>>()?;
        let columns =
            columns.iter().map(|c| FormattedColumn::new(c, &options)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            if let (true, [kind, text]) = (self.plan, columns.as_slice()) {
                let (kind, text) = (kind.formatter.value(row), text.formatter.value(row).to_string());
                let text = text.trim_end();
                match self.style.width {
                    Some(width) => writeln!(self.out, "{kind}:\n{}", plan::tree(text, width))?,
                    None => writeln!(self.out, "{kind}:\n{text}")?,
                }
                continue;
            }
            let most = |layout: &Layout| self.style.column.filter(|_| layout.cut != CellTruncation::Never);
            let cells = columns.iter().zip(&self.layout).map(|(column, layout)| {
                Ok(column.cell(row, most(layout))?.unwrap_or_else(|| self.null.to_owned()))
            });
            let cells: Vec<String> = cells.collect::<Result<_, ArrowError>>()?;
            match &mut self.widths {
                Some(widths) => {
                    if widen(widths, &cells, &mut self.layout) && self.left_out.is_empty() {
                        let room = self.style.width.map(|total| Room { total, gap: self.gap.len() });
                        room.into_iter().for_each(|room| shrink(widths, &self.layout, room));
                    }
                    let widths = (widths.as_slice(), &self.left_out);
                    line(&mut self.out, &cells, widths, (self.layout.as_slice(), self.gap))?;
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
        if !self.left_out.is_empty() {
            let names = self.names[self.left_out.clone()].join(", ");
            let (few, all) = (self.left_out.len(), self.names.len());
            writeln!(self.out, "{LEFT_OUT} stands for {few} of {all} columns: {names}")?;
        }
        Ok(self.out)
    }

    /// Fixes the widths and writes what was kept.
    fn settle(&mut self) -> Result<(), ArrowError> {
        let headings: Vec<usize> = self.names.iter().map(|n| n.width()).collect();
        let (mut widths, mut layout) = self.measured(&headings);
        let mut is_broken = false;
        if let Some(total) = self.style.width {
            let room = Room { total, gap: GAP.len() };
            let wide = (widths.clone(), layout.clone());
            fit(&mut widths, &mut layout, &self.named(&headings), room);
            self.left_out = no_room(&widths, room);
            if !self.left_out.is_empty() {
                if let Some((narrow, cells, gap)) = self.narrow(total) {
                    (widths, layout, self.gap) = (narrow, cells, gap);
                    (is_broken, self.left_out) = (true, 0..0);
                } else {
                    // Where columns are left out, the texts of the others may have their room.
                    (widths, layout) = wide;
                    self.fit_others(&mut widths, &mut layout, &headings, room);
                }
            }
        }
        self.layout = layout;
        let (head, own) = (std::mem::take(&mut self.head), (widths.as_slice(), &self.left_out));
        let style = (self.layout.as_slice(), self.gap);
        header(&mut self.out, &self.names, is_broken, own, style)?;
        for cells in head {
            line(&mut self.out, &cells, own, style)?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    /// The names of the columns, with the widths of their headings.
    fn named<'a>(&'a self, headings: &[usize]) -> Vec<(&'a str, usize)> {
        self.names.iter().map(String::as_str).zip(headings.iter().copied()).collect()
    }

    /// The widths that headings and cells have if there is room, and the least of each.
    fn measured(&self, headings: &[usize]) -> (Vec<usize>, Vec<Layout>) {
        let (mut widths, mut layout) = (headings.to_vec(), self.layout.clone());
        for (layout, width) in layout.iter_mut().zip(&widths) {
            layout.least = *width;
        }
        for cells in &self.head {
            for ((width, layout), cell) in widths.iter_mut().zip(&mut layout).zip(cells) {
                *width = (*width).max(cell.width());
                layout.least = layout.least.max(unbroken(cell, layout.cut));
            }
        }
        if let Some(limit) = self.style.column {
            for (width, layout) in widths.iter_mut().zip(&layout) {
                *width = (*width).min(limit).max(layout.least);
            }
        }
        (widths, layout)
    }

    /// The same of a table whose headings stand on two lines, with the blanks between its columns, if there
    /// is room for all.
    fn narrow(&self, total: usize) -> Option<(Vec<usize>, Vec<Layout>, &'static str)> {
        let heading = |name: &String| {
            let (first, second) = broken(name);
            first.width().max(second.width())
        };
        let headings: Vec<usize> = self.names.iter().map(heading).collect();
        [GAP, NARROW_GAP].into_iter().find_map(|gap| {
            let room = Room { total, gap: gap.len() };
            let (mut widths, mut layout) = self.measured(&headings);
            fit(&mut widths, &mut layout, &self.named(&headings), room);
            no_room(&widths, room).is_empty().then_some((widths, layout, gap))
        })
    }

    /// Fits the columns that are not left out.
    fn fit_others(&self, widths: &mut [usize], layout: &mut [Layout], headings: &[usize], room: Room) {
        let kept = |i: &usize| !self.left_out.contains(i);
        let places: Vec<usize> = (0..widths.len()).filter(kept).collect();
        let mut own: Vec<usize> = places.iter().map(|i| widths[*i]).collect();
        let mut cells: Vec<Layout> = places.iter().map(|i| layout[*i]).collect();
        let names = self.named(headings);
        let names: Vec<(&str, usize)> = places.iter().map(|i| names[*i]).collect();
        let total = room.total.saturating_sub(LEFT_OUT.width() + room.gap);
        fit(&mut own, &mut cells, &names, Room { total, ..room });
        for (i, (width, cell)) in places.into_iter().zip(own.into_iter().zip(cells)) {
            (widths[i], layout[i]) = (width, cell);
        }
    }
}

/// The names, which are text in any column, on one line or two, and a rule.
fn header(
    out: &mut impl Write,
    names: &[String],
    is_broken: bool,
    widths: (&[usize], &Range<usize>),
    style: (&[Layout], &str),
) -> Result<(), ArrowError> {
    if is_broken {
        let (first, second): (Vec<&str>, Vec<&str>) = names.iter().map(|name| broken(name)).unzip();
        line(out, &first, widths, style)?;
        line(out, &second, widths, style)?;
    } else {
        line(out, names, widths, style)?;
    }
    let rule: Vec<String> = widths.0.iter().map(|w| "-".repeat(*w)).collect();
    line(out, &rule, widths, style)
}

fn line(
    out: &mut impl Write,
    cells: &[impl AsRef<str>],
    (widths, left_out): (&[usize], &Range<usize>),
    (layout, gap): (&[Layout], &str),
) -> Result<(), ArrowError> {
    let mut text = String::new();
    for (i, ((cell, width), layout)) in cells.iter().zip(widths).zip(layout).enumerate() {
        if i > 0 && (!left_out.contains(&i) || i == left_out.start) {
            text.push_str(gap);
        }
        if left_out.contains(&i) {
            text.push_str(if i == left_out.start { LEFT_OUT } else { "" });
            continue;
        }
        let cell = cut(cell.as_ref(), *width, layout.cut);
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
fn cut(text: &str, width: usize, how: CellTruncation) -> String {
    if how == CellTruncation::Never || text.width() <= width {
        return text.to_string();
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            let of_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
            if how == CellTruncation::OutsideNumbers && of_number(c) {
                kept.truncate(kept.trim_end_matches(of_number).len());
            }
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

pub(super) struct FormattedColumn<'a> {
    values: &'a ArrayRef,
    formatter: ArrayFormatter<'a>,
}

impl<'a> FormattedColumn<'a> {
    pub(super) fn new(values: &'a ArrayRef, options: &FormatOptions<'a>) -> Result<Self, ArrowError> {
        Ok(Self { values, formatter: ArrayFormatter::try_new(values.as_ref(), options)? })
    }

    /// The text of a cell; none: it is null.
    pub(super) fn cell(&self, row: usize, most: Option<usize>) -> Result<Option<String>, ArrowError> {
        if cell::is_null(self.values, row) {
            return Ok(None);
        }
        if let Some(value) = cell::float(self.values, row) {
            return Ok(Some(cell::short_float(value)));
        }
        let text = self.formatter.value(row).try_to_string()?;
        // A few characters more than fit are enough to see that it must be cut.
        Ok(Some(match most {
            Some(most) if text.len() > 4 * most.max(WORD) + 8 => {
                visible(&text.chars().take(most.max(WORD) + 1).collect::<String>())
            }
            _ => visible(&text),
        }))
    }
}

#[cfg(test)]
mod tests;
