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

impl Candidate {
    /// A row of a window whose signed score is `value`, up to an error.
    pub(super) fn new(value: f32, error: f32, (unit, slot): (u32, u32)) -> Self {
        Self { lower: (value - error).next_down(), upper: (value + error).next_up(), unit, slot }
    }

    /// Its estimate.
    fn middle(&self) -> f32 {
        0.5 * (self.lower + self.upper)
    }
}

/// Rows beyond k before those that cannot rank are dropped, where a quarter of k is less.
const ROOM: usize = 64;

/// Of the width of the bounds, how far below the k-th estimate rows are looked at first.
const NEAR: f32 = 1.0 / 6.0;

/// Rows beyond k that are looked at first at most, where a quarter of k is less.
const FIRST: usize = 156;

/// What a row has to reach.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScoreCut {
    /// The least upper bound with which a row may be among the first k, or better than the k-th by more than
    /// the tolerance.
    pub(super) limit: f32,
    /// Whether the k-th of the lower bounds, which k rows reach, moves it.
    pub(super) moves: bool,
}

/// Candidates of one ranking in some rows.
#[derive(Debug, Clone)]
pub(super) struct Candidates {
    k: usize,
    entries: Vec<Candidate>,
    room: usize,
    cut: ScoreCut,
}

impl Candidates {
    /// Of a ranking of `k` rows.
    pub(super) fn new(k: usize, cut: ScoreCut) -> Self {
        let room = if cut.moves { most_held(k, ROOM) } else { usize::MAX };
        Self { k, entries: Vec::new(), room, cut }
    }

    /// Adds a row; returns the limit, which may have moved.
    #[inline(never)]
    pub(super) fn push(&mut self, candidate: Candidate) -> f32 {
        if self.k > 0 && candidate.upper >= self.cut.limit {
            self.entries.push(candidate);
            if self.entries.len() >= self.room {
                self.shrink();
            }
        }
        self.cut.limit
    }

    /// Takes over those of other rows.
    pub(super) fn merge(&mut self, other: Self) {
        self.cut.limit = self.cut.limit.max(other.cut.limit);
        if self.entries.is_empty() {
            self.entries = other.entries;
        } else {
            self.entries.extend(other.entries);
        }
    }

    pub(super) fn cut(&self) -> ScoreCut {
        self.cut
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn into_entries(self) -> Vec<Candidate> {
        self.entries
    }

    /// The k-th largest of the candidates' values, of which there are k at least.
    fn kth(&self, of: impl Fn(&Candidate) -> f32) -> f32 {
        let mut values: Vec<f32> = self.entries.iter().map(of).collect();
        *values.select_nth_unstable_by(self.k - 1, |a, b| b.total_cmp(a)).1
    }

    /// How many may still rank if every estimate is the score.
    pub(super) fn likely(&self) -> usize {
        if self.k == 0 || self.entries.len() <= self.k {
            return self.entries.len();
        }
        let kth = self.kth(Candidate::middle);
        self.entries.iter().filter(|candidate| candidate.upper >= kth).count()
    }

    /// Takes the rows out that are estimated to rank first: k of them and some that are near, since most
    /// errors are a small part of their bounds.
    pub(super) fn take_first(&mut self) -> Vec<Candidate> {
        if self.k == 0 || self.entries.len() <= self.k {
            return std::mem::take(&mut self.entries);
        }
        let middle = Candidate::middle;
        let descending = |a: &f32, b: &f32| b.total_cmp(a);
        let mut middles: Vec<f32> = self.entries.iter().map(middle).collect();
        let (_, kth, rest) = middles.select_nth_unstable_by(self.k - 1, descending);
        let kth = *kth;
        let more = FIRST.max(self.k / 4);
        let last = match rest.len() > more {
            true => *rest.select_nth_unstable_by(more - 1, descending).1,
            false => f32::NEG_INFINITY,
        };
        // Of equal estimates all or none, in whatever order threads found them.
        let equal = self.entries.iter().filter(|candidate| middle(candidate) == kth);
        let width = equal.map(|candidate| candidate.upper - candidate.lower).fold(0.0, f32::max);
        let least = last.max(kth - NEAR * width);
        self.entries.extract_if(.., |candidate| middle(candidate) >= least).collect()
    }

    /// Moves the limit, and drops what is below.
    pub(super) fn raise(&mut self, limit: f32) {
        let limit = self.cut.limit.max(limit);
        self.cut.limit = limit;
        self.entries.retain(|candidate| candidate.upper >= limit);
    }

    /// Moves the limit to the k-th of the lower bounds, if it may, and drops what is below.
    pub(super) fn shrink(&mut self) {
        if !self.cut.moves {
            return;
        }
        let mut limit = self.cut.limit;
        if self.entries.len() >= self.k && self.k > 0 {
            limit = self.kth(|candidate| candidate.lower);
        }
        self.raise(limit);
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
            let cut = ScoreCut { limit: f32::NEG_INFINITY, moves: true };
            let mut parts = vec![Candidates::new(k, cut); 3];
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
            let mut first = all.clone();
            assert!(first.take_first().len() >= k);
            let (cut, kept) = (all.cut().limit, all.into_entries());
            rows.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
            assert!(rows[k - 1].0 >= cut);
            assert!(rows[..k].iter().all(|row| kept.iter().any(|kept| kept.slot == row.1)));
            assert!(kept.len() < 5 * k + 400, "{k}: {}", kept.len());
        }
    }
}
