//! Sums over rows of products of two matrices' values, rounded to bf16: the gradient of a weight.
//!
//! Invariant: the bits of an element depend on its column of the left and of the right matrix alone.

use super::super::level::Simd;
use super::super::pool::Buffer;
use super::operands::{Output, Right};
use super::product::{multiply, narrow, row_stride};
use super::transpose::transpose;
use super::weights::round;
use super::{Addend, Addends, Destination, Kernels, Left, PANEL, PairedKernel, Panel, cut};

/// Columns of the left matrix that are transposed at a time: next to the panels of the right matrix they stay
/// in the second-level cache.
const COLUMNS: usize = 128;

/// `to += a^T b` of `rows` rows, with all values of `a` and `b` rounded to bf16; `to` is row-major.
pub(in super::super) fn add_sums_of_rounded(
    kernels: &Kernels,
    to: &mut [f32],
    a: &[f32],
    b: &[f32],
    rows: usize,
) {
    if a.is_empty() || b.is_empty() {
        return;
    }
    let (width, n) = (a.len() / rows, b.len() / rows);
    let Some(paired) = &kernels.paired else {
        let [a, b] = [a, b].map(|values| rounded(kernels.simd, values));
        let (left, right) = (Left::by_column(&a, width, width), Right { data: &b, stride: n, k: rows });
        let to = Output { data: to, stride: n, cols: n };
        return multiply(&kernels.single, to, left, right, Addend::Destination);
    };
    let pairs = rows.div_ceil(2);
    let panels = panels_of_pairs(paired, kernels.simd, b, rows);
    let reads = paired.kernel.shape.left;
    let stride = row_stride(pairs.next_multiple_of(reads.steps));
    let mut left = Buffer::take((COLUMNS.min(width) + reads.rows) * stride);
    let mut halves = Buffer::take((rows * COLUMNS.min(width)).div_ceil(2));
    let _begun = paired.begin();
    for columns in cut(width, COLUMNS) {
        let count = columns.len();
        let halves: &mut [u16] = &mut bytemuck::cast_slice_mut(&mut halves)[..rows * count];
        for (row, to) in a.chunks_exact(width).zip(halves.chunks_exact_mut(count)) {
            narrow(Some(paired), &row[columns.clone()], to);
        }
        transpose_pairs(kernels.simd, halves, count, &mut left, stride);
        let left = Left::by_row(&left, count, stride);
        for (j, panel) in panels.chunks_exact(PANEL * pairs).enumerate() {
            let data = &mut to[columns.start * n + j * PANEL..];
            let to = Destination { data, stride: n, cols: PANEL.min(n - j * PANEL) };
            let extra = Addends { bias: None, add: Addend::Destination };
            paired.kernel.panel(to, left, Panel::packed(panel), extra);
        }
    }
}

/// Values rounded to bf16, as f32.
fn rounded(simd: Simd, values: &[f32]) -> Buffer {
    let mut copy = Buffer::copy_of(values);
    vectorised!(simd, copy.iter_mut().for_each(|value| *value = round(*value)));
    copy
}

/// A matrix of so many rows as panels of pairs: row `p` of a panel has rows `2 p` and `2 p + 1` of its
/// columns.
fn panels_of_pairs(paired: &PairedKernel, simd: Simd, matrix: &[f32], rows: usize) -> Buffer {
    let (n, pairs) = (matrix.len() / rows, rows.div_ceil(2));
    let mut halves = Buffer::take(matrix.len().div_ceil(2));
    let halves: &mut [u16] = &mut bytemuck::cast_slice_mut(&mut halves)[..matrix.len()];
    narrow(Some(paired), matrix, halves);
    let mut panels = Buffer::take(n.div_ceil(PANEL) * PANEL * pairs);
    vectorised!(simd, {
        for (j, panel) in panels.chunks_exact_mut(PANEL * pairs).enumerate() {
            let columns = j * PANEL..n.min((j + 1) * PANEL);
            for (p, to) in panel.chunks_exact_mut(PANEL).enumerate() {
                pair_rows(halves, n, p, columns.start, &mut to[..columns.len()]);
                to[columns.len()..].fill(0.0);
            }
        }
    });
    panels
}

/// Pair `p` of the rows of a matrix of `width` columns, from column `first` on. The partner of an odd last
/// row is zero.
#[inline(always)]
fn pair_rows(halves: &[u16], width: usize, p: usize, first: usize, to: &mut [f32]) {
    let count = to.len();
    let low = &halves[2 * p * width + first..][..count];
    let pair = |low: u16, high: u16| f32::from_bits(u32::from(low) | u32::from(high) << 16);
    match halves.get((2 * p + 1) * width + first..).and_then(|high| high.get(..count)) {
        Some(high) => {
            to.iter_mut().zip(low).zip(high).for_each(|((to, low), high)| *to = pair(*low, *high));
        }
        None => to.iter_mut().zip(low).for_each(|(to, low)| *to = pair(*low, 0)),
    }
}

/// The transpose of a matrix's pairs of rows: row `j` of `to`, which has `stride` pairs, gets those of column
/// `j`, and zeros behind them.
fn transpose_pairs(simd: Simd, halves: &[u16], width: usize, to: &mut [f32], stride: usize) {
    let pairs = (halves.len() / width).div_ceil(2);
    let mut rows = Buffer::take(pairs * width);
    vectorised!(simd, {
        for (p, row) in rows.chunks_exact_mut(width).enumerate() {
            pair_rows(halves, width, p, 0, row);
        }
    });
    transpose(&rows, width, [pairs, width], to, stride);
    to.chunks_exact_mut(stride).take(width).for_each(|row| row[pairs..].fill(0.0));
}

#[cfg(test)]
mod tests {
    use super::super::super::level::SimdLevel;
    use super::super::drawn::values;
    use super::*;

    #[test]
    fn sums_are_those_of_rounded_values_at_every_size_and_level() {
        for level in SimdLevel::available() {
            let kernels = Kernels::new(Simd::new(level).unwrap());
            for (rows, width, n) in
                [(0, 3, 2), (1, 1, 1), (2, 17, 33), (31, 16, 32), (65, 300, 70), (70, 5, 1030)]
            {
                let (a, b) = (values(rows * width, 1), values(rows * n, 2));
                let before = values(width * n, 3);
                let mut found = before.clone();
                add_sums_of_rounded(&kernels, &mut found, &a, &b, rows);
                for (at, (found, before)) in found.iter().zip(&before).enumerate() {
                    let term = |t: usize| {
                        f64::from(round(a[t * width + at / n])) * f64::from(round(b[t * n + at % n]))
                    };
                    let exact = f64::from(*before) + (0..rows).map(term).sum::<f64>();
                    let off = (f64::from(*found) - exact).abs();
                    assert!(off <= 1e-6 * (4.0 + rows as f64), "{level:?} {rows} {width} {n} at {at}: {off}");
                }
            }
        }
    }

    #[test]
    fn an_element_has_the_same_bits_in_any_matrix() {
        for level in SimdLevel::available() {
            let kernels = Kernels::new(Simd::new(level).unwrap());
            let (rows, width, n) = (37, 290, 50);
            let (a, b) = (values(rows * width, 1), values(rows * n, 2));
            let mut all = vec![0.0; width * n];
            add_sums_of_rounded(&kernels, &mut all, &a, &b, rows);
            for (i, j) in [(0, 0), (17, 31), (289, 49)] {
                let column = |of: &[f32], width: usize, at: usize| -> Vec<f32> {
                    of.chunks_exact(width).map(|row| row[at]).collect()
                };
                let mut alone = [0.0];
                add_sums_of_rounded(&kernels, &mut alone, &column(&a, width, i), &column(&b, n, j), rows);
                assert_eq!(alone[0].to_bits(), all[i * n + j].to_bits(), "{level:?} at {i}, {j}");
            }
        }
    }
}
