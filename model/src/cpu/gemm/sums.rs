//! Sums over rows of products of two matrices' values, in the format of a weight's panels: the gradient of a
//! weight.
//!
//! Invariant: the bits of an element depend on its column of the left and of the right matrix alone.

use std::ops::Range;

use super::super::level::Simd;
use super::super::pool::Buffer;
use super::operands::{Output, Right};
use super::pairs::PairedPanels;
use super::product::multiply;
use super::weights::{PanelFormat, round};
use super::{Addend, Kernels, Left, PANEL, by_column};
use crate::backend::{RowVisitor, steps};

/// `to = a^T b + add` of `rows` rows, with the values of `a` and `b` in a format; `to` is row-major and as
/// wide as `b`.
pub(in super::super) fn sums(
    kernels: &Kernels,
    format: PanelFormat,
    to: &mut [f32],
    [a, b]: [&[f32]; 2],
    rows: usize,
    add: Addend<'_>,
) {
    let (width, n) = (a.len() / rows.max(1), b.len() / rows.max(1));
    let single = |to, a: &[f32], b: &[f32]| {
        let (left, right) = (Left::by_column(a, width, width), Right { data: b, stride: n, k: rows });
        multiply(&kernels.single, Output { data: to, stride: n, cols: n }, left, right, add);
    };
    match (format, &kernels.paired) {
        _ if a.is_empty() || b.is_empty() => {
            if matches!(add, Addend::Nothing) {
                to.fill(0.0);
            }
        }
        (PanelFormat::Single, _) => single(to, a, b),
        (PanelFormat::Paired | PanelFormat::Split, Some(paired)) => {
            let panels = PairedPanels::pack(kernels, paired, format.parts(), b, rows);
            for columns in steps(width, panels.columns_at_a_time()) {
                let start = columns.start * n;
                let to = Output { data: &mut to[start..], stride: n, cols: n };
                panels.multiply(to, (a, width), &columns, 0, add.at(start));
            }
        }
        (PanelFormat::Rounded, _) | (_, None) => {
            let [a, b] = [a, b].map(|values| rounded(kernels.simd, values));
            single(to, &a, &b);
        }
    }
}

/// Hands the sums of the outer products of each `step` of `k` rows, at least one, with themselves to `each`,
/// some rows of a sum at a time and the same ones of all sums in turn: which, the first of their columns, and
/// their values from there on. They begin on the diagonal or before it. Values have two parts if that is
/// their format, and are in f32 in every other, where products are summed in chains of [`by_column::CHAIN`].
pub(in super::super) fn grams(
    kernels: &Kernels,
    format: PanelFormat,
    x: &[f32],
    k: usize,
    step: usize,
    each: RowVisitor<'_>,
) {
    let Some(paired) = kernels.splitting().filter(|_| format == PanelFormat::Split) else {
        return by_column::grams(&kernels.single, x, k, step, each);
    };
    let n = x.len() / k;
    let rows_of = |span: Range<usize>| &x[span.start * n..span.end * n];
    let pack = |span: Range<usize>| {
        let rows = rows_of(span.clone());
        (rows, PairedPanels::pack(kernels, paired, format.parts(), rows, span.len()))
    };
    let packed: Vec<_> = steps(k, step).map(pack).collect();
    let at_a_time = packed.first().map_or(n, |(_, panels)| panels.columns_at_a_time());
    for columns in steps(n, at_a_time) {
        let skipped = columns.start / PANEL;
        let (first, cols) = (skipped * PANEL, n - skipped * PANEL);
        let mut sums = Buffer::take(columns.len() * cols);
        for (rows, panels) in &packed {
            let to = Output { data: &mut sums, stride: cols, cols };
            panels.multiply(to, (rows, n), &columns, skipped, Addend::Nothing);
            each(columns.clone(), first, &sums[..]);
        }
    }
}

/// Values rounded to bf16, as f32.
fn rounded(simd: Simd, values: &[f32]) -> Buffer {
    let mut copy = Buffer::copy_of(values);
    vectorised!(simd, copy.iter_mut().for_each(|value| *value = round(*value)));
    copy
}

#[cfg(test)]
mod tests {
    use super::super::super::level::SimdLevel;
    use super::super::drawn::{term, values};
    use super::*;

    /// The kernels of each level, and a format that they multiply.
    fn formats() -> Vec<(Kernels, PanelFormat)> {
        let of_level = |level| {
            let kernels = Kernels::new(Simd::new(level).unwrap());
            let rounded = if kernels.paired.is_some() { PanelFormat::Paired } else { PanelFormat::Rounded };
            let split = kernels.splitting().map(|_| PanelFormat::Split);
            [Some(PanelFormat::Single), Some(rounded), split]
                .into_iter()
                .flatten()
                .map(move |of| (kernels, of))
        };
        SimdLevel::available().into_iter().flat_map(of_level).collect()
    }

    #[test]
    fn sums_are_those_of_values_in_the_format_at_every_size_and_level() {
        for (kernels, format) in formats() {
            let level = kernels.simd.level();
            for (rows, width, n) in
                [(0, 3, 2), (1, 1, 1), (2, 17, 33), (31, 16, 32), (65, 300, 70), (70, 5, 1030)]
            {
                let (a, b) = (values(rows * width, 1), values(rows * n, 2));
                for add in [Addend::Nothing, Addend::Destination] {
                    let before = values(width * n, 3);
                    let mut found = before.clone();
                    sums(&kernels, format, &mut found, [&a, &b], rows, add);
                    for (at, (found, before)) in found.iter().zip(&before).enumerate() {
                        let of_row = |t: usize| term(format, a[t * width + at / n], b[t * n + at % n]);
                        let added = (0..rows).map(of_row).sum::<f64>();
                        let keeps = matches!(add, Addend::Destination);
                        let exact = if keeps { f64::from(*before) + added } else { added };
                        let off = (f64::from(*found) - exact).abs();
                        assert!(
                            off <= 1e-6 * (4.0 + rows as f64),
                            "{level:?} {format:?} {rows} {width} {n} at {at}: {off}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn an_element_has_the_same_bits_in_any_matrix() {
        for (kernels, format) in formats() {
            let (rows, width, n) = (37, 290, 50);
            let (a, b) = (values(rows * width, 1), values(rows * n, 2));
            let mut all = vec![0.0; width * n];
            sums(&kernels, format, &mut all, [&a, &b], rows, Addend::Nothing);
            for (i, j) in [(0, 0), (17, 31), (289, 49)] {
                let column = |of: &[f32], width: usize, at: usize| -> Vec<f32> {
                    of.chunks_exact(width).map(|row| row[at]).collect()
                };
                let mut alone = [0.0];
                let of_one = [&column(&a, width, i)[..], &column(&b, n, j)];
                sums(&kernels, format, &mut alone, of_one, rows, Addend::Nothing);
                assert_eq!(
                    alone[0].to_bits(),
                    all[i * n + j].to_bits(),
                    "{:?} {format:?} at {i}, {j}",
                    kernels.simd.level()
                );
            }
        }
    }

    #[test]
    fn grams_have_the_bits_of_whole_products() {
        for (kernels, format) in formats() {
            for (k, n, step) in
                [(1, 1, 1), (3, 31, 9), (7, 97, 7), (7, 97, 3), (1300, 130, 1300), (1300, 130, 500)]
            {
                let x = values(k * n, 4);
                // Sums of single samples are rounded in two parts or not at all.
                let of = if format == PanelFormat::Split { format } else { PanelFormat::Single };
                let chain = if format == PanelFormat::Split { step } else { by_column::CHAIN };
                let sum = |span: Range<usize>| {
                    let mut whole = vec![0.0; n * n];
                    for (at, x) in x[span.start * n..span.end * n].chunks(chain * n).enumerate() {
                        let add = if at == 0 { Addend::Nothing } else { Addend::Destination };
                        sums(&kernels, of, &mut whole, [x, x], x.len() / n, add);
                    }
                    whole
                };
                let wholes: Vec<Vec<f32>> = steps(k, step).map(sum).collect();
                // Which sum comes next, and from which row on.
                let (mut at, mut start) = (0, 0);
                grams(&kernels, format, &x, k, step, &mut |rows, first, values| {
                    assert!(rows.start == start && first <= start, "{rows:?}");
                    let expected =
                        wholes[at][rows.start * n..rows.end * n].chunks(n).flat_map(|row| &row[first..]);
                    assert!(values.iter().eq(expected), "{format:?} {k} {n} {step} {rows:?}");
                    at = (at + 1) % wholes.len();
                    start = if at == 0 { rows.end } else { start };
                });
                assert_eq!((at, start), (0, n));
            }
        }
    }

    #[test]
    fn grams_in_f32_lose_no_more_digits_in_long_sums_than_in_short_ones() {
        let (rows, n) = (256, 40);
        let x = vec![1.7; rows * n];
        let square = f64::from(1.7f32) * f64::from(1.7f32);
        for (kernels, _) in formats() {
            grams(&kernels, PanelFormat::Single, &x, rows, rows, &mut |_, _, values| {
                let off = values.iter().map(|sum| (f64::from(*sum) / (256.0 * square) - 1.0).abs());
                let off = off.fold(0.0, f64::max);
                assert!(off < 5e-7, "{:?}: {off}", kernels.simd.level());
            });
        }
    }
}
