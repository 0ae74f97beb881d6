//! Products of a transposed left factor: sums over rows of outer products, in f32.
//!
//! The columns of the left factor are copied tile by tile: as they lie, the steps of a tile are a row of the
//! matrix apart, and with many widths they share a few sets of the first cache.

use std::ops::Range;

use super::super::pool::Buffer;
use super::operands::{Output, Right};
use super::pack::{MatrixPanels, PackedMatrix};
use super::{Addend, Addends, Destination, Kernel, Left, PANEL, Panel, cut};
use crate::backend::{RowVisitor, steps};

/// Values of the left factor that are copied at a time, but for whole tiles: next to a panel of the right
/// factor they stay in the second cache.
const COPIED: usize = 1 << 16;

/// Tiles that are copied at a time at least: with fewer, the panels would be read too often.
const TILES: usize = 4;

/// Steps whose products are summed one after the other where a sum of squares is made. Longer sums lose digits
/// of what is small next to the largest: along eigenvectors of small eigenvalues, ten times as many at 256.
pub(super) const CHAIN: usize = 32;

/// Some columns of a left factor, cut into tiles of `[k][stride]` values as a kernel cuts rows.
struct Tiles {
    values: Buffer,
    columns: usize,
    stride: usize,
    k: usize,
}

impl Tiles {
    /// Copies columns of a matrix of `k` rows, at least one.
    fn of(kernel: &Kernel, a: Left<'_>, columns: &Range<usize>, k: usize) -> Self {
        // No kernel has a tile of more than 16 rows.
        let stride = if kernel.rows() <= 8 { 8 } else { 16 };
        let count = columns.len().div_ceil(kernel.rows());
        let mut values = Buffer::take(count * k * stride);
        let tiles = cut(columns.len(), kernel.rows());
        for (to, tile) in values.chunks_exact_mut(k * stride).zip(tiles) {
            let first = columns.start + tile.start;
            match stride {
                8 => copy::<8>(to, a, first, tile.len()),
                _ => copy::<16>(to, a, first, tile.len()),
            }
        }
        Self { values, columns: columns.len(), stride, k }
    }

    /// `to = a b + add`, where `b` has the columns of the panels from `skipped` on; products of up to `chain`
    /// steps are summed one after the other, and then these sums.
    fn multiply(
        &self,
        kernel: &Kernel,
        to: Output<'_>,
        (b, skipped): (MatrixPanels<'_>, usize),
        add: Addend<'_>,
        chain: usize,
    ) {
        let Output { data, stride, .. } = to;
        for (first, cols, panel) in b.panels().skip(skipped) {
            let start = first - skipped * PANEL;
            for part in steps(self.k, chain) {
                let values = &self.values[part.start * self.stride..];
                let left = Left::in_tiles(values, self.columns, self.stride, self.k * self.stride);
                let right = Panel::packed(&panel[part.start * PANEL..part.end * PANEL]);
                let add = if part.start == 0 { add.at(start) } else { Addend::Destination };
                let to = Destination { data: &mut data[start..], stride, cols };
                kernel.panel(to, left, right, Addends { bias: None, add });
            }
        }
    }
}

/// Copies `count` columns of each row, with values behind them while there are any: copies of one size are
/// moves, where those of several are calls.
fn copy<const N: usize>(tile: &mut [f32], a: Left<'_>, first: usize, count: usize) {
    let lines = tile.as_chunks_mut::<N>().0;
    let from = |p: usize| &a.data[p * a.stride + first..];
    let spare = a.data.len().checked_sub(first + N);
    let whole = spare.map_or(0, |spare| (spare / a.stride + 1).min(lines.len()));
    let (lines, last) = lines.split_at_mut(whole);
    for (p, to) in lines.iter_mut().enumerate() {
        to.copy_from_slice(&from(p)[..N]);
    }
    for (p, to) in last.iter_mut().enumerate() {
        to[..count].copy_from_slice(&from(whole + p)[..count]);
    }
}

/// Columns of a left factor that are copied at a time.
fn columns_at_a_time(kernel: &Kernel, k: usize) -> usize {
    (COPIED / k / kernel.rows()).max(TILES) * kernel.rows()
}

/// Whether copying tiles costs less than it saves.
pub(super) fn is_worth_tiling(kernel: &Kernel, a: Left<'_>, cols: usize) -> bool {
    a.by_column && a.rows > 2 * kernel.rows() && cols > 2 * PANEL
}

/// As [`super::multiply`], of a left factor by column and a right factor of at least one row.
pub(super) fn multiply(kernel: &Kernel, to: Output<'_>, a: Left<'_>, b: Right<'_>, add: Addend<'_>) {
    let Output { data, stride, cols } = to;
    let panels = PackedMatrix::rows(b.data, b.stride, b.k, cols);
    for columns in cut(a.rows, columns_at_a_time(kernel, b.k)) {
        let start = columns.start * stride;
        let to = Output { data: &mut data[start..], stride, cols };
        Tiles::of(kernel, a, &columns, b.k).multiply(kernel, to, (panels.view(), 0), add.at(start), b.k);
    }
}

/// As [`super::grams`], in f32.
pub(super) fn grams(kernel: &Kernel, x: &[f32], k: usize, step: usize, each: RowVisitor<'_>) {
    let n = x.len() / k;
    let panels = PackedMatrix::rows(x, n, k, n);
    for rows in cut(n, columns_at_a_time(kernel, step.min(k))) {
        let skipped = rows.start / PANEL;
        let (first, cols) = (skipped * PANEL, n - skipped * PANEL);
        let mut sums = Buffer::take(rows.len() * cols);
        for span in steps(k, step) {
            let left = Left::by_column(&x[span.start * n..span.end * n], n, n);
            let tiles = Tiles::of(kernel, left, &rows, span.len());
            let to = Output { data: &mut sums, stride: cols, cols };
            tiles.multiply(kernel, to, (panels.view().part(span), skipped), Addend::Nothing, CHAIN);
            each(rows.clone(), first, &sums[..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::level::{Simd, SimdLevel};
    use super::super::Kernels;
    use super::super::drawn::values;
    use super::super::product;
    use super::*;

    #[test]
    fn products_have_the_bits_of_those_of_the_transpose() {
        for level in SimdLevel::available() {
            let kernel = &Kernels::new(Simd::new(level).unwrap()).single;
            // Of one copy of columns and of several, with whole and partial tiles and panels.
            for (k, rows, cols) in [(1, 40, 70), (5, 43, 96), (37, 200, 65), (1300, 131, 100)] {
                let (stride, to_stride) = (rows + 3, cols + 5);
                let (a, b) = (values(k * stride, 1), values(k * cols, 2));
                let left = Left::by_column(&a, rows, stride);
                let right = Right { data: &b, stride: cols, k };
                assert!(is_worth_tiling(kernel, left, cols), "{level:?}");
                let turned: Vec<f32> = (0..rows * k).map(|at| a[at % k * stride + at / k]).collect();
                for add in [Addend::Nothing, Addend::Destination] {
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
}
