//! Query vectors laid out for the exact kernels.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use gstore_core::SignRotation;
use once_cell::sync::OnceCell;

use super::LANES;
use super::packing::{CacheLine, Packing};

/// Query vectors of one space.
#[derive(Debug, Clone)]
pub struct Queries {
    packing: Packing,
    /// The same, rotated: made when signs of rotated rows are first multiplied.
    rotated: OnceLock<(SignRotation, Box<Queries>)>,
    /// What a device keeps of them.
    on_device: OnceCell<Arc<dyn Any + Send + Sync>>,
}

impl Queries {
    /// `vectors` holds vectors of `dim` values, `groups` the coordinates of each module group
    /// (none: one group of all).
    ///
    /// # Panics
    /// When the lengths disagree or a group reaches beyond `dim`.
    pub fn new(vectors: &[f32], dim: usize, groups: &[Range<usize>]) -> Self {
        assert!(dim > 0 && vectors.len().is_multiple_of(dim));
        let fill = |query: usize, range: Range<usize>, line: &mut CacheLine| {
            let line: &mut [f32; LANES] = bytemuck::cast_mut(&mut line.0);
            line[..range.len()].copy_from_slice(&vectors[query * dim..][range]);
        };
        let packing = Packing::new(vectors.len() / dim, dim, groups, LANES, fill);
        Self { packing, rotated: OnceLock::new(), on_device: OnceCell::new() }
    }

    /// The queries that signs of rows with this rotation are multiplied with: as rotated as the rows.
    pub(crate) fn of_signs(&self, rotation: SignRotation) -> &Self {
        if rotation.is_none() {
            return self;
        }
        let (of, rotated) = self.rotated.get_or_init(|| {
            let spans: Vec<Range<usize>> = (0..self.groups()).map(|group| self.span(group)).collect();
            let mut vectors = self.vectors();
            for vector in vectors.chunks_exact_mut(self.dim()) {
                spans.iter().for_each(|span| rotation.rotate(&mut vector[span.clone()]));
            }
            (rotation, Box::new(Self::new(&vectors, self.dim(), &spans)))
        });
        // There is only one rotation besides `none`.
        assert_eq!(*of, rotation, "queries have one rotation");
        rotated
    }

    /// Values per vector.
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

    /// What a device keeps of the vectors, as long as they are there; the first call makes it.
    ///
    /// # Errors
    /// What `make` returns.
    pub fn on_device<E>(
        &self,
        make: impl FnOnce() -> Result<Arc<dyn Any + Send + Sync>, E>,
    ) -> Result<&(dyn Any + Send + Sync), E> {
        self.on_device.get_or_try_init(make).map(|kept| &**kept)
    }

    /// The vectors, one after the other.
    pub fn vectors(&self) -> Vec<f32> {
        let dim = self.dim();
        let mut vectors = vec![0.0; self.len() * dim];
        for group in 0..self.groups() {
            for tile in 0..self.packing.tiles() {
                let queries = self.packing.tile_queries(tile);
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
        self.packing.groups()
    }

    pub(super) fn packing(&self) -> &Packing {
        &self.packing
    }

    /// Coordinates of a module group.
    pub fn span(&self, group: usize) -> Range<usize> {
        self.packing.span(group)
    }

    /// Steps x queries of a tile.
    pub(super) fn tile(&self, group: usize, tile: usize) -> &[[f32; LANES]] {
        bytemuck::cast_slice(self.packing.tile(group, tile))
    }
}
