//! int8 query vectors laid out for the kernels of codes.

use std::ops::Range;

use super::super::lanes::{LanePacking, WORD};
use super::super::packing::{Line, Packing};
use super::{CODE_STEP, MAX_CODE_DIM};

/// Query vectors of -127 to 127, packed the same way for all kinds of codes.
#[derive(Debug, Clone)]
pub struct CodeQueries {
    packing: Packing,
    /// Of each query: the sum of its coordinates.
    sums: Vec<i32>,
    /// Where there are few queries, their values bit by bit: `[chunk of 512 coordinates][bit][query]`, the last chunk padded with zeros.
    planes: Vec<Line>,
    /// Where there are more than few, their values side by side.
    lanes: Option<LanePacking>,
}

/// Queries from which on they are multiplied side by side.
pub(super) const LANES_FROM: usize = 9;

/// Most queries whose bits are kept.
pub(super) const BIT_QUERIES: usize = 2;

/// Bits of a value, the last of which counts -128.
pub(super) const VALUE_BITS: usize = 8;

/// Coordinates whose bits fill a line.
pub(super) const BIT_STEP: usize = 512;

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
        let planes = match vectors.len() / dim {
            count @ 1..=BIT_QUERIES => planes(vectors, dim, count),
            _ => Vec::new(),
        };
        let count = vectors.len() / dim;
        let lanes = (count >= LANES_FROM).then(|| {
            LanePacking::new(count, std::slice::from_ref(&(0..dim)), WORD, |query, range| {
                std::array::from_fn(|i| vectors[query * dim + range.start + i] as u8)
            })
        });
        Self {
            planes,
            lanes,
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

    /// The values bit by bit, if there are few queries.
    pub(super) fn planes(&self) -> Option<&[Line]> {
        (!self.planes.is_empty()).then_some(&self.planes)
    }

    /// The values side by side, if there are more than few queries.
    pub(super) fn lanes(&self) -> Option<&LanePacking> {
        self.lanes.as_ref()
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

fn planes(vectors: &[i8], dim: usize, count: usize) -> Vec<Line> {
    let mut planes = vec![Line([0; 64]); dim.div_ceil(BIT_STEP) * VALUE_BITS * count];
    for (query, vector) in vectors.chunks_exact(dim).enumerate() {
        for (k, value) in vector.iter().enumerate() {
            let of_chunk = &mut planes[k / BIT_STEP * VALUE_BITS * count..][..VALUE_BITS * count];
            let (byte, bit) = (k % BIT_STEP / 8, k % 8);
            for (b, of_bit) in of_chunk.chunks_exact_mut(count).enumerate() {
                of_bit[query].0[byte] |= (*value as u8 >> b & 1) << bit;
            }
        }
    }
    planes
}
