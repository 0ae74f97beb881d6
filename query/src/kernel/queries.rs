//! Query vectors laid out for the kernels.

use std::ops::Range;

use super::{LANES, MAX_TILE};

/// Query vectors of one space, packed by module group and tile: `[group][tile][step][query of the tile][lane]`, so that a kernel
/// reads one contiguous stream. Partial steps are padded with zeros.
#[derive(Debug, Clone)]
pub struct Queries {
    dim: usize,
    count: usize,
    groups: Vec<Range<usize>>,
    /// First step of each group.
    offsets: Vec<usize>,
    steps: Vec<Step>,
}

/// One step of one query; aligned so that no load crosses a cache line.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Step([f32; LANES]);

impl Queries {
    /// `vectors` holds `count` vectors of `dim` values, `groups` the coordinates of each module group (none: one group of all).
    ///
    /// # Panics
    /// When the lengths disagree or a group reaches beyond `dim`.
    pub fn new(vectors: &[f32], dim: usize, groups: &[Range<usize>]) -> Self {
        assert!(dim > 0 && vectors.len().is_multiple_of(dim));
        let groups = if groups.is_empty() { vec![0..dim] } else { groups.to_vec() };
        let count = vectors.len() / dim;
        let mut packed = Self {
            dim,
            count,
            offsets: Vec::with_capacity(groups.len()),
            groups: Vec::new(),
            steps: Vec::new(),
        };
        for group in &groups {
            assert!(group.start <= group.end && group.end <= dim);
            packed.offsets.push(packed.steps.len());
            for tile in 0..packed.tiles() {
                for start in group.clone().step_by(LANES) {
                    let end = (start + LANES).min(group.end);
                    for query in packed.tile_queries(tile) {
                        let mut step = [0.0; LANES];
                        step[..end - start].copy_from_slice(&vectors[query * dim + start..query * dim + end]);
                        packed.steps.push(Step(step));
                    }
                }
            }
        }
        packed.groups = groups;
        packed
    }

    /// Values per vector.
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

    /// Number of module groups.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn span(&self, group: usize) -> Range<usize> {
        self.groups[group].clone()
    }

    pub(super) fn tiles(&self) -> usize {
        tiles(self.count, MAX_TILE)
    }

    pub(super) fn tile_queries(&self, tile: usize) -> Range<usize> {
        tile_queries(self.count, tile, MAX_TILE)
    }

    pub(super) fn tile(&self, group: usize, tile: usize) -> &[[f32; LANES]] {
        let per_query = self.groups[group].len().div_ceil(LANES);
        let queries = self.tile_queries(tile);
        let start = self.offsets[group] + queries.start * per_query;
        bytemuck::cast_slice(&self.steps[start..start + queries.len() * per_query])
    }
}

/// Tiles of at most `widest` into which `count` queries are cut.
pub(super) fn tiles(count: usize, widest: usize) -> usize {
    count.div_ceil(widest)
}

/// Queries of a tile: as even as possible, so that no tile is nearly empty.
pub(super) fn tile_queries(count: usize, tile: usize, widest: usize) -> Range<usize> {
    let tiles = tiles(count, widest);
    tile * count / tiles..(tile + 1) * count / tiles
}
