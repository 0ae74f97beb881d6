//! Weights in panels, for repeated use.
//!
//! Invariant: panel `j` holds columns `32 j` to `32 j + 31` as `[k][32]`; columns beyond the matrix are
//! zeros. Pairs hold rows `2 p` (low half) and `2 p + 1` (high half) as bf16; the partner of an odd last row
//! is zero. Panels of two parts hold the pairs of all high parts, then those of all low ones.

use std::sync::OnceLock;

use super::super::pool::{Buffer, CacheLine};
use super::pack::transpose_panel;
use super::{PANEL, Panel};

/// How a weight's values lie in its panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum PanelFormat {
    /// As f32.
    Single,
    /// Rounded to bf16, as f32.
    Rounded,
    /// Pairs of bf16.
    Paired,
    /// Pairs of bf16, each value as two of them ([`split`]).
    Split,
}

/// The nearest bf16 (ties to even), as f32.
#[inline(always)]
pub(super) fn round(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = f32::from_bits(bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000);
    if x.is_nan() { x } else { rounded }
}

/// The nearest bf16, and the one nearest to what it leaves of the value: together 16 bits of the mantissa.
#[inline(always)]
pub(super) fn split(x: f32) -> [f32; 2] {
    let high = round(x);
    let rest = x - high;
    // An infinity or a NaN is in the high part alone.
    [high, if rest.is_finite() { round(rest) } else { 0.0 }]
}

/// The bits of the nearest bf16.
#[inline(always)]
fn half_bits(x: f32) -> u32 {
    if x.is_nan() { 0x7fc0 } else { round(x).to_bits() >> 16 }
}

impl PanelFormat {
    /// Whether panels hold pairs of bf16.
    pub fn is_paired(self) -> bool {
        matches!(self, PanelFormat::Paired | PanelFormat::Split)
    }

    /// Rows of the matrix that a row of a panel holds.
    fn rows(self) -> usize {
        if self.is_paired() { 2 } else { 1 }
    }

    /// Parts of a value.
    pub fn parts(self) -> usize {
        if self == PanelFormat::Split { 2 } else { 1 }
    }
}

/// A matrix `[k, n]` in panels.
pub(in super::super) struct PanelMatrix {
    lines: Vec<CacheLine>,
    /// How the values lie.
    pub format: PanelFormat,
    /// Rows of the matrix.
    pub k: usize,
    /// Columns of the matrix.
    pub n: usize,
}

impl PanelMatrix {
    fn zeros(k: usize, n: usize, format: PanelFormat) -> PanelMatrix {
        let depth = format.parts() * k.div_ceil(format.rows());
        PanelMatrix { lines: CacheLine::zeros(n.div_ceil(PANEL) * PANEL * depth), format, k, n }
    }

    /// Rows of a panel, in each part.
    fn depth(&self) -> usize {
        self.k.div_ceil(self.format.rows())
    }

    /// Values of a panel.
    fn panel_len(&self) -> usize {
        PANEL * self.format.parts() * self.depth()
    }

    /// Replaces the matrix by the transpose of `n` rows of `k` values.
    fn set_columns(&mut self, columns: &[f32]) {
        let (k, len, format) = (self.k, self.panel_len(), self.format);
        let depth = len / PANEL;
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut self.lines);
        // What is rounded is so along its row, where values lie next to each other.
        let mut rounded = Buffer::take(if format == PanelFormat::Single { 0 } else { len });
        for (panel, columns) in values.chunks_exact_mut(len).zip(columns.chunks(PANEL * k)) {
            let count = columns.len() / k;
            if format == PanelFormat::Single {
                transpose_panel(panel, columns, k, k, count);
                continue;
            }
            vectorised!({
                for (column, to) in columns.chunks_exact(k).zip(rounded.chunks_exact_mut(depth)) {
                    if format == PanelFormat::Rounded {
                        to.iter_mut().zip(column).for_each(|(to, v)| *to = round(*v));
                        continue;
                    }
                    let halves: &mut [u16] = bytemuck::cast_slice_mut(to);
                    let (high, low) = halves.split_at_mut(2 * depth / format.parts());
                    if format == PanelFormat::Split {
                        low.iter_mut().zip(column).for_each(|(to, v)| *to = half_bits(split(*v)[1]) as u16);
                        low[k..].fill(0);
                    }
                    high.iter_mut().zip(column).for_each(|(to, v)| *to = half_bits(*v) as u16);
                    high[k..].fill(0);
                }
            });
            transpose_panel(panel, &rounded, depth, depth, count);
        }
    }

    /// Replaces the rows of the matrix from `first` on, which is a multiple of [`PANEL`].
    fn set_rows(&mut self, first: usize, rows: &[f32]) {
        self.set_part(0, first, rows);
        if self.format == PanelFormat::Split {
            let mut low = Buffer::copy_of(rows);
            vectorised!(low.iter_mut().for_each(|v| *v = split(*v)[1]));
            self.set_part(1, first, &low);
        }
    }

    /// Replaces one part of these rows by the nearest values of its format.
    fn set_part(&mut self, part: usize, first: usize, rows: &[f32]) {
        vectorised!(self.put_part(part, first, rows));
    }

    #[inline(always)]
    fn put_part(&mut self, part: usize, first: usize, rows: &[f32]) {
        let (n, format) = (self.n, self.format);
        let (len, skipped) = (self.panel_len(), part * self.depth());
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut self.lines);
        for (j, panel) in values.chunks_exact_mut(len).enumerate() {
            let columns = j * PANEL..n.min((j + 1) * PANEL);
            let panel = panel[(skipped + first / format.rows()) * PANEL..].chunks_exact_mut(PANEL);
            for (to, rows) in panel.zip(rows.chunks(format.rows() * n)) {
                let (low, high) = rows.split_at(n);
                let values = to.iter_mut().zip(&low[columns.clone()]);
                match format {
                    PanelFormat::Single => values.for_each(|(to, v)| *to = *v),
                    PanelFormat::Rounded => values.for_each(|(to, v)| *to = round(*v)),
                    PanelFormat::Paired | PanelFormat::Split => {
                        // The partner of an odd last row.
                        let high = high.get(columns.clone()).unwrap_or(&[0.0; PANEL]);
                        for ((to, low), high) in values.zip(high) {
                            *to = f32::from_bits(half_bits(*low) | half_bits(*high) << 16);
                        }
                    }
                }
            }
        }
    }

    /// The value in row `p` and column `j` of a part.
    fn at(&self, part: usize, p: usize, j: usize) -> f32 {
        let column = j % PANEL;
        let panel = &self.values(j / PANEL)[part * self.depth() * PANEL..];
        if self.format.is_paired() {
            let pair = panel[p / 2 * PANEL + column].to_bits();
            f32::from_bits(if p.is_multiple_of(2) { pair << 16 } else { pair & 0xffff_0000 })
        } else {
            panel[p * PANEL + column]
        }
    }

    /// The values of panel `j`; of pairs, their bits.
    fn values(&self, j: usize) -> &[f32] {
        let len = self.panel_len();
        &bytemuck::cast_slice(&self.lines)[j * len..(j + 1) * len]
    }

    /// Panel `j`, as kernels take it.
    pub fn panel(&self, j: usize) -> Panel<'_> {
        Panel::of_parts(self.values(j), self.format.parts())
    }
}

/// The weight of a linear layer, in panels for both directions; those of the backward are
/// made when first asked for.
pub(in super::super) struct PackedWeights {
    forward: PanelMatrix,
    backward: OnceLock<PanelMatrix>,
}

impl PackedWeights {
    /// Packs a row-major weight `[out, input]`.
    pub fn pack(weight: &[f32], out: usize, input: usize, format: PanelFormat) -> PackedWeights {
        let mut forward = PanelMatrix::zeros(input, out, format);
        forward.set_columns(weight);
        PackedWeights { forward, backward: OnceLock::new() }
    }

    /// Packs another weight of the same sizes in the same memory.
    pub fn replace(&mut self, weight: &[f32]) {
        self.forward.set_columns(weight);
        let input = self.forward.k;
        if let Some(backward) = self.backward.get_mut() {
            for (block, rows) in weight.chunks(PANEL * input).enumerate() {
                backward.set_rows(block * PANEL, rows);
            }
        }
    }

    /// Panels of the transposed weight, `[input, out]`.
    pub fn forward(&self) -> &PanelMatrix {
        &self.forward
    }

    /// Panels of the weight, `[out, input]`.
    pub fn backward(&self) -> &PanelMatrix {
        self.backward.get_or_init(|| {
            let (forward, input) = (&self.forward, self.forward.k);
            let mut backward = PanelMatrix::zeros(forward.n, input, forward.format);
            let mut rows = Buffer::take(PANEL * input);
            for first in (0..forward.n).step_by(PANEL) {
                let rows = &mut rows[..PANEL.min(forward.n - first) * input];
                for part in 0..forward.format.parts() {
                    for (j, row) in rows.chunks_exact_mut(input).enumerate() {
                        row.iter_mut().enumerate().for_each(|(p, v)| *v = forward.at(part, p, first + j));
                    }
                    // Rounding what was rounded changes nothing.
                    backward.set_part(part, first, rows);
                }
            }
            backward
        })
    }
}

#[cfg(test)]
#[path = "weights_tests.rs"]
mod tests;
