//! Rows that one of several rankings has come to: they are taken, or forbidden for good, since what a rule
//! forbids once it forbids in the other rankings too. Of tokens only those that are taken.

use std::collections::HashSet;

use super::{Operands, RowFilter, Scored};
use crate::influence::RowMask;

pub(super) struct SeenRows {
    /// Of each pool, where samples are scored.
    rows: Vec<RowMask>,
    /// Pool, row and position of those that are taken, where tokens are scored.
    tokens: HashSet<(u32, u64, u32)>,
}

impl SeenRows {
    /// None yet.
    pub(super) fn new(operands: &Operands) -> Self {
        Self { rows: vec![RowMask::new(); operands.pools.len()], tokens: HashSet::new() }
    }

    /// Adds a row; whether it was not there, nor a token among the taken ones. Tokens that are forbidden may be as
    /// many as the pools have: the rules look at them again.
    pub(super) fn is_new(&mut self, scored: &Scored) -> bool {
        if let Some(pos) = scored.pos {
            return !self.tokens.contains(&(scored.pool, scored.row, pos));
        }
        let rows = &mut self.rows[scored.pool as usize];
        let is_new = !rows.contains(scored.row);
        rows.insert(scored.row);
        is_new
    }

    /// Adds a token that is taken.
    pub(super) fn take(&mut self, scored: &Scored) {
        if let Some(pos) = scored.pos {
            self.tokens.insert((scored.pool, scored.row, pos));
        }
    }

    /// The others of the rows that a filter lets through; `None` where these are all.
    pub(super) fn others(&self, operands: &Operands, filter: Option<&RowFilter>) -> Option<RowFilter> {
        if self.rows.iter().all(RowMask::is_empty) {
            return None;
        }
        let mut others = RowFilter::new();
        for (p, (pool, seen)) in operands.pools.iter().zip(&self.rows).enumerate() {
            let is_other = |row: &u64| !seen.contains(*row);
            let rows: RowMask = match filter.and_then(|filter| filter.pool(p)) {
                Some(mask) => mask.iter().filter(is_other).collect(),
                None => pool.live.iter().filter(is_other).collect(),
            };
            others = others.with(p, rows);
        }
        Some(others)
    }
}
