//! State of a thread: what it keeps from window to window, and what it knows of the slots of one.

use std::sync::Arc;

use gstore_store::{BlockBuffer, BlockRef, ReadAhead, RowFlags};

use super::slots::{Selection, Slots};
use crate::kernel::{BlockKey, Scratch};

/// A thread's memory, used again for every window.
#[derive(Default)]
pub(crate) struct Worker {
    pub(super) scratch: BlockBuffer,
    pub(super) selection: Selection,
    pub(super) slate: Slate,
}

impl Worker {
    /// What blocks are taken from before they are read.
    pub(crate) fn see(&mut self, ahead: Option<&Arc<ReadAhead>>) {
        self.scratch.see(ahead);
    }
}

/// What is known of the slots so far.
#[derive(Default)]
pub(super) struct Slate {
    /// Per slot.
    pub(super) states: Vec<SlotState>,
    /// Slots x queries: the weighted sum over the checkpoints so far.
    pub(super) values: Vec<f32>,
    /// Rows of one block that are to be scored, where those are few.
    pub(super) wanted: Vec<u64>,
    /// Vectors of one block, with their slots.
    pub(super) found: Vec<(usize, usize)>,
    /// The same without their slots.
    pub(super) chosen: Vec<usize>,
    /// The module groups that count.
    pub(super) groups: Vec<usize>,
    /// Of the vectors found, by module group: what turns a product of stored values into its
    /// share of the similarity.
    pub(super) factors: Vec<f32>,
    /// Of the vectors found, by query: the similarities.
    pub(super) sums: Vec<f32>,
    /// Vectors that a device multiplies with those of other blocks.
    pub(super) waiting: Waiting,
    pub(super) scratch: Scratch,
}

/// Vectors of one checkpoint that wait for the others of a window, block after block.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) at: Vec<BlockRef>,
    /// By what the device knows them, with the number of vectors.
    pub(super) blocks: Vec<(BlockKey, usize)>,
    /// By vector its place in the block.
    pub(super) places: Vec<usize>,
    /// By vector its slot and flags.
    pub(super) slots: Vec<(usize, RowFlags)>,
    /// By vector and module group, as those of a slate.
    pub(super) factors: Vec<f32>,
}

impl Waiting {
    pub(super) fn clear(&mut self) {
        let Waiting { at, blocks, places, slots, factors } = self;
        at.clear();
        blocks.clear();
        places.clear();
        slots.clear();
        factors.clear();
    }
}

impl Slate {
    pub(super) fn reset(&mut self, slots: usize, queries: usize) {
        self.states.clear();
        self.states.resize(slots, SlotState::default());
        self.values.clear();
        self.values.resize(slots * queries, 0.0);
    }

    /// Adds one checkpoint's share for vectors, of which `sums` has the similarities in this order.
    pub(super) fn add_sums(&mut self, slots: impl Iterator<Item = (usize, RowFlags)>, weight: f64) {
        let queries = self.values.len() / self.states.len().max(1);
        for ((slot, flags), sums) in slots.zip(self.sums.chunks_exact(queries.max(1))) {
            let state = &mut self.states[slot];
            state.checkpoints += 1;
            state.weight += weight;
            state.flags.insert(flags);
            let values = &mut self.values[slot * queries..(slot + 1) * queries];
            values.iter_mut().zip(sums).for_each(|(value, sum)| *value += sum);
        }
    }

    /// Row, position, state and values of every slot that is wanted.
    pub(super) fn hand_out(
        &mut self,
        slots: Slots<'_>,
        mut take: impl FnMut(u64, Option<u32>, &SlotState, &mut [f32]),
    ) {
        let queries = self.values.len() / self.states.len().max(1);
        for (slot, values) in self.values.chunks_exact_mut(queries.max(1)).enumerate() {
            if let Some((row, pos)) = slots.key(slot) {
                take(row, pos, &self.states[slot], values);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SlotState {
    pub(super) checkpoints: u32,
    pub(super) weight: f64,
    pub(super) flags: RowFlags,
}
