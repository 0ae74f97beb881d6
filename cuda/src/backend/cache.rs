//! Keys and values of growing sequences, each in memory of its own that doubles when it is full.

use gstore_model::{CacheSpan, CachedAttention};

use super::tiles::{AttentionShape, Instance, QueryTile};
use super::{Cuda, CudaTensor, Tensor, number};
use crate::runtime::{Memory, Result, Runtime};

/// Rows that a sequence has memory for at first.
const FIRST_ROWS: usize = 64;

/// Keys and values of one layer, by slot.
pub struct CudaCache<M> {
    sequences: Vec<Option<Sequence<M>>>,
}

impl<M> Default for CudaCache<M> {
    fn default() -> Self {
        CudaCache { sequences: Vec::new() }
    }
}

struct Sequence<M> {
    /// Keys and values.
    memory: [M; 2],
    rows: usize,
}

impl<M> CudaCache<M> {
    /// Drops a sequence.
    pub(super) fn forget(&mut self, slot: usize) {
        if let Some(sequence) = self.sequences.get_mut(slot) {
            *sequence = None;
        }
    }
}

impl<R: Runtime> Cuda<R> {
    /// Adds rows of keys and values to a sequence, and returns all of it.
    fn extend<'c>(
        &self,
        sequence: &'c mut Option<Sequence<R::Memory>>,
        new: [Tensor<R>; 2],
    ) -> Result<&'c Sequence<R::Memory>> {
        let (count, width) = new[0].size();
        let before = sequence.as_ref().map_or(0, |sequence| sequence.rows);
        let rows = before + count;
        let memory = match sequence.take() {
            Some(old) if old.memory[0].bytes() >= 4 * rows * width => old.memory,
            old => {
                let most = rows.max(2 * before).max(FIRST_ROWS);
                let memory = [self.allocate::<f32>(most * width)?, self.allocate::<f32>(most * width)?];
                for (from, to) in old.iter().flat_map(|old| &old.memory).zip(&memory) {
                    self.runtime.copy((from, 0), (to, 0), 4 * before * width)?;
                }
                memory
            }
        };
        for (new, to) in new.iter().zip(&memory) {
            let (from, offset) = self.values(new)?;
            self.runtime.copy((from, 4 * offset), (to, 4 * before * width), 4 * count * width)?;
        }
        Ok(sequence.insert(Sequence { memory, rows }))
    }

    pub(super) fn attend_cached(
        &self,
        of: &CachedAttention<'_, Tensor<R>>,
        cache: &mut CudaCache<R::Memory>,
    ) -> Result<(Tensor<R>, Tensor<R>)> {
        of.check(CudaTensor::size)?;
        let CachedAttention { q, k, v, form, spans } = *of;
        number(q.size().0)?;
        let instance = Instance::of(form.heads.dim, self.runtime.shared())?;
        let mut positions = vec![0u32; q.size().0];
        let mut tiles = Vec::new();
        for CacheSpan { slot, keys, queries } in spans {
            if *slot >= cache.sequences.len() {
                cache.sequences.resize_with(*slot + 1, || None);
            }
            let sequence = &mut cache.sequences[*slot];
            let new = [k, v].map(|x| x.slice(keys.start, keys.len()));
            let Sequence { memory, rows } = self.extend(sequence, new)?;
            let first_position = number(*rows - queries.len())?;
            for (row, position) in queries.clone().zip(first_position..) {
                positions[row] = position;
            }
            let addresses = [memory[0].address(), memory[1].address()];
            let side = instance.forward.side;
            tiles.extend(QueryTile::cut(queries.clone(), &positions, (addresses, 0), form, side));
        }
        let positions = self.uploaded(&positions)?;
        self.attend_tiles(q, &tiles, (positions.as_ref(), None), &instance, AttentionShape::new(form, None)?)
    }
}
