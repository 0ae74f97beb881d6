//! Right factors in panels.
//!
//! Invariant: panel `j` holds columns `32 j` to `32 j + 31` as `[k][32]`; columns beyond the
//! matrix are zeros. Pairs hold rows `2 p` (low half) and `2 p + 1` (high half) as bf16; the
//! partner of an odd last row is zero.

use std::sync::OnceLock;

use super::super::pool::{Buffer, Line};
use super::PANEL;

/// How a weight's values lie in its panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Format {
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
fn half_bits(x: f32) -> u32 {
    if x.is_nan() { 0x7fc0 } else { round(x).to_bits() >> 16 }
}

/// A matrix `[k, n]` in panels, for repeated use.
pub(in super::super) struct Side {
    lines: Vec<Line>,
    format: Format,
    k: usize,
    n: usize,
}

impl Side {
    fn pack(k: usize, n: usize, format: Format, at: impl Fn(usize, usize) -> f32) -> Side {
        let depth = if format == Format::Paired { k.div_ceil(2) } else { k };
        let mut lines = Line::zeros(n.div_ceil(PANEL) * PANEL * depth);
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut lines);
        for (j, panel) in values.chunks_exact_mut(PANEL * depth).enumerate() {
            let columns = j * PANEL..n.min((j + 1) * PANEL);
            for (p, row) in panel.chunks_exact_mut(PANEL).enumerate() {
                for (to, j) in row.iter_mut().zip(columns.clone()) {
                    *to = match format {
                        Format::Single => at(p, j),
                        Format::Rounded => round(at(p, j)),
                        Format::Paired => {
                            let high = if 2 * p + 1 < k { half_bits(at(2 * p + 1, j)) } else { 0 };
                            f32::from_bits(half_bits(at(2 * p, j)) | high << 16)
                        }
                    };
                }
            }
        }
        Side { lines, format, k, n }
    }

    fn at(&self, p: usize, j: usize) -> f32 {
        let column = j % PANEL;
        let panel = self.panel(j / PANEL);
        match self.format {
            Format::Paired => {
                let pair = panel[p / 2 * PANEL + column].to_bits();
                f32::from_bits(if p.is_multiple_of(2) { pair << 16 } else { pair & 0xffff_0000 })
            }
            _ => panel[p * PANEL + column],
        }
    }

    /// How the values lie.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Rows of the matrix.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the matrix.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Panel `j`; of pairs, their bits.
    pub fn panel(&self, j: usize) -> &[f32] {
        let depth = if self.format == Format::Paired { self.k.div_ceil(2) } else { self.k };
        &bytemuck::cast_slice(&self.lines)[j * PANEL * depth..(j + 1) * PANEL * depth]
    }
}

/// The weight of a linear layer, in panels for both directions; those of the backward are
/// made when first asked for.
pub(in super::super) struct Weights {
    forward: Side,
    backward: OnceLock<Side>,
}

impl Weights {
    /// Packs a row-major weight `[out, input]`.
    pub fn pack(weight: &[f32], out: usize, input: usize, format: Format) -> Weights {
        let forward = Side::pack(input, out, format, |p, j| weight[j * input + p]);
        Weights { forward, backward: OnceLock::new() }
    }

    /// Panels of the transposed weight, `[input, out]`.
    pub fn forward(&self) -> &Side {
        &self.forward
    }

    /// Panels of the weight, `[out, input]`.
    pub fn backward(&self) -> &Side {
        let forward = &self.forward;
        self.backward
            .get_or_init(|| Side::pack(forward.n, forward.k, forward.format, |p, j| forward.at(j, p)))
    }
}

/// A matrix `[k, n]` in f32 panels, for one operation.
pub(in super::super) struct Packed {
    values: Buffer,
    k: usize,
    n: usize,
}

impl Packed {
    /// Packs `k` rows of `n` values that start `stride` apart.
    pub fn rows(matrix: &[f32], stride: usize, k: usize, n: usize) -> Packed {
        let mut values = Buffer::take(n.div_ceil(PANEL) * PANEL * k);
        if k > 0 {
            for (j, panel) in values.chunks_exact_mut(PANEL * k).enumerate() {
                copy_panel(panel, &matrix[j * PANEL..], stride, PANEL.min(n - j * PANEL));
            }
        }
        Packed { values, k, n }
    }

    /// Packs the transpose of `n` rows of `k` values that start `stride` apart.
    pub fn transposed(matrix: &[f32], stride: usize, k: usize, n: usize) -> Packed {
        let mut values = Buffer::take(n.div_ceil(PANEL) * PANEL * k);
        if k > 0 {
            for (j, panel) in values.chunks_exact_mut(PANEL * k).enumerate() {
                let count = PANEL.min(n - j * PANEL);
                transpose_panel(panel, &matrix[j * PANEL * stride..], stride, k, count);
            }
        }
        Packed { values, k, n }
    }

    /// The panels.
    pub fn view(&self) -> Panels<'_> {
        Panels { values: &self.values, k: self.k, n: self.n, apart: PANEL * self.k }
    }
}

/// The panels of a matrix `[k, n]`, wherever they lie.
#[derive(Clone, Copy)]
pub(in super::super) struct Panels<'a> {
    /// The panels, one after the other.
    pub values: &'a [f32],
    /// Rows of the matrix.
    pub k: usize,
    /// Columns of the matrix.
    pub n: usize,
    /// Values from the start of a panel to that of the next; at least as many as a panel has.
    pub apart: usize,
}

impl<'a> Panels<'a> {
    /// Panel `j`.
    pub fn panel(&self, j: usize) -> &'a [f32] {
        &self.values[j * self.apart..][..PANEL * self.k]
    }

    /// The panels in turn: their first column, how many of their columns belong to the matrix, and their values.
    pub fn panels(self) -> impl Iterator<Item = (usize, usize, &'a [f32])> {
        let count = if self.k == 0 { 0 } else { self.n.div_ceil(PANEL) };
        (0..count).map(move |j| (j * PANEL, PANEL.min(self.n - j * PANEL), self.panel(j)))
    }
}

/// Copies `cols` columns of rows into a panel and zeros the others.
pub(super) fn copy_panel(panel: &mut [f32], matrix: &[f32], stride: usize, cols: usize) {
    for (p, row) in panel.chunks_exact_mut(PANEL).enumerate() {
        let from = &matrix[p * stride..p * stride + cols];
        if cols == PANEL {
            row.copy_from_slice(from);
        } else {
            row[..cols].copy_from_slice(from);
            row[cols..].fill(0.0);
        }
    }
}

/// Writes `count` rows of `k` values as columns of a panel and zeros the others.
fn transpose_panel(panel: &mut [f32], matrix: &[f32], stride: usize, k: usize, count: usize) {
    // Blocks of columns, so that what is read of each row is a cache line.
    const BLOCK: usize = 16;
    if count < PANEL {
        panel.fill(0.0);
    }
    for (b, block) in panel.chunks_mut(BLOCK * PANEL).enumerate() {
        let width = BLOCK.min(k - b * BLOCK);
        for j in 0..count {
            let from = &matrix[j * stride + b * BLOCK..][..width];
            if let Ok(from) = <&[f32; BLOCK]>::try_from(from) {
                for (p, v) in from.iter().enumerate() {
                    block[p * PANEL + j] = *v;
                }
            } else {
                for (p, v) in from.iter().enumerate() {
                    block[p * PANEL + j] = *v;
                }
            }
        }
    }
}
