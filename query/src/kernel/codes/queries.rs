//! int8 query vectors laid out for the kernels of codes.

use std::ops::Range;
use std::sync::OnceLock;

use super::super::lanes::{LanePacking, WORD};
use super::super::packing::{CacheLine, Packing};
use super::{CODE_STEP, MAX_CODE_DIM, byte_products};

/// Query vectors of -127 to 127, packed the same way for all kinds of codes: in the form that this
/// processor's kernels read.
#[derive(Debug, Clone)]
pub struct CodeQueries {
    dim: usize,
    /// Of each query: the sum of its coordinates.
    sums: Vec<i32>,
    /// Where there are few queries, their values bit by bit: `[chunk of 512 coordinates][bit][query]`, the
    /// last chunk padded with zeros.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    planes: Vec<CacheLine>,
    /// Where there are more than few and the processor multiplies them so, their values side by side.
    lanes: Option<LanePacking>,
    /// Their values step by step; filled in addition to `lanes` only once another kernel asks for them.
    steps: OnceLock<Packing>,
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
    /// When `dim` is not a multiple of [`CODE_STEP`] up to `MAX_CODE_DIM`, the lengths
    /// disagree, or a value is -128.
    pub fn new(vectors: &[i8], dim: usize) -> Self {
        assert!(
            dim > 0 && dim <= MAX_CODE_DIM && dim.is_multiple_of(CODE_STEP),
            "no codes of {dim} coordinates"
        );
        assert!(vectors.len().is_multiple_of(dim));
        assert!(vectors.iter().all(|value| *value != i8::MIN), "a query's values lie in -127..=127");
        let count = vectors.len() / dim;
        let sum = |vector: &[i8]| vector.iter().map(|value| i32::from(*value)).sum();
        let queries = Self {
            dim,
            sums: vectors.chunks_exact(dim).map(sum).collect(),
            planes: if count <= BIT_QUERIES { planes(vectors, dim, count) } else { Vec::new() },
            lanes: (count >= LANES_FROM && byte_products()).then(|| {
                LanePacking::new(count, std::slice::from_ref(&(0..dim)), WORD, |query, range| {
                    std::array::from_fn(|i| vectors[query * dim + range.start + i] as u8)
                })
            }),
            steps: OnceLock::new(),
        };
        if queries.lanes.is_none() {
            queries.steps.get_or_init(|| steps(bytemuck::cast_slice(vectors), dim));
        }
        queries
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

    /// The values bit by bit, if there are few queries.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn planes(&self) -> Option<&[CacheLine]> {
        (!self.planes.is_empty()).then_some(&self.planes)
    }

    /// The values side by side, if there are more than few queries and the processor multiplies them so.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn lanes(&self) -> Option<&LanePacking> {
        self.lanes.as_ref()
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
            let lanes = self.lanes.iter();
            let vectors = lanes.flat_map(|lanes| (0..self.len()).flat_map(|query| lanes.vector(query)));
            steps(&vectors.collect::<Vec<u8>>(), self.dim)
        })
    }
}

fn steps(vectors: &[u8], dim: usize) -> Packing {
    Packing::new(vectors.len() / dim, dim, &[], CODE_STEP, |query, range, line| {
        line.0.copy_from_slice(&vectors[query * dim..][range]);
    })
}

fn planes(vectors: &[i8], dim: usize, count: usize) -> Vec<CacheLine> {
    let mut planes = vec![CacheLine([0; 64]); dim.div_ceil(BIT_STEP) * VALUE_BITS * count];
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
