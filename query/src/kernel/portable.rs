//! The summation order in plain Rust: the definition that the others must equal, and the fallback.

use super::job::Job;
use super::packing::MAX_TILE;
use super::{Element, LANES, reduce};

pub(super) fn products<T: Element>(job: &Job<'_, T>, out: &mut [f32]) {
    for (row, values) in job.values.chunks_exact(job.queries.dim()).enumerate() {
        for &group in job.groups {
            let values = &values[job.queries.span(group)];
            for tile in 0..job.queries.packing().tiles() {
                let range = job.queries.packing().tile_queries(tile);
                let mut lanes = [[0.0f32; LANES]; MAX_TILE];
                let lanes = &mut lanes[..range.len()];
                for (step, queries) in
                    values.chunks(LANES).zip(job.queries.tile(group, tile).chunks_exact(range.len()))
                {
                    add_step(step, queries, lanes);
                }
                for (query, lanes) in range.zip(lanes) {
                    job.put(out, row, group, query, &[reduce(lanes)]);
                }
            }
        }
    }
}

/// One step of the order: up to 16 values of a row times those of each query. Missing ones count as zeros.
#[inline(always)]
fn add_step<T: Element>(step: &[T], queries: &[[f32; LANES]], acc: &mut [[f32; LANES]]) {
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
