//! Packed causal attention and its backward, tile by tile.
//!
//! Queries lie in the lanes of vectors, 32 side by side; keys go down the rows of a tile. So the softmax runs down columns without
//! crossing lanes, and four of the five products of the backward pass are one kernel. A tile has all keys that its queries see and no
//! more, so work and memory are linear in the keys of a sequence, and probabilities exist for one tile at a time.

use pulp::Simd;

use super::super::backend::{AttentionPlan, Heads};
use super::simd::exp;

/// Queries of a tile.
const BLOCK: usize = 32;
/// Rows that the kernels compute together; key counts and head widths are padded to it or to a multiple.
const ROWS: usize = 8;

type Lanes = [f32; BLOCK];

/// Outputs and log-sum-exp, row-major.
pub(super) struct Forward<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub heads: Heads,
    pub plan: &'a AttentionPlan,
    pub out: &'a mut [f32],
    pub log_sum: &'a mut [f32],
}

impl pulp::WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { q, k, v, heads, plan, out, log_sum } = self;
        let mut kv = KeysAndValues::default();
        let mut tile = Tile::default();
        for span in &plan.spans {
            for kv_head in 0..heads.kv {
                kv.load(k, v, span.keys.clone(), heads, kv_head);
                for head in kv_head * heads.group()..(kv_head + 1) * heads.group() {
                    for start in span.queries.clone().step_by(BLOCK) {
                        let rows = start..(start + BLOCK).min(span.queries.end);
                        let block = Block::new(rows, &plan.positions, head, heads);
                        block.transpose(q, heads.scale(), &mut tile.q);
                        product(
                            simd,
                            &kv.kt,
                            kv.keys_pad,
                            &tile.q,
                            heads.dim,
                            resized(&mut tile.p, block.keys_pad),
                        );
                        let (sums, logs) = softmax(&mut tile.p, &block);
                        let p = &tile.p[..block.keys];
                        product(simd, &kv.v, kv.dim_pad, p, block.keys, resized(&mut tile.out, kv.dim_pad));
                        block.untranspose(&tile.out, &sums.map(f32::recip), out);
                        for (lane, row) in block.rows.clone().enumerate() {
                            log_sum[row * heads.query + head] = logs[lane];
                        }
                    }
                }
            }
        }
    }
}

/// Gradients of q, k and v, row-major; every row of a span is written.
pub(super) struct Backward<'a> {
    pub grad: &'a [f32],
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub out: &'a [f32],
    pub log_sum: &'a [f32],
    pub heads: Heads,
    pub plan: &'a AttentionPlan,
    pub dq: &'a mut [f32],
    pub dk: &'a mut [f32],
    pub dv: &'a mut [f32],
}

impl pulp::WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Backward { grad, q, k, v, out, log_sum, heads, plan, dq, dk, dv } = self;
        let mut kv = KeysAndValues::default();
        let mut tile = Tile::default();
        let (mut dk_head, mut dv_head) = (Vec::new(), Vec::new());
        for span in &plan.spans {
            for kv_head in 0..heads.kv {
                kv.load(k, v, span.keys.clone(), heads, kv_head);
                for sums in [&mut dk_head, &mut dv_head] {
                    sums.clear();
                    sums.resize(kv.keys_pad * kv.dim_pad, 0.0);
                }
                for head in kv_head * heads.group()..(kv_head + 1) * heads.group() {
                    for start in span.queries.clone().step_by(BLOCK) {
                        let rows = start..(start + BLOCK).min(span.queries.end);
                        let block = Block::new(rows, &plan.positions, head, heads);
                        block.transpose(q, heads.scale(), &mut tile.q);
                        block.transpose(grad, 1.0, &mut tile.grad);
                        let (keys, keys_pad) = (block.keys, block.keys_pad);
                        product(
                            simd,
                            &kv.kt,
                            kv.keys_pad,
                            &tile.q,
                            heads.dim,
                            resized(&mut tile.p, keys_pad),
                        );
                        product(
                            simd,
                            &kv.vt,
                            kv.keys_pad,
                            &tile.grad,
                            heads.dim,
                            resized(&mut tile.dp, keys_pad),
                        );
                        let logs = block.lanes(|row| log_sum[row * heads.query + head]);
                        let along = block.lanes(|row| block.row_dot(grad, out, row));
                        softmax_backward(&mut tile.p, &mut tile.dp, &logs, &along, &block);

                        block.copy(grad, 1.0, kv.dim_pad, &mut tile.rows);
                        outer(simd, &tile.p, &tile.rows, kv.dim_pad, &mut dv_head);
                        block.copy(q, heads.scale(), kv.dim_pad, &mut tile.rows);
                        outer(simd, &tile.dp, &tile.rows, kv.dim_pad, &mut dk_head);
                        let ds = &tile.dp[..keys];
                        product(simd, &kv.k, kv.dim_pad, ds, keys, resized(&mut tile.out, kv.dim_pad));
                        block.untranspose(&tile.out, &[heads.scale(); BLOCK], dq);
                    }
                }
                for (sums, target) in [(&dk_head, &mut *dk), (&dv_head, &mut *dv)] {
                    for (row, sums) in span.keys.clone().zip(sums.chunks_exact(kv.dim_pad)) {
                        let start = (row * heads.kv + kv_head) * heads.dim;
                        target[start..start + heads.dim].copy_from_slice(&sums[..heads.dim]);
                    }
                }
            }
        }
    }
}

impl Heads {
    fn scale(self) -> f32 {
        (self.dim as f32).sqrt().recip()
    }
}

/// Buffers of one tile, reused.
#[derive(Default)]
struct Tile {
    /// Scaled queries, `[dim]` by lane.
    q: Vec<Lanes>,
    /// Output gradients, `[dim]` by lane.
    grad: Vec<Lanes>,
    /// Scores, then probabilities, `[keys]` by lane.
    p: Vec<Lanes>,
    /// Gradients of probabilities, then of scores, `[keys]` by lane.
    dp: Vec<Lanes>,
    /// Outputs or query gradients, `[dim_pad]` by lane.
    out: Vec<Lanes>,
    /// Queries or output gradients, lane by `[dim_pad]`.
    rows: Vec<f32>,
}

fn resized(rows: &mut Vec<Lanes>, len: usize) -> &mut [Lanes] {
    rows.resize(len, [0.0; BLOCK]);
    rows
}

/// Keys and values of one head of one sequence, as they are and transposed, padded with zeros.
#[derive(Default)]
struct KeysAndValues {
    keys_pad: usize,
    dim_pad: usize,
    /// `[keys_pad, dim_pad]`
    k: Vec<f32>,
    /// `[dim, keys_pad]`
    kt: Vec<f32>,
    v: Vec<f32>,
    vt: Vec<f32>,
}

impl KeysAndValues {
    // Kept out of the vectorised callers: there the strided stores would become scatter instructions, which are slower.
    #[inline(never)]
    fn load(&mut self, k: &[f32], v: &[f32], rows: std::ops::Range<usize>, heads: Heads, head: usize) {
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

/// Up to 32 queries of one head.
struct Block {
    rows: std::ops::Range<usize>,
    /// Position of each lane's query; unused lanes repeat the last one.
    positions: [i32; BLOCK],
    /// Keys that any query sees.
    keys: usize,
    keys_pad: usize,
    /// Keys that all queries see.
    common: usize,
    column: usize,
    stride: usize,
    dim: usize,
}

impl Block {
    #[inline(always)]
    fn new(rows: std::ops::Range<usize>, positions: &[u32], head: usize, heads: Heads) -> Block {
        let of_rows = &positions[rows.clone()];
        let first = of_rows.first().copied().unwrap_or(0);
        let last = of_rows.last().copied().unwrap_or(0);
        let mut lanes = [last as i32; BLOCK];
        for (lane, position) in lanes.iter_mut().zip(of_rows) {
            *lane = *position as i32;
        }
        let keys = last as usize + 1;
        Block {
            rows,
            positions: lanes,
            keys,
            keys_pad: keys.next_multiple_of(ROWS),
            common: first as usize + 1,
            column: head * heads.dim,
            stride: heads.query * heads.dim,
            dim: heads.dim,
        }
    }

    #[inline(always)]
    fn row<'a>(&self, x: &'a [f32], row: usize) -> &'a [f32] {
        &x[row * self.stride + self.column..][..self.dim]
    }

    /// One value per lane; zero for unused lanes.
    #[inline(always)]
    fn lanes(&self, value: impl Fn(usize) -> f32) -> Lanes {
        let mut lanes = [0.0; BLOCK];
        for (lane, row) in lanes.iter_mut().zip(self.rows.clone()) {
            *lane = value(row);
        }
        lanes
    }

    #[inline(always)]
    fn row_dot(&self, a: &[f32], b: &[f32], row: usize) -> f32 {
        super::simd::dot(self.row(a, row), self.row(b, row))
    }

    // Kept out of the vectorised callers: there the strided stores would become scatter instructions, which are slower.
    #[inline(never)]
    fn transpose(&self, x: &[f32], scale: f32, out: &mut Vec<Lanes>) {
        out.clear();
        out.resize(self.dim, [0.0; BLOCK]);
        for (lane, row) in self.rows.clone().enumerate() {
            for (value, lanes) in self.row(x, row).iter().zip(out.iter_mut()) {
                lanes[lane] = value * scale;
            }
        }
    }

    #[inline(always)]
    fn copy(&self, x: &[f32], scale: f32, width: usize, out: &mut Vec<f32>) {
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
    fn untranspose(&self, x: &[Lanes], scale: &Lanes, out: &mut [f32]) {
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
fn softmax(tile: &mut [Lanes], block: &Block) -> (Lanes, Lanes) {
    let mut largest = [f32::NEG_INFINITY; BLOCK];
    for (key, row) in tile.iter().enumerate() {
        for l in 0..BLOCK {
            let seen = key < block.common || key as i32 <= block.positions[l];
            largest[l] = if seen && row[l] > largest[l] { row[l] } else { largest[l] };
        }
    }
    let mut sums = [0.0; BLOCK];
    for (key, row) in tile.iter_mut().enumerate() {
        for l in 0..BLOCK {
            let e = exp(row[l] - largest[l]);
            row[l] = if key as i32 <= block.positions[l] { e } else { 0.0 };
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
fn softmax_backward(p: &mut [Lanes], dp: &mut [Lanes], logs: &Lanes, along: &Lanes, block: &Block) {
    for (key, (p, dp)) in p.iter_mut().zip(dp).enumerate() {
        for l in 0..BLOCK {
            let e = exp(p[l] - logs[l]);
            p[l] = if key as i32 <= block.positions[l] { e } else { 0.0 };
            dp[l] = p[l] * (dp[l] - along[l]);
        }
    }
}

/// `out[i] = sum_p a[p * lda + i] * b[p]` for `p < inner`; the number of rows of `out` is a multiple of [`ROWS`].
#[inline(always)]
fn product<S: Simd>(simd: S, a: &[f32], lda: usize, b: &[Lanes], inner: usize, out: &mut [Lanes]) {
    let b = S::as_simd_f32s(b.as_flattened()).0;
    let width = BLOCK / S::F32_LANES;
    for (block, out) in out.chunks_exact_mut(ROWS).enumerate() {
        let first = block * ROWS;
        let out = S::as_mut_simd_f32s(out.as_flattened_mut()).0;
        for column in (0..width).step_by(2) {
            let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
            for (a, b) in a.chunks_exact(lda).zip(b.chunks_exact(width)).take(inner) {
                let a = &a[first..first + ROWS];
                let (b0, b1) = (b[column], b[column + 1]);
                for (sums, a) in sums.iter_mut().zip(a) {
                    let a = simd.splat_f32s(*a);
                    sums[0] = simd.mul_add_e_f32s(a, b0, sums[0]);
                    sums[1] = simd.mul_add_e_f32s(a, b1, sums[1]);
                }
            }
            for (out, sums) in out.chunks_exact_mut(width).zip(sums) {
                out[column] = sums[0];
                out[column + 1] = sums[1];
            }
        }
    }
}

/// `out[i] += sum_l a[i][l] * b[l]`: rows of `b` and `out` have `width` values, a multiple of 16.
#[inline(always)]
fn outer<S: Simd>(simd: S, a: &[Lanes], b: &[f32], width: usize, out: &mut [f32]) {
    let b = S::as_simd_f32s(b).0;
    let vectors = width / S::F32_LANES;
    for (a, out) in a.as_chunks::<ROWS>().0.iter().zip(out.chunks_exact_mut(ROWS * width)) {
        let out = S::as_mut_simd_f32s(out).0;
        let mut column = 0;
        while column < vectors {
            if column + 1 < vectors {
                outer_columns::<S, 2>(simd, a, b, vectors, column, out);
                column += 2;
            } else {
                outer_columns::<S, 1>(simd, a, b, vectors, column, out);
                column += 1;
            }
        }
    }
}

#[inline(always)]
fn outer_columns<S: Simd, const N: usize>(
    simd: S,
    a: &[Lanes; ROWS],
    b: &[S::f32s],
    vectors: usize,
    column: usize,
    out: &mut [S::f32s],
) {
    let mut sums = [[simd.splat_f32s(0.0); N]; ROWS];
    for (sums, out) in sums.iter_mut().zip(out.chunks_exact(vectors)) {
        sums.copy_from_slice(&out[column..column + N]);
    }
    for (l, b) in b.chunks_exact(vectors).take(BLOCK).enumerate() {
        let b = &b[column..column + N];
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = simd.splat_f32s(a[l]);
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = simd.mul_add_e_f32s(a, *b, *sum);
            }
        }
    }
    for (sums, out) in sums.iter().zip(out.chunks_exact_mut(vectors)) {
        out[column..column + N].copy_from_slice(sums);
    }
}
