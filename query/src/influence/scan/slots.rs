//! Slots of a window: one for each of its rows, or for each token of its rows.
//!
//! Invariants
//! - slots ascend by row, and by position inside a row
//! - a value is summed over the checkpoints in their order, whatever its slot is

use std::ops::Range;

use gstore_store::{Block, RowSet};

use super::filter::RowMask;

/// Row and position of a vector that belongs to a token.
pub(crate) type Token = (u64, u32);

/// The position that stands for a sample without a vector for any token.
pub(super) const NO_TOKEN: u32 = 0;

/// The rows of a window that are to be scored and, where vectors belong to tokens, the tokens of those.
#[derive(Default)]
pub(crate) struct Selection {
    rows: Range<u64>,
    /// For each of `rows`.
    wanted: Vec<bool>,
    tokens: Vec<Token>,
}

impl Selection {
    /// Starts over with the live rows of a window, or those of them that a filter lets through.
    pub(crate) fn choose(&mut self, rows: Range<u64>, live: &RowSet, filter: Option<&RowMask>) {
        self.rows = rows.clone();
        self.wanted.clear();
        self.wanted.resize((rows.end - rows.start) as usize, false);
        self.tokens.clear();
        let at = |row: u64| (row - rows.start) as usize;
        match filter {
            None => live.within(rows.clone()).for_each(|r| self.wanted[at(r.start)..at(r.end)].fill(true)),
            Some(mask) => {
                let wanted = mask.rows_in(rows.clone()).filter(|row| live.contains(*row));
                wanted.for_each(|row| self.wanted[at(row)] = true);
            }
        }
    }

    /// Whether no row is to be scored.
    pub(crate) fn is_empty(&self) -> bool {
        !self.wanted.contains(&true)
    }

    /// Number of rows that are to be scored.
    pub(crate) fn count(&self) -> u64 {
        self.wanted.iter().filter(|wanted| **wanted).count() as u64
    }

    pub(crate) fn rows(&self) -> Slots<'_> {
        Slots::Rows { first: self.rows.start, wanted: &self.wanted }
    }

    /// Adds the tokens of a block that belong to wanted rows; tokens may come in any order and repeatedly.
    pub(super) fn add_tokens(&mut self, block: &Block<'_>) {
        let slots = Slots::Rows { first: self.rows.start, wanted: &self.wanted };
        let wanted = slots.span(block).filter(|i| slots.of(block, *i).is_some());
        self.tokens.extend(wanted.map(|i| (block.rows[i], block.pos[i])));
    }

    /// The tokens that were added, in order. A wanted row without any has one key with [`NO_TOKEN`], so
    /// that it is not forgotten.
    pub(super) fn tokens(&mut self) -> &[Token] {
        self.tokens.sort_unstable();
        self.tokens.dedup();
        let known = |row: u64| self.tokens.binary_search_by_key(&row, |token| token.0).is_ok();
        let wanted = self.rows.clone().zip(&self.wanted).filter(|(_, wanted)| **wanted);
        let bare: Vec<Token> =
            wanted.filter(|(row, _)| !known(*row)).map(|(row, _)| (row, NO_TOKEN)).collect();
        if !bare.is_empty() {
            self.tokens.extend(bare);
            self.tokens.sort_unstable();
        }
        &self.tokens
    }
}

/// Where values are kept.
#[derive(Clone, Copy)]
pub(crate) enum Slots<'a> {
    /// Slot i is row `first + i`. Rows that are not wanted have one that stays empty.
    Rows { first: u64, wanted: &'a [bool] },
    /// Slot i is row i of these, which ascend; all of them are wanted.
    Picked(&'a [u64]),
    /// Slot i is token i of these, all of them wanted.
    Tokens(&'a [Token]),
}

impl Slots<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Slots::Rows { wanted, .. } => wanted.len(),
            Slots::Picked(rows) => rows.len(),
            Slots::Tokens(tokens) => tokens.len(),
        }
    }

    /// Row and, of a token, the position that a slot stands for; `None` if it is not wanted.
    pub(crate) fn key(&self, slot: usize) -> Option<(u64, Option<u32>)> {
        match self {
            Slots::Rows { first, wanted } => wanted[slot].then_some((first + slot as u64, None)),
            Slots::Picked(rows) => Some((rows[slot], None)),
            Slots::Tokens(tokens) => Some((tokens[slot].0, Some(tokens[slot].1))),
        }
    }

    /// Whether a wanted row lies in a range.
    pub(crate) fn touch(&self, rows: Range<u64>) -> bool {
        match self {
            Slots::Rows { first, wanted } => {
                let span = rows.start.max(*first)..rows.end.min(first + wanted.len() as u64);
                !span.is_empty()
                    && wanted[(span.start - first) as usize..(span.end - first) as usize].contains(&true)
            }
            Slots::Picked(picked) => !within(picked, &rows).is_empty(),
            Slots::Tokens(tokens) => {
                let next = tokens.partition_point(|token| token.0 < rows.start);
                tokens.get(next).is_some_and(|token| token.0 < rows.end)
            }
        }
    }

    /// The wanted rows in a range, ascending; of tokens none, since a row may have any number.
    pub(crate) fn rows_in(&self, rows: Range<u64>, found: &mut Vec<u64>) {
        match self {
            Slots::Rows { first, wanted } => {
                let span = rows.start.max(*first)..rows.end.min(first + wanted.len() as u64);
                found.extend(span.filter(|row| wanted[(row - first) as usize]));
            }
            Slots::Picked(picked) => found.extend_from_slice(&picked[within(picked, &rows)]),
            Slots::Tokens(_) => {}
        }
    }

    /// The vectors of a block that have a slot, with it; both ascend.
    pub(crate) fn find(&self, block: &Block<'_>, found: &mut Vec<(usize, usize)>) {
        found.clear();
        match self {
            Slots::Picked(picked) => {
                let (Some(first), Some(last)) = (block.rows.first(), block.rows.last()) else { return };
                let places = within(picked, &(*first..last + 1));
                let slots = places.clone().zip(&picked[places]);
                found.extend(
                    slots.filter_map(|(slot, row)| Some((block.rows.binary_search(row).ok()?, slot))),
                );
            }
            _ => found.extend(self.span(block).filter_map(|i| Some((i, self.of(block, i)?)))),
        }
    }

    /// The vectors of a block that do not lie before the first slot or after the last.
    pub(crate) fn span(&self, block: &Block<'_>) -> Range<usize> {
        match self {
            Slots::Rows { first, wanted } => {
                let end = first + wanted.len() as u64;
                block.rows.partition_point(|row| row < first)..block.rows.partition_point(|row| *row < end)
            }
            Slots::Picked(_) | Slots::Tokens([]) => 0..0,
            Slots::Tokens(tokens @ [first, ..]) => {
                let last = tokens[tokens.len() - 1];
                block.rows.partition_point(|row| *row < first.0)
                    ..block.rows.partition_point(|row| *row <= last.0)
            }
        }
    }

    /// The slot of vector `i` of a block, one of `span`; `None` if it is not wanted.
    pub(crate) fn of(&self, block: &Block<'_>, i: usize) -> Option<usize> {
        match self {
            Slots::Rows { first, wanted } => {
                let slot = (block.rows[i] - first) as usize;
                wanted[slot].then_some(slot)
            }
            Slots::Picked(picked) => picked.binary_search(&block.rows[i]).ok(),
            Slots::Tokens(tokens) => tokens.binary_search(&(block.rows[i], block.pos[i])).ok(),
        }
    }
}

/// The places of the rows that lie in a range.
fn within(picked: &[u64], rows: &Range<u64>) -> Range<usize> {
    picked.partition_point(|row| *row < rows.start)..picked.partition_point(|row| *row < rows.end)
}
