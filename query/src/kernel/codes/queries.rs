//! int8 query vectors laid out for the kernels of codes.

use std::ops::Range;

use super::super::packing::{Line, Packing};
use super::{CODE_STEP, MAX_CODE_DIM};

/// Query vectors of -127 to 127, packed the same way for all kinds of codes.
#[derive(Debug, Clone)]
pub struct CodeQueries {
    packing: Packing,
    /// Of each query: the sum of its coordinates.
    sums: Vec<i32>,
}

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
        let fill = |query: usize, range: Range<usize>, line: &mut Line| {
            line.0.copy_from_slice(bytemuck::cast_slice(&vectors[query * dim..][range]));
        };
        let sum = |vector: &[i8]| vector.iter().map(|value| i32::from(*value)).sum();
        Self {
            packing: Packing::new(vectors.len() / dim, dim, &[], CODE_STEP, fill),
            sums: vectors.chunks_exact(dim).map(sum).collect(),
        }
    }

    /// Coordinates per vector.
    pub fn dim(&self) -> usize {
        self.packing.dim()
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.packing.len()
    }

    /// True without vectors.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sum of a query's coordinates.
    #[inline]
    pub(super) fn sum(&self, query: usize) -> i32 {
        self.sums[query]
    }

    /// Queries of the widest tile.
    pub(super) fn tile_width(&self) -> usize {
        self.packing.tile_width()
    }

    pub(super) fn tiles(&self) -> usize {
        self.packing.tiles()
    }

    pub(super) fn tile_queries(&self, tile: usize) -> Range<usize> {
        self.packing.tile_queries(tile)
    }

    /// Steps x queries of the tile.
    pub(super) fn tile(&self, tile: usize) -> &[[i8; CODE_STEP]] {
        bytemuck::cast_slice(self.packing.tile(0, tile))
    }
}
