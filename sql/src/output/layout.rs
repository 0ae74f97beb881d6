//! Widths of the columns of a table: what may be cut, what may not, and what there is no room for.

use std::ops::Range;

use arrow_schema::DataType;
use gstore_functions::spans::is_span;
use unicode_width::UnicodeWidthStr;

use super::cell::is_plain;

/// Blanks between two columns.
pub(super) const GAP: &str = "  ";

/// The same in a table that has no room for them.
pub(super) const NARROW_GAP: &str = " ";

/// Columns of the terminal up to which a text without blanks is a label, and is never cut.
pub(super) const WORD: usize = 40;

/// What stands for the columns that are left out.
pub(super) const LEFT_OUT: &str = "…";

/// What a line may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) total: usize,
    /// Between two columns.
    pub(super) gap: usize,
}

/// How the cells of a column are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Whether they stand to the right.
    pub(super) right: bool,
    /// Where they are cut.
    pub(super) cut: CellTruncation,
    /// What the column is never narrower than: its name and its labels.
    pub(super) least: usize,
}

/// Where a cell that is wider than its column ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellTruncation {
    /// Nowhere: the column becomes wider.
    Never,
    /// Anywhere but in a label: it is text.
    OutsideLabels,
    /// Anywhere: it is text of a table that has no room for its labels.
    Anywhere,
    /// Anywhere but in a number: it is a list or a struct.
    OutsideNumbers,
}

impl Layout {
    pub(super) fn of(data_type: &DataType) -> Self {
        let cut = match data_type {
            text if text.is_string() => CellTruncation::OutsideLabels,
            nested if nested.is_nested() => CellTruncation::OutsideNumbers,
            other if is_plain(other) || is_span(other) => CellTruncation::Never,
            _ => CellTruncation::OutsideLabels,
        };
        Self { right: data_type.is_numeric(), cut, least: 0 }
    }
}

/// Whether the texts of a column are names of things, which are typed into the next statement.
pub(super) fn names_things(column: &str) -> bool {
    matches!(column, "id" | "label" | "dataset" | "checkpoint" | "run" | "feature" | "tag")
        || column.ends_with("_id")
}

/// Whether the labels of a column tell its rows apart, so that they are whole in the narrowest table.
fn tells_apart(column: &str) -> bool {
    column == "name" || column.ends_with("_name")
}

/// A heading on two lines, broken behind the `_` where the longer of them is shortest; without any it is one.
pub(super) fn broken(name: &str) -> (&str, &str) {
    let places = name.match_indices('_').map(|(at, _)| name.split_at(at + 1));
    let parts = places.filter(|(first, second)| first.len() > 1 && !second.is_empty());
    parts.min_by_key(|(first, second)| first.width().max(second.width())).unwrap_or(("", name))
}

/// The width that a cell needs because it may not be cut.
pub(super) fn unbroken(cell: &str, cut: CellTruncation) -> usize {
    let width = cell.width();
    match cut {
        CellTruncation::Never => width,
        CellTruncation::OutsideLabels if width <= WORD && !cell.contains(char::is_whitespace) => width,
        _ => 0,
    }
}

/// Makes the columns wider that must hold these cells whole; whether there was one.
pub(super) fn widen(widths: &mut [usize], cells: &[String], layout: &mut [Layout]) -> bool {
    let mut wider = false;
    for ((width, cell), layout) in widths.iter_mut().zip(cells).zip(layout) {
        let needed = unbroken(cell, layout.cut);
        wider |= needed > *width;
        *width = (*width).max(needed);
        layout.least = layout.least.max(needed);
    }
    wider
}

/// Takes from the text columns until the line fits: from their labels only where it is too wide with these.
/// `names` are those of the columns, with the widths of their headings.
pub(super) fn fit(widths: &mut [usize], layout: &mut [Layout], names: &[(&str, usize)], room: Room) {
    shrink(widths, layout, room);
    if line_width(widths.iter().copied(), room.gap) <= room.total {
        return;
    }
    for (layout, (name, heading)) in layout.iter_mut().zip(names) {
        if layout.cut == CellTruncation::OutsideLabels && !tells_apart(name) {
            (layout.cut, layout.least) = (CellTruncation::Anywhere, *heading);
        }
    }
    shrink(widths, layout, room);
}

/// Takes from the widest text column until the line fits or every column is at its least.
pub(super) fn shrink(widths: &mut [usize], layout: &[Layout], Room { total, gap }: Room) {
    const LEAST: usize = 12;
    loop {
        let now = line_width(widths.iter().copied(), gap);
        let least = |layout: &Layout| layout.least.max(LEAST);
        let may =
            |width: usize, layout: &Layout| layout.cut != CellTruncation::Never && width > least(layout);
        let widest =
            widths.iter_mut().zip(layout).filter(|(w, layout)| may(**w, layout)).max_by_key(|(w, _)| **w);
        match widest {
            Some((w, layout)) if now > total => {
                *w -= (now - total).min(*w - least(layout)).min((*w / 4).max(1));
            }
            _ => return,
        }
    }
}

/// Columns of the terminal that a line takes.
fn line_width(widths: impl Iterator<Item = usize>, gap: usize) -> usize {
    let (number, sum) = widths.fold((0, 0), |(number, sum), width| (number + 1, sum + width));
    sum + gap * usize::saturating_sub(number, 1)
}

/// The columns in the middle without which the others fit.
pub(super) fn no_room(widths: &[usize], Room { total, gap }: Room) -> Range<usize> {
    let count = widths.len();
    if count <= 2 || line_width(widths.iter().copied(), gap) <= total {
        return 0..0;
    }
    let fits = |left: usize, right: usize| {
        let ends = widths[..left].iter().chain(&widths[count - right..]).copied();
        left + right < count && line_width(ends.chain([LEFT_OUT.width()]), gap) <= total
    };
    let (mut left, mut right) = (1, 1);
    loop {
        match (fits(left + 1, right), fits(left, right + 1)) {
            (true, _) if left <= right => left += 1,
            (_, true) => right += 1,
            (true, false) => left += 1,
            (false, false) => return left..count - right,
        }
    }
}
