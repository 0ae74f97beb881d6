//! Query vectors laid out for the exact kernels.

use std::ops::Range;

use super::LANES;
use super::packing::{Line, Packing};

/// Query vectors of one space.
#[derive(Debug, Clone)]
pub struct Queries(Packing);

impl Queries {
    /// `vectors` holds vectors of `dim` values, `groups` the coordinates of each module group
    /// (none: one group of all).
    ///
    /// # Panics
    /// When the lengths disagree or a group reaches beyond `dim`.
    pub fn new(vectors: &[f32], dim: usize, groups: &[Range<usize>]) -> Self {
        assert!(dim > 0 && vectors.len().is_multiple_of(dim));
        Self(Packing::new(vectors.len() / dim, dim, groups, LANES, |query, range, line: &mut Line| {
            let line: &mut [f32; LANES] = bytemuck::cast_mut(&mut line.0);
            line[..range.len()].copy_from_slice(&vectors[query * dim..][range]);
        }))
    }

    /// Values per vector.
    pub fn dim(&self) -> usize {
        self.0.dim()
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without vectors.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vectors, one after the other.
    pub(crate) fn vectors(&self) -> Vec<f32> {
        let dim = self.dim();
        let mut vectors = vec![0.0; self.len() * dim];
        for group in 0..self.groups() {
            for tile in 0..self.0.tiles() {
                let queries = self.0.tile_queries(tile);
                let steps = self.tile(group, tile).chunks_exact(queries.len());
                for (start, step) in self.span(group).step_by(LANES).zip(steps) {
                    let range = start..(start + LANES).min(self.span(group).end);
                    for (query, line) in queries.clone().zip(step) {
                        vectors[query * dim..][range.clone()].copy_from_slice(&line[..range.len()]);
                    }
                }
            }
        }
        vectors
    }

    /// Number of module groups.
    pub fn groups(&self) -> usize {
        self.0.groups()
    }

    pub(super) fn packing(&self) -> &Packing {
        &self.0
    }

    pub(super) fn span(&self, group: usize) -> Range<usize> {
        self.0.span(group)
    }

    /// Steps x queries of a tile.
    pub(super) fn tile(&self, group: usize, tile: usize) -> &[[f32; LANES]] {
        bytemuck::cast_slice(self.0.tile(group, tile))
    }
}
