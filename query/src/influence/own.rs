//! Self-influence: the score of each row for itself.
//!
//! `self(row) = sum over checkpoints c of w_c sum over modules m of a_m |T_c[row]|_m²`, the dot product of the row's vector with itself: what a
//! step on the row alone does to its own loss. Lengths are the stored norms, taken before values were rounded.

use std::sync::atomic::{AtomicBool, Ordering};

use gstore_store::{BlockBuffer, CELL_ROWS, RowFlags};

use super::collect::Collector;
use super::drive;
use super::filter::RowFilter;
use super::plan::InfluencePlan;
use super::ready::Ready;
use super::result::{NO_SUBTASK, Ranking, Reason, Scored};
use super::scan::Totals;
use super::slots::Selection;
use super::spec::{Missing, Order, Sim};
use super::values::norm;
use super::windows::{Window, windows};
use crate::error::QueryError;

/// A thread's memory.
struct Own {
    scratch: BlockBuffer,
    selection: Selection,
    rows: Vec<Row>,
    top: Collector,
    totals: Totals,
}

/// What is known of a row so far.
#[derive(Clone, Copy, Default)]
struct Row {
    sum: f64,
    weight: f64,
    checkpoints: usize,
    flags: RowFlags,
}

impl InfluencePlan {
    /// The k rows with the highest or lowest influence on themselves, from the pools' own features; the target plays no part. Rows are
    /// eligible as for any question of this plan. `Scored::subtask` is [`NO_SUBTASK`].
    ///
    /// # Errors
    /// With cosines, where every row has 1, and of tokens.
    pub fn top_k_self(
        &self,
        order: Order,
        k: usize,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<Ranking, QueryError> {
        if self.spec().sim == Sim::Cosine || self.spec().per_token {
            return Err(QueryError::Spec(
                "the influence of a row on itself is a dot product of samples (the cosine is 1): ask with `sim => 'dot'` and without \
                 `per_token`"
                    .into(),
            ));
        }
        let ready = self.ready(cancel)?;
        self.check_missing(&ready, filter)?;
        let windows = windows(&ready.pools, 1);
        let own = || Own {
            scratch: BlockBuffer::new(),
            selection: Selection::default(),
            rows: Vec::new(),
            top: Collector::new(order, k, false),
            totals: Totals::default(),
        };
        let states = drive::unordered(windows.len(), threads, cancel, own, |own, unit| {
            self.own_window(&ready, &windows[unit], filter, own, cancel)
        })?;
        let (mut top, mut totals) = (Collector::new(order, k, false), Totals::default());
        for state in states {
            top.merge(state.top);
            totals.merge(&state.totals);
        }
        let summary = self.summary_of_scan(&ready, &totals);
        Ok(Ranking {
            rows: top.into_rows(),
            eligible: summary.eligible,
            live: summary.live,
            excluded: summary.excluded,
            bytes_read: summary.bytes_read,
            subtasks: Vec::new(),
            summary,
        })
    }

    fn own_window(
        &self,
        ready: &Ready,
        window: &Window,
        filter: Option<&RowFilter>,
        own: &mut Own,
        cancel: &AtomicBool,
    ) -> Result<(), QueryError> {
        let pool = &ready.pools[window.pool as usize];
        let filter = filter.and_then(|filter| filter.pool(window.pool as usize));
        own.selection.choose(window.rows.clone(), &pool.live, filter);
        let slots = own.selection.rows();
        own.rows.clear();
        own.rows.resize(slots.len(), Row::default());
        for (c, reader) in pool.readers.iter().enumerate() {
            let (modules, scale) = (&pool.modules[c], reader.part().attrs.dot_scale);
            for block in reader.blocks_in(window.rows.start / CELL_ROWS) {
                if !slots.touch(block.range()) {
                    continue;
                }
                if cancel.load(Ordering::Relaxed) {
                    return Err(QueryError::Cancelled);
                }
                let block = reader.read_block(block, &mut own.scratch)?;
                own.totals.bytes_read += super::scan::block_bytes(&block);
                for i in slots.span(&block) {
                    let Some(slot) = slots.of(&block, i) else { continue };
                    let length = norm(&block.norm[i * modules.len()..(i + 1) * modules.len()], modules);
                    let row = &mut own.rows[slot];
                    row.sum += ready.weights[c] * scale * length * length;
                    row.weight += ready.weights[c];
                    row.checkpoints += 1;
                    row.flags.insert(RowFlags::from_bits(block.flags[i]));
                }
            }
        }
        for (slot, state) in own.rows.iter().enumerate() {
            let Some((row, _)) = slots.key(slot) else { continue };
            own.totals.scanned += 1;
            match self.own_score(state, ready.weights.len()) {
                Ok(score) => {
                    own.totals.eligible += 1;
                    own.top.push(&Scored { pool: window.pool, row, pos: None, score, subtask: NO_SUBTASK });
                }
                Err(reason) => own.totals.excluded.add(reason),
            }
        }
        Ok(())
    }

    /// The score of a row, or why it has none; the reasons are those of every scan.
    fn own_score(&self, row: &Row, checkpoints: usize) -> Result<f32, Reason> {
        if row.flags.contains(RowFlags::NO_SCORED) {
            return Err(Reason::NoScored);
        }
        if row.flags.intersects(RowFlags::NON_FINITE.union(RowFlags::MISSING)) {
            return Err(Reason::NonFinite);
        }
        let lacks = row.checkpoints < checkpoints;
        if lacks && (self.spec().missing != Missing::Renormalise || row.weight <= 0.0) {
            return Err(Reason::Missing);
        }
        let score = (if lacks { row.sum / row.weight } else { row.sum }) as f32;
        if score.is_finite() { Ok(score) } else { Err(Reason::Overflow) }
    }
}
