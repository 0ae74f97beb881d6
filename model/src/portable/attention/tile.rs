//! A tile: up to 32 queries of one head beside the keys that they see.

use std::ops::Range;

use super::super::super::backend::{AttentionForm, Heads};
use super::super::simd::{dot, exp};

/// Queries of a tile.
pub(super) const BLOCK: usize = 32;
/// Rows that the kernels compute together; key counts and head widths are padded to it or to a multiple.
pub(super) const ROWS: usize = 8;

/// One value per query of a tile.
pub(super) type Lanes = [f32; BLOCK];

/// Buffers of one tile, reused.
#[derive(Default)]
pub(super) struct Tile {
    /// Scaled queries, `[dim]` by lane.
    pub q: Vec<Lanes>,
    /// Output gradients, `[dim]` by lane.
    pub grad: Vec<Lanes>,
    /// Scores, then probabilities, `[keys]` by lane.
    pub p: Vec<Lanes>,
    /// Gradients of probabilities, then of scores, `[keys]` by lane.
    pub dp: Vec<Lanes>,
    /// Derivatives of a softcap, `[keys]` by lane.
    pub slopes: Vec<Lanes>,
    /// Outputs or query gradients, `[dim_pad]` by lane.
    pub out: Vec<Lanes>,
    /// Queries or output gradients, lane by `[dim_pad]`.
    pub rows: Vec<f32>,
}

pub(super) fn resized(rows: &mut Vec<Lanes>, len: usize) -> &mut [Lanes] {
    rows.resize(len, [0.0; BLOCK]);
    rows
}

/// Keys and values of one head of one sequence, as they are and transposed, padded with zeros.
#[derive(Default)]
pub(super) struct KeysAndValues {
    pub keys_pad: usize,
    pub dim_pad: usize,
    /// `[keys_pad, dim_pad]`
    pub k: Vec<f32>,
    /// `[dim, keys_pad]`
    pub kt: Vec<f32>,
    pub v: Vec<f32>,
    pub vt: Vec<f32>,
}

impl KeysAndValues {
    // Kept out of the vectorised callers: there the strided stores would become scatter instructions, which are slower.
    #[inline(never)]
    pub fn load(&mut self, k: &[f32], v: &[f32], rows: Range<usize>, heads: Heads, head: usize) {
        self.keys_pad = rows.len().next_multiple_of(ROWS);
        self.dim_pad = heads.dim.next_multiple_of(2 * ROWS);
        let stride = heads.kv * heads.dim;
        for (from, plain, turned) in [(k, &mut self.k, &mut self.kt), (v, &mut self.v, &mut self.vt)] {
            plain.clear();
            plain.resize(self.keys_pad * self.dim_pad, 0.0);
            turned.clear();
            turned.resize(self.keys_pad * heads.dim, 0.0);
            for (i, row) in rows.clone().enumerate() {
                let values = &from[row * stride + head * heads.dim..][..heads.dim];
                plain[i * self.dim_pad..][..heads.dim].copy_from_slice(values);
                for (value, column) in values.iter().zip(turned.chunks_exact_mut(self.keys_pad)) {
                    column[i] = *value;
                }
            }
        }
    }
}

/// Up to 32 queries of one head. Keys are counted from the tile's first one.
pub(super) struct Block {
    pub rows: Range<usize>,
    /// First key of the tile in its sequence, a multiple of [`ROWS`].
    pub from: usize,
    /// Keys from the first to the last that any query sees.
    pub keys: usize,
    pub keys_pad: usize,
    /// First and last key that each lane's query sees; unused lanes repeat the last query.
    oldest: [i32; BLOCK],
    newest: [i32; BLOCK],
    /// Keys that all queries see.
    common: Range<usize>,
    column: usize,
    stride: usize,
    dim: usize,
}

impl Block {
    #[inline(always)]
    pub fn new(rows: Range<usize>, positions: &[u32], head: usize, form: AttentionForm) -> Block {
        let heads = form.heads;
        let of_rows = &positions[rows.clone()];
        let first = of_rows.first().copied().unwrap_or(0) as usize;
        let last = of_rows.last().copied().unwrap_or(0) as usize;
        let oldest_of = |position: usize| match form.window {
            None => 0,
            Some(window) => (position + 1).saturating_sub(window),
        };
        let from = oldest_of(first) / ROWS * ROWS;
        let mut oldest = [(oldest_of(last) - from) as i32; BLOCK];
        let mut newest = [(last - from) as i32; BLOCK];
        for ((oldest, newest), position) in oldest.iter_mut().zip(&mut newest).zip(of_rows) {
            let position = *position as usize;
            (*oldest, *newest) = ((oldest_of(position) - from) as i32, (position - from) as i32);
        }
        let keys = last + 1 - from;
        Block {
            rows,
            from,
            keys,
            keys_pad: keys.next_multiple_of(ROWS),
            oldest,
            newest,
            common: oldest_of(last) - from..first + 1 - from,
            column: head * heads.dim,
            stride: heads.query * heads.dim,
            dim: heads.dim,
        }
    }

    #[inline(always)]
    fn sees(&self, lane: usize, key: usize) -> bool {
        (key as i32 >= self.oldest[lane]) & (key as i32 <= self.newest[lane])
    }

    #[inline(always)]
    pub fn row<'a>(&self, x: &'a [f32], row: usize) -> &'a [f32] {
        &x[row * self.stride + self.column..][..self.dim]
    }

    /// One value per lane; zero for unused lanes.
    #[inline(always)]
    pub fn lanes(&self, value: impl Fn(usize) -> f32) -> Lanes {
        let mut lanes = [0.0; BLOCK];
        for (lane, row) in lanes.iter_mut().zip(self.rows.clone()) {
            *lane = value(row);
        }
        lanes
    }

    #[inline(always)]
    pub fn row_dot(&self, a: &[f32], b: &[f32], row: usize) -> f32 {
        dot(self.row(a, row), self.row(b, row))
    }

    // Kept out of the vectorised callers: there the strided stores would become scatter instructions, which are slower.
    #[inline(never)]
    pub fn transpose(&self, x: &[f32], scale: f32, out: &mut Vec<Lanes>) {
        out.clear();
        out.resize(self.dim, [0.0; BLOCK]);
        for (lane, row) in self.rows.clone().enumerate() {
            for (value, lanes) in self.row(x, row).iter().zip(out.iter_mut()) {
                lanes[lane] = value * scale;
            }
        }
    }

    #[inline(always)]
    pub fn copy(&self, x: &[f32], scale: f32, width: usize, out: &mut Vec<f32>) {
        out.clear();
        out.resize(BLOCK * width, 0.0);
        for (row, out) in self.rows.clone().zip(out.chunks_exact_mut(width)) {
            for (value, out) in self.row(x, row).iter().zip(out) {
                *out = value * scale;
            }
        }
    }

    // Kept out of the vectorised callers: there the strided stores would become scatter instructions, which are slower.
    #[inline(never)]
    pub fn untranspose(&self, x: &[Lanes], scale: &Lanes, out: &mut [f32]) {
        for (lane, row) in self.rows.clone().enumerate() {
            let out = &mut out[row * self.stride + self.column..][..self.dim];
            for (out, lanes) in out.iter_mut().zip(x) {
                *out = lanes[lane] * scale[lane];
            }
        }
    }
}

/// Turns scores into unnormalised probabilities; returns their sums and the log-sum-exp of the scores.
#[inline(always)]
pub(super) fn softmax(tile: &mut [Lanes], block: &Block) -> (Lanes, Lanes) {
    let mut largest = [f32::NEG_INFINITY; BLOCK];
    for (key, row) in tile.iter().enumerate() {
        let all = block.common.contains(&key);
        for l in 0..BLOCK {
            let seen = all | block.sees(l, key);
            largest[l] = if seen & (row[l] > largest[l]) { row[l] } else { largest[l] };
        }
    }
    let mut sums = [0.0; BLOCK];
    for (key, row) in tile.iter_mut().enumerate() {
        let all = block.common.contains(&key);
        for l in 0..BLOCK {
            let e = exp(row[l] - largest[l]);
            row[l] = if all | block.sees(l, key) { e } else { 0.0 };
            sums[l] += row[l];
        }
    }
    let mut logs = [0.0; BLOCK];
    for l in 0..BLOCK {
        logs[l] = largest[l] + sums[l].ln();
    }
    (sums, logs)
}

/// From scores and gradients of probabilities to probabilities and gradients of scores: `p = exp(s - log_sum)`, `ds = p (dp - along)`.
#[inline(always)]
pub(super) fn softmax_backward(
    p: &mut [Lanes],
    dp: &mut [Lanes],
    logs: &Lanes,
    along: &Lanes,
    block: &Block,
) {
    for (key, (p, dp)) in p.iter_mut().zip(dp).enumerate() {
        let all = block.common.contains(&key);
        for l in 0..BLOCK {
            let e = exp(p[l] - logs[l]);
            p[l] = if all | block.sees(l, key) { e } else { 0.0 };
            dp[l] = p[l] * (dp[l] - along[l]);
        }
    }
}
