//! Weights in panels, for repeated use.
//!
//! Invariant: panel `j` holds columns `32 j` to `32 j + 31` as `[k][32]`; columns beyond the matrix are
//! zeros. Pairs hold rows `2 p` (low half) and `2 p + 1` (high half) as bf16; the partner of an odd last row
//! is zero.

use std::sync::OnceLock;

use super::super::pool::{Buffer, CacheLine};
use super::PANEL;
use super::pack::transpose_panel;

/// How a weight's values lie in its panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum PanelFormat {
    /// As f32.
    Single,
    /// Rounded to bf16, as f32.
    Rounded,
    /// Pairs of bf16.
    Paired,
}

/// The nearest bf16 (ties to even), as f32.
#[inline(always)]
pub(super) fn round(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = f32::from_bits(bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000);
    if x.is_nan() { x } else { rounded }
}

/// The bits of the nearest bf16.
#[inline(always)]
fn half_bits(x: f32) -> u32 {
    if x.is_nan() { 0x7fc0 } else { round(x).to_bits() >> 16 }
}

impl PanelFormat {
    /// Rows of the matrix that a row of a panel holds.
    fn rows(self) -> usize {
        if self == PanelFormat::Paired { 2 } else { 1 }
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
        let depth = k.div_ceil(format.rows());
        PanelMatrix { lines: CacheLine::zeros(n.div_ceil(PANEL) * PANEL * depth), format, k, n }
    }

    /// Rows of a panel.
    fn depth(&self) -> usize {
        self.k.div_ceil(self.format.rows())
    }

    /// Replaces the matrix by the transpose of `n` rows of `k` values.
    fn set_columns(&mut self, columns: &[f32]) {
        let (k, depth, format) = (self.k, self.depth(), self.format);
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut self.lines);
        // What is rounded is so along its row, where values lie next to each other.
        let mut rounded = Buffer::take(if format == PanelFormat::Single { 0 } else { PANEL * depth });
        for (panel, columns) in values.chunks_exact_mut(PANEL * depth).zip(columns.chunks(PANEL * k)) {
            let count = columns.len() / k;
            if format == PanelFormat::Single {
                transpose_panel(panel, columns, k, k, count);
                continue;
            }
            vectorised!({
                for (column, to) in columns.chunks_exact(k).zip(rounded.chunks_exact_mut(depth)) {
                    if format == PanelFormat::Rounded {
                        to.iter_mut().zip(column).for_each(|(to, v)| *to = round(*v));
                    } else {
                        let halves: &mut [u16] = bytemuck::cast_slice_mut(to);
                        halves.iter_mut().zip(column).for_each(|(to, v)| *to = half_bits(*v) as u16);
                        halves[k..].fill(0);
                    }
                }
            });
            transpose_panel(panel, &rounded, depth, depth, count);
        }
    }

    /// Replaces the rows of the matrix from `first` on, which is a multiple of [`PANEL`].
    fn set_rows(&mut self, first: usize, rows: &[f32]) {
        vectorised!(self.put_rows(first, rows));
    }

    #[inline(always)]
    fn put_rows(&mut self, first: usize, rows: &[f32]) {
        let (n, depth, format) = (self.n, self.depth(), self.format);
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut self.lines);
        for (j, panel) in values.chunks_exact_mut(PANEL * depth).enumerate() {
            let columns = j * PANEL..n.min((j + 1) * PANEL);
            let panel = panel[first / format.rows() * PANEL..].chunks_exact_mut(PANEL);
            for (to, rows) in panel.zip(rows.chunks(format.rows() * n)) {
                let (low, high) = rows.split_at(n);
                let values = to.iter_mut().zip(&low[columns.clone()]);
                match format {
                    PanelFormat::Single => values.for_each(|(to, v)| *to = *v),
                    PanelFormat::Rounded => values.for_each(|(to, v)| *to = round(*v)),
                    PanelFormat::Paired => {
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

    fn at(&self, p: usize, j: usize) -> f32 {
        let column = j % PANEL;
        let panel = self.panel(j / PANEL);
        match self.format {
            PanelFormat::Paired => {
                let pair = panel[p / 2 * PANEL + column].to_bits();
                f32::from_bits(if p.is_multiple_of(2) { pair << 16 } else { pair & 0xffff_0000 })
            }
            _ => panel[p * PANEL + column],
        }
    }

    /// Panel `j`; of pairs, their bits.
    pub fn panel(&self, j: usize) -> &[f32] {
        let len = PANEL * self.depth();
        &bytemuck::cast_slice(&self.lines)[j * len..(j + 1) * len]
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
                for (j, row) in rows.chunks_exact_mut(input).enumerate() {
                    row.iter_mut().enumerate().for_each(|(p, v)| *v = forward.at(p, first + j));
                }
                // Rounding what was rounded changes nothing.
                backward.set_rows(first, rows);
            }
            backward
        })
    }
}

#[cfg(test)]
#[path = "weights_tests.rs"]
mod tests;
