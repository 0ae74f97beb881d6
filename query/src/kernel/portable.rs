//! The summation order in plain Rust: the definition that the others must equal, and the fallback.

use super::{Element, LANES, MAX_TILE, Tile, reduce};

pub(super) fn tile<T: Element>(job: Tile<'_, T>, out: &mut [f32]) {
    for (row, out) in job.values.chunks_exact(job.dim).zip(out.chunks_mut(job.out_stride)) {
        let row = &row[job.span.clone()];
        let mut acc = [[0.0f32; LANES]; MAX_TILE];
        for (step, queries) in row.chunks_exact(LANES).zip(job.queries.chunks_exact(job.width)) {
            add_step(step, queries, &mut acc[..job.width]);
        }
        job.last_step(row, 0, &mut acc[..job.width]);
        for (out, acc) in out.iter_mut().zip(&acc[..job.width]) {
            *out = reduce(acc);
        }
    }
}

/// One step of the order: up to 16 values of a row times those of each query. Missing ones count as zeros.
#[inline(always)]
pub(super) fn add_step<T: Element>(step: &[T], queries: &[[f32; LANES]], acc: &mut [[f32; LANES]]) {
    let mut x = [0.0f32; LANES];
    for (x, value) in x.iter_mut().zip(step) {
        *x = value.widen();
    }
    for (acc, query) in acc.iter_mut().zip(queries) {
        for lane in 0..LANES {
            acc[lane] = x[lane].mul_add(query[lane], acc[lane]);
        }
    }
}
