//! The passes over a window: the blocks of its rows at all checkpoints, and what is handed out of them.

use gstore_store::{BlockBuffer, Granularity};

use super::kept::{self, is_kept};
use super::slate::{Slate, SlotState, Worker};
use super::slots::{NO_TOKEN, Selection, Slots};
use super::windows::{Window, most_slots};
use super::{Scan, ScanPool, Totals, Yield, block_bytes};
use crate::error::QueryError;
use crate::influence::result::{ExcludedRow, Reason, Scored};

impl Scan<'_> {
    /// Scores the rows of a window, or their tokens.
    pub(crate) fn window(&self, window: &Window, worker: &mut Worker) -> Result<Yield, QueryError> {
        let (pool, mut totals) = (window.pool, Totals::default());
        let mut scored = Vec::with_capacity((window.rows.end - window.rows.start) as usize);
        let mut excluded = Vec::new();
        totals.bytes_read = self.each(window, worker, |row, pos, state, values| {
            match self.count(pos, state, values, &mut totals) {
                Ok((score, subtask)) => scored.push(Scored { pool, row, pos, score, subtask }),
                Err(reason) => {
                    let pos = pos.filter(|pos| *pos != NO_TOKEN);
                    excluded.push(ExcludedRow { pool, row, pos, reason });
                }
            }
        })?;
        totals.scored = totals.eligible;
        Ok(Yield { scored, excluded, totals })
    }

    /// Number of rows of a window that the filter lets through.
    pub(crate) fn wanted(&self, window: &Window, worker: &mut Worker) -> u64 {
        let filter = self.filter.and_then(|filter| filter.pool(window.pool as usize));
        let live = &self.pools[window.pool as usize].live;
        worker.selection.choose(window.rows.clone(), live, filter);
        worker.selection.count()
    }

    /// Hands out row, position, values, score and deciding subtask of every row of a window that has a
    /// score, or of its tokens.
    pub(crate) fn judged(
        &self,
        window: &Window,
        worker: &mut Worker,
        mut take: impl FnMut(u64, Option<u32>, &[f32], (f32, u32)),
    ) -> Result<Totals, QueryError> {
        let mut totals = Totals::default();
        totals.bytes_read = self.each(window, worker, |row, pos, state, values| {
            if let Ok(judged) = self.count(pos, state, values, &mut totals) {
                take(row, pos, values, judged);
            }
        })?;
        totals.scored = totals.eligible;
        Ok(totals)
    }

    /// As `judged`, of some live rows of a window, which ascend.
    pub(crate) fn judged_rows(
        &self,
        window: &Window,
        rows: &[u64],
        worker: &mut Worker,
        mut take: impl FnMut(u64, &[f32], (f32, u32)),
    ) -> Result<Totals, QueryError> {
        let mut totals = Totals::default();
        let pool = &self.pools[window.pool as usize];
        let Worker { scratch, slate, .. } = worker;
        let slots = Slots::Picked(rows);
        totals.bytes_read = self.accumulate(pool, window, slots, scratch, slate)?;
        slate.hand_out(slots, |row, pos, state, values| {
            if let Ok(judged) = self.count(pos, state, values, &mut totals) {
                take(row, values, judged);
            }
        });
        Ok(totals)
    }

    /// The values of a window's rows without judging them: (wanted and usable, values) by row.
    pub(crate) fn raw(
        &self,
        window: &Window,
        worker: &mut Worker,
        mut take: impl FnMut(u64, Result<&[f32], Reason>),
    ) -> Result<(), QueryError> {
        self.each(window, worker, |row, _, state, values| {
            let usable = self.usable(state, values).map(|()| &*values);
            take(row, usable);
        })?;
        Ok(())
    }

    /// Hands out row, position, state and values of what the filter lets through, in order; returns the
    /// bytes of the blocks read.
    fn each(
        &self,
        window: &Window,
        worker: &mut Worker,
        mut take: impl FnMut(u64, Option<u32>, &SlotState, &mut [f32]),
    ) -> Result<u64, QueryError> {
        let pool = &self.pools[window.pool as usize];
        let Worker { scratch, selection, slate } = worker;
        let filter = self.filter.and_then(|filter| filter.pool(window.pool as usize));
        selection.choose(window.rows.clone(), &pool.live, filter);
        if selection.is_empty() {
            return Ok(0);
        }
        match pool.granularity {
            Granularity::Sample => {
                let slots = selection.rows();
                let bytes = self.accumulate(pool, window, slots, scratch, slate)?;
                slate.hand_out(slots, &mut take);
                Ok(bytes)
            }
            // How many tokens the rows have is known only from the blocks, so what they need of memory is cut
            // here and not in `windows`.
            Granularity::Token => {
                let bytes = self.find_tokens(pool, window, selection, scratch)?;
                for tokens in selection.tokens().chunks(most_slots(pool.query_count())) {
                    let slots = Slots::Tokens(tokens);
                    self.accumulate(pool, window, slots, scratch, slate)?;
                    slate.hand_out(slots, &mut take);
                }
                Ok(bytes)
            }
        }
    }

    /// Collects the tokens that the wanted rows have at any checkpoint; returns the bytes of the blocks.
    fn find_tokens(
        &self,
        pool: &ScanPool,
        window: &Window,
        selection: &mut Selection,
        scratch: &mut BlockBuffer,
    ) -> Result<u64, QueryError> {
        let mut bytes = 0;
        for reader in &pool.readers {
            for block in window.blocks(reader) {
                if selection.rows().touch(block.range()) {
                    self.check_cancelled()?;
                    let block = reader.read_block(block, scratch)?;
                    bytes += block_bytes(&block);
                    selection.add_tokens(&block);
                }
            }
        }
        Ok(bytes)
    }

    /// Fills the slate from the blocks of all checkpoints; returns the bytes of the blocks.
    fn accumulate(
        &self,
        pool: &ScanPool,
        window: &Window,
        slots: Slots<'_>,
        scratch: &mut BlockBuffer,
        slate: &mut Slate,
    ) -> Result<u64, QueryError> {
        slate.reset(slots.len(), pool.query_count());
        let mut bytes = 0;
        for (c, reader) in pool.readers.iter().enumerate() {
            let of_row = (&*pool.queries[c], pool.measure(c));
            for at in window.blocks(reader) {
                if !slots.touch(at.range()) {
                    continue;
                }
                self.check_cancelled()?;
                // A filter may leave few rows of a block, which are then read alone.
                slate.wanted.clear();
                if self.filter.is_some() || matches!(slots, Slots::Picked(_)) {
                    slots.rows_in(at.range(), &mut slate.wanted);
                }
                let block = match slate.wanted.is_empty() {
                    true => reader.read_block(at, scratch)?,
                    false => reader.read_rows(at, &slate.wanted, scratch)?,
                };
                bytes += block_bytes(&block);
                let together = slots.len() >= kept::LEAST && block.len() == at.vectors();
                match together && is_kept(self.device, reader, at) {
                    true => self.put_off((&block, at), reader, of_row.1, slots, slate),
                    false => self.add_block((&block, at), reader, of_row, self.weights[c], slots, slate)?,
                }
            }
            self.add_waiting(reader, of_row, self.weights[c], slots, scratch, slate)?;
        }
        Ok(bytes)
    }

    /// The score of a row or token, or why it has none; counted either way.
    #[inline]
    fn count(
        &self,
        pos: Option<u32>,
        state: &SlotState,
        values: &mut [f32],
        totals: &mut Totals,
    ) -> Result<(f32, u32), Reason> {
        totals.scanned += 1;
        let judged = self.judge(state, values);
        match judged {
            Ok(_) => totals.eligible += 1,
            Err(reason) => {
                totals.excluded.add(reason);
                totals.whole_rows += u64::from(pos == Some(NO_TOKEN));
            }
        }
        judged
    }

    /// The score of a row, or why it has none.
    fn judge(&self, state: &SlotState, values: &mut [f32]) -> Result<(f32, u32), Reason> {
        self.usable(state, values)?;
        match self.terms.score(values) {
            (score, subtask) if score.is_finite() => Ok((score, subtask)),
            _ => Err(Reason::Overflow),
        }
    }

    /// Whether a row counts; where it lacks checkpoints and that is allowed, its values are renormalised.
    fn usable(&self, state: &SlotState, values: &mut [f32]) -> Result<(), Reason> {
        if !self.is_whole(state.flags, state.checkpoints as usize, state.weight > 0.0)? {
            let factor = 1.0 / state.weight;
            values.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
        }
        Ok(())
    }
}
