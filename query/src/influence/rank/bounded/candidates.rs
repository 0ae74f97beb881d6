//! The rows that may be among the first of one ranking.
//!
//! Scores are signed: the higher ranks first, also where the worst rows are asked for.

use crate::topk::most_held;

/// A row whose score lies between two bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) lower: f32,
    pub(super) upper: f32,
    /// The window.
    pub(super) unit: u32,
    /// The row, counted from the window's first.
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
#[derive(Debug, Clone)]
pub(super) struct ScoreCut {
    /// The least upper bound with which a row may be among the first k, or better than the k-th by more than
    /// the tolerance.
    pub(super) limit: f32,
    /// Lower bounds with the k best among them, where the k-th, which k rows reach, moves the limit.
    lowers: Option<Vec<f32>>,
}

impl ScoreCut {
    /// One that stays where it is.
    pub(super) fn fixed(limit: f32) -> Self {
        Self { limit, lowers: None }
    }

    /// One that rises with the k-th lower bound.
    pub(super) fn moving(limit: f32) -> Self {
        Self { limit, lowers: Some(Vec::new()) }
    }

    pub(super) fn moves(&self) -> bool {
        self.lowers.is_some()
    }

    #[inline]
    fn note(&mut self, lower: f32, k: usize) {
        let Some(lowers) = self.lowers.as_mut().filter(|_| lower >= self.limit) else { return };
        lowers.push(lower);
        if lowers.len() >= most_held(k, ROOM) {
            self.settle(k);
        }
    }

    /// Moves the limit to the k-th of the lower bounds, if there are as many, and drops those that are worse.
    fn settle(&mut self, k: usize) {
        let Some(lowers) = self.lowers.as_mut().filter(|lowers| (1..=lowers.len()).contains(&k)) else {
            return;
        };
        let kth = *lowers.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1;
        lowers.truncate(k);
        self.limit = self.limit.max(kth);
    }
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
        let room = if cut.moves() { most_held(k, ROOM) } else { usize::MAX };
        Self { k, entries: Vec::new(), room, cut }
    }

    /// Adds a row; returns the limit, which may have moved.
    #[inline(never)]
    pub(super) fn push(&mut self, candidate: Candidate) -> f32 {
        if self.k > 0 && candidate.upper >= self.cut.limit {
            self.entries.push(candidate);
            self.cut.note(candidate.lower, self.k);
            if self.entries.len() >= self.room {
                self.shrink();
            }
        }
        self.cut.limit
    }

    /// Takes over those of other rows.
    pub(super) fn merge(&mut self, other: Self) {
        self.cut.limit = self.cut.limit.max(other.cut.limit);
        // The k best of all lower bounds are at or above both limits, so the rows that they are of are there.
        other.entries.iter().for_each(|candidate| self.cut.note(candidate.lower, self.k));
        self.cut.settle(self.k);
        if self.entries.is_empty() {
            self.entries = other.entries;
        } else {
            self.entries.extend(other.entries);
        }
    }

    pub(super) fn cut(&self) -> &ScoreCut {
        &self.cut
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn into_entries(self) -> Vec<Candidate> {
        self.entries
    }

    /// How many may still rank if every estimate is the score and so many of them rank in the end.
    pub(super) fn likely(&self, ranking: usize) -> usize {
        if ranking == 0 || self.entries.len() <= ranking {
            return self.entries.len();
        }
        let mut middles: Vec<f32> = self.entries.iter().map(Candidate::middle).collect();
        let last = *middles.select_nth_unstable_by(ranking - 1, |a, b| b.total_cmp(a)).1;
        self.entries.iter().filter(|candidate| candidate.upper >= last).count()
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

    /// Drops what is below the limit, where it moves.
    pub(super) fn shrink(&mut self) {
        if self.cut.moves() {
            self.cut.settle(self.k);
            self.raise(self.cut.limit);
            self.room = most_held(self.entries.len().max(self.k), ROOM);
        }
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
            let mut all = Candidates::new(k, ScoreCut::moving(f32::NEG_INFINITY));
            let mut rows: Vec<(f32, u32)> = Vec::new();
            let mut lowers = Vec::new();
            // In two passes, each in three parts.
            for pass in 0..2 {
                let mut parts = vec![Candidates::new(k, all.cut().clone()); 3];
                for slot in pass * 2500..(pass + 1) * 2500 {
                    let (score, error) = (next() - 0.5, next() * 0.02);
                    rows.push((score, slot));
                    let off = error * (2.0 * next() - 1.0);
                    let (lower, upper) = (score + off - error, score + off + error);
                    lowers.push(lower);
                    parts[slot as usize % 3].push(Candidate { lower, upper, unit: 0, slot });
                }
                parts.into_iter().for_each(|part| all.merge(part));
                lowers.sort_unstable_by(|a, b| b.total_cmp(a));
                assert_eq!(all.cut().limit, lowers[k - 1]);
            }
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
