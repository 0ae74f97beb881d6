//! int8 query vectors laid out for the kernels of codes.

use std::ops::Range;

use super::super::queries::{tile_queries, tiles};
use super::{CODE_STEP, MAX_CODE_DIM, MAX_TILE};

/// Query vectors of -127 to 127, packed as `[tile][step of 64 coordinates][query of the tile][64]`, so that a kernel reads one
/// contiguous stream whatever codes it multiplies them with.
#[derive(Debug, Clone)]
pub struct CodeQueries {
    dim: usize,
    count: usize,
    steps: Vec<Step>,
    /// Of each query: the sum of its coordinates.
    sums: Vec<i32>,
}

/// One step of one query; aligned so that no load crosses a cache line.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Step([i8; CODE_STEP]);

impl CodeQueries {
    /// `vectors` holds any number of vectors of `dim` values.
    ///
    /// # Panics
    /// When `dim` is not a multiple of [`CODE_STEP`] up to [`MAX_CODE_DIM`], the lengths disagree, or a value is -128.
    pub fn new(vectors: &[i8], dim: usize) -> Self {
        assert!(
            dim > 0 && dim <= MAX_CODE_DIM && dim.is_multiple_of(CODE_STEP),
            "no codes of {dim} coordinates"
        );
        assert!(vectors.len().is_multiple_of(dim));
        assert!(vectors.iter().all(|value| *value != i8::MIN), "a query's values lie in -127..=127");
        let count = vectors.len() / dim;
        let mut steps = Vec::with_capacity(vectors.len() / CODE_STEP);
        for tile in 0..tiles(count, MAX_TILE) {
            for start in (0..dim).step_by(CODE_STEP) {
                for query in tile_queries(count, tile, MAX_TILE) {
                    let step = &vectors[query * dim + start..][..CODE_STEP];
                    steps.push(Step(std::array::from_fn(|i| step[i])));
                }
            }
        }
        let sum = |vector: &[i8]| vector.iter().map(|value| i32::from(*value)).sum();
        Self { dim, count, steps, sums: vectors.chunks_exact(dim).map(sum).collect() }
    }

    /// Coordinates per vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True without vectors.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sum of a query's coordinates.
    #[inline]
    pub(super) fn sum(&self, query: usize) -> i32 {
        self.sums[query]
    }

    /// Queries of the widest tile.
    pub(super) fn tile_width(&self) -> usize {
        self.count.div_ceil(self.tiles().max(1))
    }

    pub(super) fn tiles(&self) -> usize {
        tiles(self.count, MAX_TILE)
    }

    pub(super) fn tile_queries(&self, tile: usize) -> Range<usize> {
        tile_queries(self.count, tile, MAX_TILE)
    }

    /// Steps x queries of the tile.
    pub(super) fn tile(&self, tile: usize) -> &[[i8; CODE_STEP]] {
        let (queries, steps) = (self.tile_queries(tile), self.dim / CODE_STEP);
        bytemuck::cast_slice(&self.steps[queries.start * steps..queries.end * steps])
    }
}
