//! Factors, addends and destinations of a product, as the kernels take them.

use super::PANEL;

/// A left factor, `[rows, k]`.
#[derive(Clone, Copy)]
pub(in super::super) struct Left<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) stride: usize,
    pub(super) by_column: bool,
    /// Values from the start of a kernel's tile to that of the next, if its columns are copied apart.
    pub(super) tile: Option<usize>,
    /// Values from the high part of a row to its low part, if factors have two parts (see
    /// [`super::weights::split`]); else zero.
    pub(super) low: usize,
}

impl<'a> Left<'a> {
    /// Rows that start `stride` values apart.
    pub fn by_row(data: &'a [f32], rows: usize, stride: usize) -> Left<'a> {
        Left { data, rows, stride, by_column: false, tile: None, low: 0 }
    }

    /// The transpose of a matrix whose rows start `stride` values apart; it has `rows` columns.
    pub fn by_column(data: &'a [f32], rows: usize, stride: usize) -> Left<'a> {
        Left { data, rows, stride, by_column: true, tile: None, low: 0 }
    }

    /// The same, of which the columns of each tile are `k` lines of at least as many values, `apart` from
    /// those of the next.
    pub(super) fn in_tiles(data: &'a [f32], rows: usize, stride: usize, apart: usize) -> Left<'a> {
        Left { data, rows, stride, by_column: true, tile: Some(apart), low: 0 }
    }

    /// Whether `k` steps of all rows lie in the data, for tiles of so many rows.
    pub(super) fn fits(&self, k: usize, tile: usize) -> bool {
        if let Some(apart) = self.tile {
            let tiles = self.rows.div_ceil(tile);
            let last = tiles.saturating_sub(1).saturating_mul(apart);
            let read = k.saturating_mul(self.stride);
            return tile <= self.stride && read <= apart && last.saturating_add(read) <= self.data.len();
        }
        let (lines, width) = if self.by_column { (k, self.rows) } else { (self.rows, k) };
        fits(self.data.len(), lines, width, self.stride)
    }
}

/// Whether `lines` lines of `width` values that start `stride` apart lie in `len` values.
pub(super) fn fits(len: usize, lines: usize, width: usize, stride: usize) -> bool {
    lines == 0 || width == 0 || (lines - 1).saturating_mul(stride).saturating_add(width) <= len
}

/// A panel of a right factor: `k` rows of [`PANEL`] values that start `stride` apart.
#[derive(Clone, Copy)]
pub(in super::super) struct Panel<'a> {
    /// The rows.
    pub data: &'a [f32],
    /// Values from row to row.
    pub stride: usize,
    /// Rows of each part.
    pub k: usize,
}

impl<'a> Panel<'a> {
    /// A packed panel, or a part of its rows.
    pub fn packed(data: &'a [f32]) -> Panel<'a> {
        Panel::of_parts(data, 1)
    }

    /// A packed panel of pairs, the parts of the factor one after the other.
    pub(super) fn of_parts(data: &'a [f32], parts: usize) -> Panel<'a> {
        Panel { data, stride: PANEL, k: data.len() / PANEL / parts }
    }
}

/// A product's destination of any width.
pub(in super::super) struct Output<'a> {
    /// The rows.
    pub data: &'a mut [f32],
    /// Values from row to row.
    pub stride: usize,
    /// Columns.
    pub cols: usize,
}

/// A right factor as it lies in memory: `k` rows that start `stride` values apart.
#[derive(Clone, Copy)]
pub(in super::super) struct Right<'a> {
    /// The rows.
    pub data: &'a [f32],
    /// Values from row to row.
    pub stride: usize,
    /// Rows.
    pub k: usize,
}

/// Where a product of `cols` columns goes.
pub(in super::super) struct Destination<'a> {
    /// The rows.
    pub data: &'a mut [f32],
    /// Values from row to row.
    pub stride: usize,
    /// Columns, at most [`PANEL`].
    pub cols: usize,
}

#[derive(Clone, Copy, Default)]
pub(in super::super) struct Addends<'a> {
    /// One value per column.
    pub bias: Option<&'a [f32]>,
    /// One value per element.
    pub add: Addend<'a>,
}

/// An addend with one value per element.
#[derive(Clone, Copy, Default)]
pub(in super::super) enum Addend<'a> {
    /// Zeros: the product replaces the destination.
    #[default]
    Nothing,
    /// What the destination holds.
    Destination,
    /// A matrix with the destination's stride.
    Matrix(&'a [f32]),
}

impl<'a> Addend<'a> {
    /// The addend of the part of a destination that begins at `start`.
    pub(super) fn at(self, start: usize) -> Addend<'a> {
        match self {
            Addend::Matrix(matrix) => Addend::Matrix(&matrix[start..]),
            same => same,
        }
    }
}
