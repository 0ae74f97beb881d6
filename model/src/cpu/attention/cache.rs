//! Key-value cache of sequences that grow, and attention over it.
//!
//! Invariant: the panels of a sequence hold what packing all of its keys and values at once would give, so
//! its results have the bits of an attention over all of them, whatever the parts in which it came. Columns
//! beyond its length are zeros.

use std::ops::Range;

use super::super::Cpu;
use super::super::gemm::{MatrixPanels, PANEL, cut};
use super::super::pool::Buffer;
use super::super::tensor::CpuTensor;
use super::{MOST_ROWS, QueryBlock, block_rows};
use crate::backend::{AttentionForm, BackendError, CachedAttention, Heads, check};

/// Keys and values of one layer, by slot.
#[derive(Default)]
pub struct CpuCache {
    sequences: Vec<SequenceCache>,
}

/// Keys and values of a sequence.
#[derive(Default)]
struct SequenceCache {
    len: usize,
    /// Rows for which there is room.
    capacity: usize,
    /// Width of a head; that of the first rows stays.
    dim: usize,
    heads: Vec<HeadCache>,
}

/// Those of a key head.
struct HeadCache {
    /// The transpose of the keys: a panel for each [`PANEL`] keys.
    keys: Buffer,
    /// A panel of `capacity` rows for each [`PANEL`] columns of the values.
    values: Buffer,
}

impl CpuCache {
    pub(in super::super) fn forget(&mut self, slot: usize) {
        if let Some(sequence) = self.sequences.get_mut(slot) {
            *sequence = SequenceCache::default();
        }
    }

    /// The sequence of a slot; an error if it has other heads.
    fn sequence(&mut self, slot: usize, heads: Heads) -> Result<&mut SequenceCache, BackendError> {
        if slot >= self.sequences.len() {
            self.sequences.resize_with(slot + 1, SequenceCache::default);
        }
        let sequence = &mut self.sequences[slot];
        let same = sequence.heads.is_empty() || (sequence.heads.len(), sequence.dim) == (heads.kv, heads.dim);
        check(same, || format!("attention with {heads:?} over a cache of other heads"))?;
        Ok(sequence)
    }
}

impl SequenceCache {
    /// Makes room for `len` rows in all.
    fn reserve(&mut self, len: usize, heads: Heads) {
        if len <= self.capacity {
            return;
        }
        let capacity = len.max(self.capacity + self.capacity / 2).next_multiple_of(PANEL);
        let (dim, panels) = (heads.dim, heads.dim.div_ceil(PANEL));
        let grown = |head: usize| {
            let mut keys = Buffer::zeroed(capacity * dim);
            let mut values = Buffer::zeroed(panels * capacity * PANEL);
            if let Some(old) = self.heads.get(head) {
                keys[..old.keys.len()].copy_from_slice(&old.keys);
                let old_panels = old.values.chunks_exact(self.capacity * PANEL);
                for (to, from) in values.chunks_exact_mut(capacity * PANEL).zip(old_panels) {
                    to[..from.len()].copy_from_slice(from);
                }
            }
            HeadCache { keys, values }
        };
        self.heads = (0..heads.kv).map(grown).collect();
        (self.capacity, self.dim) = (capacity, dim);
    }

    /// Adds rows of keys and values, in which the heads stand side by side.
    fn append(&mut self, keys: &CpuTensor, values: &CpuTensor, rows: Range<usize>, heads: Heads) {
        self.reserve(self.len + rows.len(), heads);
        let (dim, width) = (heads.dim, keys.cols());
        for row in rows {
            let (panel, column) = (self.len / PANEL, self.len % PANEL);
            for (i, head) in self.heads.iter_mut().enumerate() {
                let at = row * width + i * dim;
                let to = &mut head.keys[panel * PANEL * dim..][..PANEL * dim];
                for (to, key) in to.chunks_exact_mut(PANEL).zip(&keys.values()[at..at + dim]) {
                    to[column] = *key;
                }
                let to = head.values.chunks_exact_mut(self.capacity * PANEL);
                for (to, value) in to.zip(values.values()[at..at + dim].chunks(PANEL)) {
                    to[self.len * PANEL..][..value.len()].copy_from_slice(value);
                }
            }
            self.len += 1;
        }
    }

    /// Keys (transposed) and values of a head.
    fn panels(&self, head: usize) -> (MatrixPanels<'_>, MatrixPanels<'_>) {
        let HeadCache { keys, values } = &self.heads[head];
        let (len, dim) = (self.len, self.dim);
        (
            MatrixPanels { values: keys, k: dim, n: len, apart: PANEL * dim },
            MatrixPanels { values, k: len, n: dim, apart: PANEL * self.capacity },
        )
    }
}

struct AttentionResults<'a> {
    out: &'a mut [f32],
    log_sum: &'a mut [f32],
}

impl Cpu {
    pub(in super::super) fn attention_over_cache(
        &self,
        of: &CachedAttention<'_, CpuTensor>,
        cache: &mut CpuCache,
    ) -> Result<(CpuTensor, CpuTensor), BackendError> {
        of.check(CpuTensor::size)?;
        let CachedAttention { q, k, v, form, spans } = *of;
        // Rows of no sequence stay zero.
        let mut out = CpuTensor::zeros(q.rows(), q.cols());
        let mut log_sum = CpuTensor::zeros(q.rows(), form.heads.query);
        let mut to = AttentionResults { out: out.values_mut(), log_sum: log_sum.values_mut() };
        for span in spans {
            let sequence = cache.sequence(span.slot, form.heads)?;
            sequence.append(k, v, span.keys.clone(), form.heads);
            match span.queries.len() {
                0 => {}
                1 => self.attend_one(sequence, q.values(), span.queries.start, &form, &mut to),
                _ => self.attend_several(sequence, q.values(), span.queries.clone(), &form, &mut to),
            }
        }
        Ok((out, log_sum))
    }

    /// The last position alone: the heads that share a key head are the rows of a block.
    fn attend_one(
        &self,
        sequence: &SequenceCache,
        q: &[f32],
        row: usize,
        form: &AttentionForm,
        to: &mut AttentionResults<'_>,
    ) {
        let heads = form.heads;
        let positions = [sequence.len as u32 - 1; MOST_ROWS];
        for kv in 0..heads.kv {
            for part in cut(heads.group(), MOST_ROWS) {
                let head = row * heads.query + kv * heads.group() + part.start;
                let at = head * heads.dim;
                let block = QueryBlock::new(0..part.len(), &positions, form);
                let log_to = &mut to.log_sum[head..];
                self.attend(
                    &q[at..],
                    &mut to.out[at..],
                    heads.dim,
                    sequence.panels(kv),
                    &block,
                    &positions,
                    (form, None),
                    |i, value| log_to[i] = value,
                );
            }
        }
    }

    /// The last positions, head by head and in blocks, as without a cache.
    fn attend_several(
        &self,
        sequence: &SequenceCache,
        q: &[f32],
        queries: Range<usize>,
        form: &AttentionForm,
        to: &mut AttentionResults<'_>,
    ) {
        let heads = form.heads;
        let (dim, width) = (heads.dim, heads.query * heads.dim);
        let positions: Vec<u32> =
            (sequence.len - queries.len()..sequence.len).map(|position| position as u32).collect();
        for head in 0..heads.query {
            let panels = sequence.panels(head / heads.group());
            for rows in cut(queries.len(), block_rows(sequence.len, form, 1)) {
                let first = queries.start + rows.start;
                let block = QueryBlock::new(rows, &positions, form);
                let at = first * width + head * dim;
                let log_to = &mut to.log_sum[first * heads.query + head..];
                self.attend(
                    &q[at..],
                    &mut to.out[at..],
                    width,
                    panels,
                    &block,
                    &positions,
                    (form, None),
                    |i, value| log_to[i * heads.query] = value,
                );
            }
        }
    }
}
