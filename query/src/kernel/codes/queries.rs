//! int8 query vectors laid out for the kernels of codes.

use std::ops::Range;
use std::sync::OnceLock;

use super::super::lanes::{LanePacking, WORD};
use super::super::packing::{CacheLine, Packing};
use super::tables::SignTables;
use super::{CODE_STEP, MAX_CODE_DIM};

/// Query vectors of -127 to 127, packed as the kernels read them once they ask for it.
#[derive(Debug, Clone)]
pub struct CodeQueries {
    dim: usize,
    vectors: Vec<i8>,
    /// Of each query: the sum of its coordinates.
    sums: Vec<i32>,
    /// The largest magnitude of a value.
    largest: usize,
    /// Their values step by step.
    steps: OnceLock<Packing>,
    /// Their values side by side.
    lanes: OnceLock<LanePacking>,
    /// Their values bit by bit: `[chunk of 512 coordinates][bit][query]`, the last chunk padded with zeros.
    bits: OnceLock<Vec<CacheLine>>,
    /// Their products with signs.
    tables: OnceLock<SignTables>,
}

/// The largest magnitude of a query's values.
pub(super) const LARGEST: usize = 127;

/// Queries from which on they are multiplied side by side.
pub(super) const LANES_FROM: usize = 9;

/// Bits of a value that signs are multiplied with, the last of which counts -16.
pub(super) const VALUE_BITS: usize = 5;

/// Coordinates whose bits fill a line.
pub(super) const BIT_STEP: usize = 512;

impl CodeQueries {
    /// `vectors` holds any number of vectors of `dim` values.
    ///
    /// # Panics
    /// When `dim` is not a multiple of [`CODE_STEP`] up to `MAX_CODE_DIM`, the lengths
    /// disagree, or a value is -128.
    pub fn new(vectors: &[i8], dim: usize) -> Self {
        assert!(
            dim > 0 && dim <= MAX_CODE_DIM && dim.is_multiple_of(CODE_STEP),
            "no codes of {dim} coordinates"
        );
        assert!(vectors.len().is_multiple_of(dim));
        let sum = |vector: &[i8]| vector.iter().map(|value| i32::from(*value)).sum();
        let largest = vectors.iter().fold(0, |most, value| value.unsigned_abs().max(most));
        assert!(usize::from(largest) <= LARGEST, "a query's values lie in -127..=127");
        Self {
            dim,
            sums: vectors.chunks_exact(dim).map(sum).collect(),
            largest: usize::from(largest),
            vectors: vectors.to_vec(),
            steps: OnceLock::new(),
            lanes: OnceLock::new(),
            bits: OnceLock::new(),
            tables: OnceLock::new(),
        }
    }

    /// Coordinates per vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.sums.len()
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

    /// Those of all queries.
    pub(super) fn sums(&self) -> &[i32] {
        &self.sums
    }

    /// The largest magnitude of a value.
    pub(super) fn largest(&self) -> usize {
        self.largest
    }

    /// The values bit by bit.
    pub(super) fn bits(&self) -> &[CacheLine] {
        self.bits.get_or_init(|| bits(&self.vectors, self.dim, self.len()))
    }

    /// The values side by side.
    pub(super) fn lanes(&self) -> &LanePacking {
        self.lanes.get_or_init(|| {
            LanePacking::new(self.len(), std::slice::from_ref(&(0..self.dim)), WORD, |query, range| {
                std::array::from_fn(|i| self.vectors[query * self.dim + range.start + i] as u8)
            })
        })
    }

    /// The products of their values with signs.
    pub(super) fn tables(&self) -> &SignTables {
        self.tables.get_or_init(|| SignTables::new(&self.vectors, self.dim))
    }

    pub(super) fn tiles(&self) -> usize {
        self.steps().tiles()
    }

    pub(super) fn tile_queries(&self, tile: usize) -> Range<usize> {
        self.steps().tile_queries(tile)
    }

    /// Steps x queries of the tile.
    pub(super) fn tile(&self, tile: usize) -> &[[i8; CODE_STEP]] {
        bytemuck::cast_slice(self.steps().tile(0, tile))
    }

    fn steps(&self) -> &Packing {
        self.steps.get_or_init(|| {
            let vectors: &[u8] = bytemuck::cast_slice(&self.vectors);
            Packing::new(self.len(), self.dim, &[], CODE_STEP, |query, range, line| {
                line.0.copy_from_slice(&vectors[query * self.dim..][range]);
            })
        })
    }
}

fn bits(vectors: &[i8], dim: usize, count: usize) -> Vec<CacheLine> {
    let mut bits = vec![CacheLine([0; 64]); dim.div_ceil(BIT_STEP) * VALUE_BITS * count];
    for (query, vector) in vectors.chunks_exact(dim).enumerate() {
        for (k, value) in vector.iter().enumerate() {
            let of_chunk = &mut bits[k / BIT_STEP * VALUE_BITS * count..][..VALUE_BITS * count];
            let (byte, bit) = (k % BIT_STEP / 8, k % 8);
            for (b, of_bit) in of_chunk.chunks_exact_mut(count).enumerate() {
                of_bit[query].0[byte] |= (*value as u8 >> b & 1) << bit;
            }
        }
    }
    bits
}
