//! The best k of a stream in memory that depends on k alone.
//!
//! Candidates are pushed into a buffer; when it is full, a selection keeps the k best and the worst of them
//! becomes the threshold that later ones must pass. The order is total (score, then place), so the result
//! does not depend on the order of pushes, on how a stream is split or on which parts are merged first.

mod shared;

pub(crate) use shared::{PendingCandidates, Shared, WAITING};

/// The tie breakers of a candidate, the most significant first; of each the lower wins.
pub(crate) type TieBreakers = (u32, u64, u32);

/// Score and place: the lower key ranks first. The last part of the place is outside the 128
/// bits that hold the rest.
type Key = (u128, u32);

/// A candidate. The parts of its key are separate fields: a [`Key`] alone is padded to 32 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Entry {
    /// Score and the first part of the place.
    high: u64,
    low: u64,
    last: u32,
    payload: u32,
}

impl Entry {
    #[inline]
    fn new(score: u32, (major, minor, last): TieBreakers, payload: u32) -> Self {
        Self { high: u64::from(score) << 32 | u64::from(major), low: minor, last, payload }
    }

    #[inline]
    fn key(&self) -> Key {
        (u128::from(self.high) << 64 | u128::from(self.low), self.last)
    }
}

/// Memory that a collector needs for each candidate it holds.
pub(crate) const CANDIDATE_BYTES: usize = size_of::<Entry>();

/// Candidates beyond k that a collector holds before it drops the worst, where a quarter of k is less.
const ROOM: usize = 1024;

/// Candidates that a collector of `k` holds at most; `room` is its own.
pub(crate) fn most_held(k: usize, room: usize) -> usize {
    k.saturating_add(room.max(k / 4))
}

/// Candidates that a collector of `k` holds at most, unless it was given another room.
pub(crate) fn held(k: usize) -> usize {
    most_held(k, ROOM)
}

/// Collects the k candidates with the highest (or lowest) scores.
#[derive(Debug, Clone)]
pub(crate) struct TopK {
    k: usize,
    /// Candidates held beyond k before the worst are dropped, where a quarter of k is less.
    room: usize,
    flip: u32,
    entries: Vec<Entry>,
    /// Candidates with a key above this one are not among the k best.
    threshold: Key,
    /// Candidates with this key or one below it are not wanted.
    floor: Option<Key>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SelectedCandidate {
    /// `-0.0` is returned as `0.0`.
    pub score: f32,
    pub place: TieBreakers,
    /// Carried along.
    pub payload: u32,
}

impl TopK {
    pub(crate) fn highest(k: usize) -> Self {
        // Ordered score bits ascend with the score; all flipped, the highest score has the smallest key.
        let threshold = (u128::MAX, u32::MAX);
        Self { k, room: ROOM, flip: u32::MAX, entries: Vec::new(), threshold, floor: None }
    }

    pub(crate) fn lowest(k: usize) -> Self {
        Self { flip: 0, ..Self::highest(k) }
    }

    /// The same that holds at most `room` candidates beyond k, or a quarter of k: for many collectors of
    /// a small k side by side.
    pub(crate) fn with_room(self, room: usize) -> Self {
        Self { room: room.max(1), ..self }
    }

    /// The same that has memory for all that it will hold of a stream of `candidates` from the start: it then
    /// comes from one place, whichever threads push.
    pub(crate) fn with_memory(mut self, candidates: usize) -> Self {
        if self.k > 0 {
            self.entries.reserve_exact(most_held(self.k, self.room).min(candidates));
        }
        self
    }

    /// The same that keeps only what comes after a candidate in the order: the next page of a ranking.
    pub(crate) fn after(self, score: f32, place: TieBreakers) -> Self {
        let floor = Some(Entry::new(ordered(score) ^ self.flip, place, 0).key());
        Self { floor, ..self }
    }

    /// Offers a candidate. A score that is not finite is never kept. Places must be unique.
    #[inline]
    pub(crate) fn push(&mut self, score: f32, place: TieBreakers, payload: u32) {
        let score_key = ordered(score) ^ self.flip;
        // Most candidates fail here, before a key is built.
        if score_key > (self.threshold.0 >> 96) as u32 || !score.is_finite() {
            return;
        }
        self.keep(Entry::new(score_key, place, payload));
    }

    /// The ordered score above which no candidate is kept, turned for this direction.
    fn limit(&self) -> u32 {
        if self.k == 0 { 0 } else { (self.threshold.0 >> 96) as u32 }
    }

    /// Keeps a candidate that is among the best so far.
    #[inline(never)]
    fn keep(&mut self, entry: Entry) {
        if entry.key() > self.threshold || self.k == 0 || self.floor.is_some_and(|floor| entry.key() <= floor)
        {
            return;
        }
        let most = most_held(self.k, self.room);
        if self.entries.len() == self.entries.capacity() {
            // Never more memory than the candidates need.
            let doubled = self.entries.len().saturating_mul(2).max(16);
            self.entries.reserve_exact(doubled.min(most) - self.entries.len());
        }
        self.entries.push(entry);
        if self.entries.len() >= most {
            self.shrink();
        }
    }

    /// The score of the k-th candidate in order, once there are k.
    pub(crate) fn kth(&mut self) -> Option<f32> {
        self.shrink();
        if self.k == 0 || self.entries.len() < self.k {
            return None;
        }
        let worst = self.entries.iter().map(Entry::key).max()?;
        Some(from_ordered((worst.0 >> 96) as u32 ^ self.flip))
    }

    /// Takes over what another collector of the same k and direction has kept.
    pub(crate) fn merge(&mut self, other: Self) {
        debug_assert!(self.k == other.k && self.flip == other.flip);
        if self.entries.is_empty() {
            self.entries = other.entries;
        } else {
            other.entries.into_iter().for_each(|entry| self.keep(entry));
        }
        self.shrink();
    }

    /// Bytes that its candidates have.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.entries.capacity() * CANDIDATE_BYTES
    }

    /// Puts the kept candidates in order.
    fn sort(&mut self) {
        self.shrink();
        self.entries.sort_unstable_by_key(Entry::key);
    }

    pub(crate) fn into_sorted(mut self) -> Vec<SelectedCandidate> {
        // What is in order already is seen to be.
        self.sort();
        let flip = self.flip;
        self.entries
            .into_iter()
            .map(|Entry { high, low, last, payload }| SelectedCandidate {
                score: from_ordered((high >> 32) as u32 ^ flip),
                place: (high as u32, low, last),
                payload,
            })
            .collect()
    }

    fn shrink(&mut self) {
        if self.entries.len() > self.k {
            let (_, worst, _) = self.entries.select_nth_unstable_by_key(self.k - 1, Entry::key);
            self.threshold = self.threshold.min(worst.key());
            self.entries.truncate(self.k);
        }
    }
}

/// Bits that compare as unsigned numbers the way finite scores compare; both zeros map to the same.
#[inline]
pub(crate) fn ordered(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

pub(crate) fn from_ordered(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

#[cfg(test)]
mod tests;
