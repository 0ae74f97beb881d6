//! Query vectors in the order in which the kernels read them.

use std::ops::Range;

/// Widest tile of queries that an implementation takes at a time.
pub(super) const MAX_TILE: usize = 8;

/// The values of one step of one vector; aligned so that no load crosses a cache line.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct CacheLine(pub(super) [u8; 64]);

/// Makes room for so many lines. What is there stays, of an earlier call too.
pub(super) fn grow(lines: &mut Vec<CacheLine>, len: usize) {
    if lines.len() < len {
        lines.resize(len, CacheLine([0; 64]));
    }
}

/// Query vectors of one space, packed by module group and tile: `[group][tile][step][query of the tile]`, so
/// that a kernel reads one contiguous stream. Partial steps are padded with zeros.
#[derive(Debug, Clone)]
pub(super) struct Packing {
    dim: usize,
    count: usize,
    /// Values in a line.
    step: usize,
    groups: Vec<Range<usize>>,
    /// First line of each group.
    offsets: Vec<usize>,
    lines: Vec<CacheLine>,
}

impl Packing {
    /// Packs `count` vectors of `dim` values with module groups `groups` (none: one group of all), `step`
    /// values to a line; `fill` writes the values that a vector has in a range into a line of zeros.
    ///
    /// # Panics
    /// When a group reaches beyond `dim`.
    pub(super) fn new(
        count: usize,
        dim: usize,
        groups: &[Range<usize>],
        step: usize,
        mut fill: impl FnMut(usize, Range<usize>, &mut CacheLine),
    ) -> Self {
        let groups = if groups.is_empty() { vec![0..dim] } else { groups.to_vec() };
        let mut packed = Self { dim, count, step, groups, offsets: Vec::new(), lines: Vec::new() };
        let lines: usize = packed.groups.iter().map(|group| group.len().div_ceil(step) * count).sum();
        packed.lines.reserve_exact(lines);
        for group in packed.groups.clone() {
            assert!(group.start <= group.end && group.end <= dim);
            packed.offsets.push(packed.lines.len());
            for tile in 0..packed.tiles() {
                for start in group.clone().step_by(step) {
                    for query in packed.tile_queries(tile) {
                        let mut line = CacheLine([0; 64]);
                        fill(query, start..(start + step).min(group.end), &mut line);
                        packed.lines.push(line);
                    }
                }
            }
        }
        packed
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Coordinates of a module group.
    pub(super) fn span(&self, group: usize) -> Range<usize> {
        self.groups[group].clone()
    }

    /// Lines of one vector in a module group.
    pub(super) fn steps(&self, group: usize) -> usize {
        self.groups[group].len().div_ceil(self.step)
    }

    pub(super) fn tiles(&self) -> usize {
        self.count.div_ceil(MAX_TILE)
    }

    /// Queries of the widest tile.
    pub(super) fn tile_width(&self) -> usize {
        self.count.div_ceil(self.tiles().max(1))
    }

    /// Queries of a tile: as even as possible, so that no tile is nearly empty.
    pub(super) fn tile_queries(&self, tile: usize) -> Range<usize> {
        let tiles = self.tiles();
        tile * self.count / tiles..(tile + 1) * self.count / tiles
    }

    /// Steps x queries of a tile.
    pub(super) fn tile(&self, group: usize, tile: usize) -> &[CacheLine] {
        let (queries, steps) = (self.tile_queries(tile), self.steps(group));
        &self.lines[self.offsets[group] + queries.start * steps..][..queries.len() * steps]
    }
}
