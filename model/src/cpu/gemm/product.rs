//! Matrix products, panel by panel.

use super::super::level::Simd;
use super::super::pool::Buffer;
use super::by_column;
use super::operands::{Output, Right};
use super::pack::copy_panel;
use super::weights::{PanelFormat, PanelMatrix, round};
use super::{Addend, Addends, Destination, Kernel, Kernels, Left, PANEL, PairedKernel, Panel, cut};

/// Tiles of rows that a panel is multiplied with before the next panel, at least: their rows stay in the
/// first-level cache.
const TILES: usize = 4;

/// Values of a matrix that stay in the second-level cache.
const CACHED: usize = 1 << 18;

/// Rows whose starts are a multiple of this many values apart would share cache sets; they
/// are copied apart first.
const ALIASING: usize = 1024;

/// Extra values between copied rows.
const APART: usize = 16;

/// `to = x w + bias + add` with `x` of `rows` rows; all matrices fill their slices.
pub(in super::super) fn linear(
    kernels: &Kernels,
    to: &mut [f32],
    x: &[f32],
    rows: usize,
    w: &PanelMatrix,
    bias: Option<&[f32]>,
    add: Addend<'_>,
) {
    let (k, n) = (w.k, w.n);
    let paired = kernels.paired.as_ref().filter(|_| w.format.is_paired());
    let kernel = paired.map_or(&kernels.single, |paired| &paired.kernel);
    let _begun = paired.map(PairedKernel::begin);
    for chunk in cut(rows, rows_at_a_time(kernel, k, n)) {
        let x = &x[chunk.start * k..chunk.end * k];
        let count = chunk.len();
        let copied = repack_left(paired, kernels.simd, w.format, x, k, n);
        let left = match &copied {
            Some(copy) => Left { low: copy.low, ..Left::by_row(&copy.values, count, copy.stride) },
            None => Left::by_row(x, count, k),
        };
        for j in 0..n.div_ceil(PANEL) {
            let first = j * PANEL;
            let start = chunk.start * n + first;
            let to = Destination { data: &mut to[start..], stride: n, cols: PANEL.min(n - first) };
            let extra = Addends { bias: bias.map(|bias| &bias[first..]), add: add.at(start) };
            kernel.panel(to, left, w.panel(j), extra);
        }
    }
}

/// Rows that a panel is multiplied with before the next panel. Panels of a large right factor come from
/// beyond the second-level cache each time, so that as many rows as stay there share them.
fn rows_at_a_time(kernel: &Kernel, k: usize, n: usize) -> usize {
    let tiles = if k * n > CACHED { CACHED / k / kernel.rows() } else { 0 };
    tiles.max(TILES) * kernel.rows()
}

/// Values from the start of a copied row of `width` values to that of the next.
pub(in super::super) fn row_stride(width: usize) -> usize {
    if width.is_multiple_of(ALIASING) { width + APART } else { width }
}

/// Rows in the form that a kernel multiplies.
struct RepackedRows {
    values: Buffer,
    stride: usize,
    /// As of [`Left`].
    low: usize,
}

/// Rows of width `k` in the form that the kernel multiplies; none if they are in it already.
fn repack_left(
    paired: Option<&PairedKernel>,
    simd: Simd,
    format: PanelFormat,
    x: &[f32],
    k: usize,
    n: usize,
) -> Option<RepackedRows> {
    let rows = x.len() / k;
    match (format, paired) {
        (PanelFormat::Single, _) if k.is_multiple_of(ALIASING) && n > 2 * PANEL => {
            let stride = row_stride(k);
            let mut copy = Buffer::take(rows * stride);
            for (from, to) in x.chunks_exact(k).zip(copy.chunks_exact_mut(stride)) {
                to[..k].copy_from_slice(from);
            }
            Some(RepackedRows { values: copy, stride, low: 0 })
        }
        (PanelFormat::Single, _) => None,
        (PanelFormat::Rounded, _) | (_, None) => {
            let stride = row_stride(k);
            let mut copy = Buffer::take(rows * stride);
            vectorised!(simd, {
                for (from, to) in x.chunks_exact(k).zip(copy.chunks_exact_mut(stride)) {
                    for (from, to) in from.iter().zip(to) {
                        *to = round(*from);
                    }
                }
            });
            Some(RepackedRows { values: copy, stride, low: 0 })
        }
        (PanelFormat::Paired | PanelFormat::Split, Some(paired)) => {
            let (pairs, parts) = (paired.pairs(k), format.parts());
            let stride = row_stride(parts * pairs);
            let mut copy = Buffer::take((rows + paired.kernel.shape.left.rows) * stride);
            for (from, to) in x.chunks_exact(k).zip(copy.chunks_exact_mut(stride)) {
                let to: &mut [u16] = bytemuck::cast_slice_mut(&mut to[..parts * pairs]);
                narrow(paired, from, to.chunks_exact_mut(2 * pairs));
            }
            Some(RepackedRows { values: copy, stride, low: (parts - 1) * pairs })
        }
    }
}

/// Rounds values to bf16, in as many parts (one or two) as there are destinations, with zeros behind them.
pub(super) fn narrow<'a>(paired: &PairedKernel, from: &[f32], to: impl IntoIterator<Item = &'a mut [u16]>) {
    let mut to = to.into_iter();
    let Some(high) = to.next() else { return };
    let (high, behind) = high.split_at_mut(from.len());
    behind.fill(0);
    #[cfg(target_arch = "x86_64")]
    match to.next() {
        Some(low) => {
            let (low, behind) = low.split_at_mut(from.len());
            behind.fill(0);
            super::avx512::to_parts(paired, from, high, low);
        }
        None => super::avx512::to_bf16(paired, from, high),
    }
    // There is no such kernel.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (paired, high);
}

/// `to = a b`, or added to `to`, in f32.
pub(in super::super) fn multiply(
    kernel: &Kernel,
    to: Output<'_>,
    a: Left<'_>,
    b: Right<'_>,
    add: Addend<'_>,
) {
    if b.k > 0 && by_column::is_worth_tiling(kernel, a, to.cols) {
        return by_column::multiply(kernel, to, a, b, add);
    }
    let Output { data, stride, cols } = to;
    // A panel is copied if that pays, or if its last vectors would reach beyond the matrix.
    let pays = a.rows > 2 * kernel.rows();
    let mut copy = None;
    for first in (0..cols).step_by(PANEL) {
        let width = PANEL.min(cols - first);
        let panel = if pays || kernel.readable(width) > width {
            let copy = copy.get_or_insert_with(|| Buffer::take(PANEL * b.k));
            copy_panel(copy, &b.data[first.min(b.data.len())..], b.stride, width);
            Panel::packed(copy)
        } else {
            Panel { data: &b.data[first.min(b.data.len())..], stride: b.stride, k: b.k }
        };
        let to = Destination { data: &mut data[first..], stride, cols: width };
        kernel.panel(to, a, panel, Addends { bias: None, add: add.at(first) });
    }
}
