//! Products of a transposed left factor: sums over rows of outer products, in f32.
//!
//! The columns of the left factor are copied tile by tile: as they lie, the steps of a tile are a row of the
//! matrix apart, and with many widths they share a few sets of the first cache.

use std::ops::Range;

use super::super::pool::Buffer;
use super::pack::Packed;
use super::product::{Output, Right};
use super::{Add, Destination, Extra, Kernel, Left, PANEL, Panel, cut};
use crate::backend::EachRows;

/// Values of the left factor that are copied at a time, but for whole tiles: next to a panel of the right
/// factor they stay in the second cache.
const COPIED: usize = 1 << 16;

/// Tiles that are copied at a time at least: with fewer, the panels would be read too often.
const TILES: usize = 4;

/// Some columns of a left factor, cut into tiles of `[k][stride]` values.
struct Tiles {
    values: Buffer,
    /// The columns of each tile.
    columns: Vec<Range<usize>>,
    stride: usize,
    k: usize,
}

impl Tiles {
    /// Copies columns of a matrix of `k` rows that start `stride` apart.
    fn of(kernel: &Kernel, a: Left<'_>, columns: &Range<usize>, k: usize) -> Self {
        let stride = kernel.rows().next_multiple_of(8);
        let tiles = cut(columns.len(), kernel.rows());
        let columns: Vec<_> =
            tiles.map(|tile| columns.start + tile.start..columns.start + tile.end).collect();
        let mut values = Buffer::take(columns.len() * k * stride);
        for (tile, columns) in values.chunks_exact_mut((k * stride).max(1)).zip(&columns) {
            match stride {
                8 => copy::<8>(tile, a, columns),
                16 => copy::<16>(tile, a, columns),
                _ => copy_any(tile.chunks_exact_mut(stride).enumerate(), a, columns),
            }
        }
        Self { values, columns, stride, k }
    }

    /// Each tile's columns, and their values.
    fn each(&self) -> impl Iterator<Item = (&Range<usize>, Left<'_>)> {
        let values = self.values.chunks_exact((self.k * self.stride).max(1));
        let left = |(columns, values)| (columns, Left::by_column(values, Range::len(columns), self.stride));
        self.columns.iter().zip(values).map(left)
    }
}

/// Copies columns of each row, with values behind them while there are any: a copy of fixed size is one
/// instruction.
fn copy<const N: usize>(tile: &mut [f32], a: Left<'_>, columns: &Range<usize>) {
    let (rows, _) = tile.as_chunks_mut::<N>();
    let mut rows = rows.iter_mut().enumerate();
    for (p, to) in rows.by_ref() {
        match a.data.get(p * a.stride + columns.start..).and_then(|from| from.first_chunk::<N>()) {
            Some(from) => *to = *from,
            None => copy_any([(p, &mut to[..])].into_iter(), a, columns),
        }
    }
}

fn copy_any<'t>(rows: impl Iterator<Item = (usize, &'t mut [f32])>, a: Left<'_>, columns: &Range<usize>) {
    for (p, to) in rows {
        to[..columns.len()].copy_from_slice(&a.data[p * a.stride..][columns.clone()]);
    }
}

/// Columns of a left factor that are copied at a time.
fn columns_at_a_time(kernel: &Kernel, k: usize) -> usize {
    (COPIED / k.max(1) / kernel.rows()).max(TILES) * kernel.rows()
}

/// Whether copying tiles costs less than it saves.
pub(super) fn pays(kernel: &Kernel, a: Left<'_>, cols: usize) -> bool {
    a.by_column && a.rows > 2 * kernel.rows() && cols > 2 * PANEL
}

/// As [`super::multiply`], of a left factor by column.
pub(super) fn multiply(kernel: &Kernel, to: Output<'_>, a: Left<'_>, b: Right<'_>, add: Add<'_>) {
    let panels = Packed::rows(b.data, b.stride, b.k, to.cols);
    for columns in cut(a.rows, columns_at_a_time(kernel, b.k)) {
        let tiles = Tiles::of(kernel, a, &columns, b.k);
        for (first, cols, panel) in panels.view().panels() {
            for (columns, left) in tiles.each() {
                let start = columns.start * to.stride + first;
                let add = match add {
                    Add::Matrix(matrix) => Add::Matrix(&matrix[start..]),
                    same => same,
                };
                let to = Destination { data: &mut to.data[start..], stride: to.stride, cols };
                kernel.panel(to, left, Panel::packed(panel), Extra { bias: None, add });
            }
        }
    }
}

/// Hands the sum of the outer products of `k` rows with themselves to `each`, some rows of it at a time: which,
/// the first of their columns, and their values from there on. They begin on the diagonal or before it.
pub(in super::super) fn gram(kernel: &Kernel, x: &[f32], k: usize, each: EachRows<'_>) {
    let n = x.len() / k.max(1);
    let panels = Packed::rows(x, n, k, n);
    for rows in cut(n, columns_at_a_time(kernel, k)) {
        let tiles = Tiles::of(kernel, Left::by_column(x, n, n), &rows, k);
        let before = rows.start / PANEL * PANEL;
        let stride = n - before;
        let mut sums = Buffer::take(rows.len() * stride);
        for (first, cols, panel) in panels.view().panels().skip(before / PANEL) {
            for (columns, left) in tiles.each() {
                let data = &mut sums[(columns.start - rows.start) * stride + first - before..];
                let to = Destination { data, stride, cols };
                kernel.panel(to, left, Panel::packed(panel), Extra::default());
            }
        }
        each(rows, before, &sums[..]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::level::{Level, Simd};
    use super::super::Kernels;
    use super::super::drawn::values;
    use super::super::product;
    use super::*;

    #[test]
    fn products_have_the_bits_of_those_of_the_transpose() {
        for level in Level::available() {
            let kernel = &Kernels::new(Simd::new(level).unwrap()).single;
            // Of one copy of columns and of several, with whole and partial tiles and panels.
            for (k, rows, cols) in [(1, 40, 70), (5, 43, 96), (37, 200, 65), (1300, 131, 100)] {
                let (stride, to_stride) = (rows + 3, cols + 5);
                let (a, b) = (values(k * stride, 1), values(k * cols, 2));
                let left = Left::by_column(&a, rows, stride);
                let right = Right { data: &b, stride: cols, k };
                assert!(pays(kernel, left, cols), "{level:?}");
                let turned: Vec<f32> = (0..rows * k).map(|at| a[at % k * stride + at / k]).collect();
                for add in [Add::Nothing, Add::Destination] {
                    let before = values(rows * to_stride, 3);
                    let (mut found, mut expected) = (before.clone(), before);
                    let to = |data| Output { data, stride: to_stride, cols };
                    multiply(kernel, to(&mut found), left, right, add);
                    let by_row = Left::by_row(&turned, rows, k);
                    product::multiply(kernel, to(&mut expected), by_row, right, add);
                    assert_eq!(found, expected, "{level:?} {k} {rows} {cols}");
                }
            }
        }
    }

    #[test]
    fn a_gram_has_the_bits_of_the_whole_product() {
        for level in Level::available() {
            let kernel = &Kernels::new(Simd::new(level).unwrap()).single;
            for (k, n) in [(1, 1), (3, 31), (7, 97), (1300, 130)] {
                let x = values(k * n, 4);
                let mut whole = vec![0.0; n * n];
                let (left, right) = (Left::by_column(&x, n, n), Right { data: &x, stride: n, k });
                multiply(kernel, Output { data: &mut whole, stride: n, cols: n }, left, right, Add::Nothing);
                let mut next = 0;
                gram(kernel, &x, k, &mut |rows, first, values| {
                    assert!(rows.start == next && first <= next, "{rows:?}");
                    next = rows.end;
                    let expected =
                        whole[rows.start * n..rows.end * n].chunks(n).flat_map(|row| &row[first..]);
                    assert!(values.iter().eq(expected), "{level:?} {k} {n} {rows:?}");
                });
                assert_eq!(next, n);
            }
        }
    }
}
