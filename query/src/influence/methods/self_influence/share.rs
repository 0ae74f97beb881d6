//! Share of a checkpoint in the sums of the rows of a window.

use std::ops::Range;

use gstore_curvature::Preconditioner;
use gstore_store::{Block, BlockBuffer, FeatureReader, RowFlags};

use crate::error::QueryError;
use crate::influence::result::Reason;
use crate::influence::scan::slots::Slots;
use crate::influence::scan::windows::Window;
use crate::influence::scan::{Scan, block_bytes};
use crate::values::{groups, norm};

/// What the second feature takes of a thread's memory.
#[derive(Default)]
pub(super) struct SecondScratch {
    scratch: BlockBuffer,
    mine: Vec<f32>,
    theirs: Vec<f32>,
    /// Theirs, preconditioned.
    under: Vec<f64>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Row {
    sum: f64,
    weight: f64,
    checkpoints: usize,
    flags: RowFlags,
}

impl Row {
    /// The score, or why there is none; the reasons are those of every scan.
    pub(super) fn score(&self, scan: &Scan<'_>) -> Result<f32, Reason> {
        let whole = scan.is_whole(self.flags, self.checkpoints, self.weight > 0.0)?;
        let score = (if whole { self.sum } else { self.sum / self.weight }) as f32;
        if score.is_finite() { Ok(score) } else { Err(Reason::Overflow) }
    }
}

/// What one checkpoint adds to the rows of a window.
pub(super) struct CheckpointShare<'a> {
    pub(super) weight: f64,
    /// Weights of the module groups.
    pub(super) modules: &'a [f64],
    /// Of a dot product.
    pub(super) scale: f64,
    pub(super) inverse: Option<&'a Preconditioner>,
    pub(super) slots: Slots<'a>,
    pub(super) rows: &'a mut [Row],
}

impl CheckpointShare<'_> {
    fn add(&mut self, slot: usize, product: f64) {
        let row = &mut self.rows[slot];
        row.sum += self.weight * self.scale * product;
        row.weight += self.weight;
        row.checkpoints += 1;
    }

    fn flag(&mut self, slot: usize, flags: u8) {
        self.rows[slot].flags.insert(RowFlags::from_bits(flags));
    }

    /// Adds the squares of the lengths of a block's vectors.
    pub(super) fn squares(&mut self, block: &Block<'_>) {
        let modules = self.modules;
        for i in self.slots.span(block) {
            let Some(slot) = self.slots.of(block, i) else { continue };
            let length = norm(&block.norm[i * modules.len()..(i + 1) * modules.len()], modules);
            self.add(slot, length * length);
            self.flag(slot, block.flags[i]);
        }
    }

    /// Adds the products of a block's vectors with themselves, one side preconditioned.
    pub(super) fn energies(&mut self, block: &Block<'_>, reader: &FeatureReader, memory: &mut SecondScratch) {
        let groups = groups(reader.part());
        memory.resize(reader.part().desc.dim() as usize);
        for i in self.slots.span(block) {
            let Some(slot) = self.slots.of(block, i) else { continue };
            block.vector(i, &groups, &mut memory.mine);
            memory.theirs.copy_from_slice(&memory.mine);
            let product = memory.product(&groups, self.modules, self.inverse);
            self.add(slot, product);
            self.flag(slot, block.flags[i]);
        }
    }

    /// Adds the products of a block's vectors with those of another feature; returns the bytes read of it.
    pub(super) fn products(
        &mut self,
        (block, reader): (&Block<'_>, &FeatureReader),
        other: &FeatureReader,
        window: &Window,
        memory: &mut SecondScratch,
    ) -> Result<u64, QueryError> {
        memory.resize(reader.part().desc.dim() as usize);
        let mut scratch = std::mem::take(&mut memory.scratch);
        let (of_mine, of_theirs) = (groups(reader.part()), groups(other.part()));
        for i in self.slots.span(block) {
            if let Some(slot) = self.slots.of(block, i) {
                self.flag(slot, block.flags[i]);
            }
        }
        let here = span(block);
        let mut bytes = 0;
        for there in window.blocks(other) {
            let range = there.range();
            if here.start.max(range.start) >= here.end.min(range.end) || !self.slots.touch(range) {
                continue;
            }
            let there = other.read_block(there, &mut scratch)?;
            bytes += block_bytes(&there);
            for j in self.slots.span(&there) {
                let Some(slot) = self.slots.of(&there, j) else { continue };
                let Ok(i) = block.rows.binary_search(&there.rows[j]) else { continue };
                block.vector(i, &of_mine, &mut memory.mine);
                there.vector(j, &of_theirs, &mut memory.theirs);
                let product = memory.product(&of_mine, self.modules, self.inverse);
                self.add(slot, product);
                self.flag(slot, there.flags[j]);
            }
        }
        memory.scratch = scratch;
        Ok(bytes)
    }
}

impl SecondScratch {
    fn resize(&mut self, dim: usize) {
        self.mine.resize(dim, 0.0);
        self.theirs.resize(dim, 0.0);
    }

    /// The product of both vectors, by module group with its weight.
    fn product(&mut self, groups: &[Range<usize>], weights: &[f64], inverse: Option<&Preconditioner>) -> f64 {
        self.under.clear();
        self.under.extend(self.theirs.iter().map(|x| f64::from(*x)));
        if let Some(inverse) = inverse {
            inverse.apply(&mut self.under);
        }
        let weighted = |(group, weight): (&Range<usize>, &f64)| {
            let pairs = self.mine[group.clone()].iter().zip(&self.under[group.clone()]);
            weight * pairs.map(|(x, y)| f64::from(*x) * y).sum::<f64>()
        };
        groups.iter().zip(weights).map(weighted).sum()
    }
}

/// The rows between the first and the last of a block.
fn span(block: &Block<'_>) -> Range<u64> {
    match (block.rows.first(), block.rows.last()) {
        (Some(first), Some(last)) => *first..last + 1,
        _ => 0..0,
    }
}
