//! The rows that may be among the first of one ranking.
//!
//! Scores are signed: the higher ranks first, also where the worst rows are asked for.

use crate::topk::most_held;

/// A row whose score lies between two bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) lower: f32,
    pub(super) upper: f32,
    /// The window,
    pub(super) unit: u32,
    /// and the row, from its first.
    pub(super) slot: u32,
}

/// Rows beyond k before those that cannot rank are dropped, where a quarter of k is less.
const ROOM: usize = 64;

/// Of the width of the bounds, how far below the k-th estimate rows are looked at first.
const NEAR: f32 = 1.0 / 6.0;

/// Candidates of one ranking in some rows.
#[derive(Debug, Clone)]
pub(super) struct Candidates {
    k: usize,
    entries: Vec<Candidate>,
    room: usize,
    /// No row with a score below is among the first k.
    cut: f32,
}

impl Candidates {
    /// Of a ranking of `k` rows, the last of which is known to score `cut` at least.
    pub(super) fn new(k: usize, cut: f32) -> Self {
        Self { k, entries: Vec::new(), room: most_held(k, ROOM), cut }
    }

    /// Adds a row; returns the cut, which may have moved.
    #[inline(never)]
    pub(super) fn push(&mut self, candidate: Candidate) -> f32 {
        if self.k > 0 && candidate.upper >= self.cut {
            self.entries.push(candidate);
            if self.entries.len() >= self.room {
                self.shrink();
            }
        }
        self.cut
    }

    /// Takes over those of other rows.
    pub(super) fn merge(&mut self, other: Self) {
        self.cut = self.cut.max(other.cut);
        self.entries.extend(other.entries);
    }

    /// No row with a score below is among the first k.
    pub(super) fn cut(&self) -> f32 {
        self.cut
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The rows.
    pub(super) fn into_entries(self) -> Vec<Candidate> {
        self.entries
    }

    /// Takes the rows out that are estimated to rank first: k of them and those that are near, since most errors are a small part of their bounds.
    pub(super) fn take_first(&mut self) -> Vec<Candidate> {
        let middle = |candidate: &Candidate| 0.5 * (candidate.lower + candidate.upper);
        if self.k == 0 || self.entries.len() <= self.k {
            return std::mem::take(&mut self.entries);
        }
        // Of equal estimates the same ones, in whatever order threads found them.
        let (_, kth, _) = self.entries.select_nth_unstable_by(self.k - 1, |a, b| {
            middle(b)
                .total_cmp(&middle(a))
                .then(b.lower.total_cmp(&a.lower))
                .then(b.upper.total_cmp(&a.upper))
        });
        let near = middle(kth) - NEAR * (kth.upper - kth.lower);
        self.entries.extract_if(.., |candidate| middle(candidate) >= near).collect()
    }

    /// Moves the cut where k rows are known to score as much, and drops what is below.
    pub(super) fn raise(&mut self, cut: f32) {
        self.cut = self.cut.max(cut);
        let cut = self.cut;
        self.entries.retain(|candidate| candidate.upper >= cut);
    }

    /// Moves the cut to the k-th of the lower bounds, since k rows score as much, and drops what is below.
    pub(super) fn shrink(&mut self) {
        if self.entries.len() >= self.k && self.k > 0 {
            let (_, kth, _) =
                self.entries.select_nth_unstable_by(self.k - 1, |a, b| b.lower.total_cmp(&a.lower));
            let cut = kth.lower;
            self.raise(cut);
        } else {
            self.raise(self.cut);
        }
        self.room = most_held(self.entries.len().max(self.k), ROOM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_that_may_be_among_the_first_is_kept() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        for k in [1, 3, 100] {
            let mut parts = vec![Candidates::new(k, f32::NEG_INFINITY); 3];
            let mut rows: Vec<(f32, u32)> = Vec::new();
            for slot in 0..5000 {
                let (score, error) = (next() - 0.5, next() * 0.02);
                rows.push((score, slot));
                let off = error * (2.0 * next() - 1.0);
                let (lower, upper) = (score + off - error, score + off + error);
                parts[slot as usize % 3].push(Candidate { lower, upper, unit: 0, slot });
            }
            let mut all = parts.remove(0);
            parts.into_iter().for_each(|part| all.merge(part));
            all.shrink();
            let (cut, kept) = (all.cut(), all.into_entries());
            rows.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
            assert!(rows[k - 1].0 >= cut);
            assert!(rows[..k].iter().all(|row| kept.iter().any(|kept| kept.slot == row.1)));
            assert!(kept.len() < 5 * k + 400, "{k}: {}", kept.len());
        }
    }
}
