//! The best or worst results of a question, from scored rows or tokens in any order.

use gstore_core::{Cancel, parallel};

use crate::error::QueryError;
use crate::influence::result::Scored;
use crate::influence::scan::Totals;
use crate::influence::spec::Order;
use crate::topk::{CANDIDATE_BYTES, PendingCandidates, Shared, TieBreakers, TopK, WAITING, held, most_held};

/// Candidates that a collector with little room holds beyond its k, or a quarter of k if that is more.
const SMALL_ROOM: usize = 64;

/// Bytes that a ranking of `k` takes among others that threads fill together: its candidates, then in their
/// place its results, and what waits in each thread.
pub fn small_bytes(k: usize, threads: usize) -> usize {
    let candidates = most_held(k, SMALL_ROOM).saturating_mul(CANDIDATE_BYTES);
    let results = k.saturating_mul(size_of::<Scored>());
    candidates.max(results).saturating_add(threads.saturating_mul(WAITING * CANDIDATE_BYTES))
}

/// Bytes that the candidates of a ranking of `k` out of `results` take in a collector for each thread, and in
/// one that takes them all over.
pub fn ranking_bytes(k: usize, results: usize, threads: usize) -> usize {
    let candidates = held(k).saturating_mul(threads + 1).min(results.max(k));
    candidates.saturating_mul(CANDIDATE_BYTES)
}

/// Keeps the first k results of an order: by score, then pool, row and position.
#[derive(Clone)]
pub struct Collector {
    top: TopK,
    per_token: bool,
}

impl Collector {
    /// Keeps `k`; `per_token` says whether results are tokens.
    pub fn new(order: Order, k: usize, per_token: bool) -> Self {
        let top = match order {
            Order::Best => TopK::highest(k),
            Order::Worst => TopK::lowest(k),
        };
        Self { top, per_token }
    }

    /// The same with little room beyond `k`, for many side by side.
    pub(crate) fn small(self) -> Self {
        Self { top: self.top.with_room(SMALL_ROOM), ..self }
    }

    /// The same that has memory for what it will hold of so many results from the start.
    pub(crate) fn with_memory(self, results: usize) -> Self {
        Self { top: self.top.with_memory(results), ..self }
    }

    /// The same that keeps only what comes after a result.
    pub(super) fn after(self, last: &Scored) -> Self {
        Self { top: self.top.after(last.score, place(last)), ..self }
    }

    /// Offers a result.
    #[inline]
    pub fn push(&mut self, scored: &Scored) {
        self.top.push(scored.score, place(scored), scored.subtask);
    }

    /// Takes over what another one of the same question has kept.
    pub(crate) fn merge(&mut self, other: Self) {
        self.top.merge(other.top);
    }

    /// The score of the k-th result in order, once there are k.
    pub(crate) fn kth(&mut self) -> Option<f32> {
        self.top.kth()
    }

    /// The selection behind it.
    pub(super) fn top(&mut self) -> &mut TopK {
        &mut self.top
    }

    /// What was kept, in order.
    pub fn into_rows(self) -> Vec<Scored> {
        let scored = |s: crate::topk::SelectedCandidate| {
            let (pool, row, pos) = s.place;
            Scored { pool, row, pos: self.per_token.then_some(pos), score: s.score, subtask: s.payload }
        };
        self.top.into_sorted().into_iter().map(scored).collect()
    }
}

fn place(scored: &Scored) -> TieBreakers {
    (scored.pool, scored.row, scored.pos.unwrap_or_default())
}

/// Rankings of one order that threads fill together.
pub(crate) fn shared(tops: &mut [Collector]) -> Shared<'_> {
    Shared::new(tops.iter_mut().map(|collector| &mut collector.top))
}

impl PendingCandidates<'_, '_> {
    #[inline]
    pub(crate) fn offer(&mut self, ranking: usize, scored: &Scored) {
        self.push(ranking, scored.score, place(scored), scored.subtask);
    }
}

/// Hands over what still waits in threads; returns what they counted.
pub(crate) fn finish<'s, 'a: 's, W>(
    states: impl IntoIterator<Item = (W, PendingCandidates<'s, 'a>, Totals)>,
) -> Totals {
    let mut totals = Totals::default();
    for (_, waiting, counts) in states {
        waiting.finish();
        totals.merge(&counts);
    }
    totals
}

/// The results of rankings, which threads put in order together. A ranking's candidates are freed as its
/// results are made.
pub(crate) fn into_lists(
    mut tops: Vec<Collector>,
    (threads, cancel): (usize, &Cancel),
) -> Result<Vec<Vec<Scored>>, QueryError> {
    let count = tops.len();
    {
        let all = shared(&mut tops);
        parallel::unordered::<_, QueryError>(
            count,
            threads,
            cancel,
            || (),
            |_, ranking| {
                all.sort(ranking);
                Ok(())
            },
        )?;
    }
    Ok(tops.into_iter().map(Collector::into_rows).collect())
}

/// Adds what threads kept to `top`; returns what they counted.
pub(crate) fn merge<W>(states: Vec<(W, Collector, Totals)>, top: &mut Collector) -> Totals {
    let mut totals = Totals::default();
    for (_, other, counts) in states {
        top.merge(other);
        totals.merge(&counts);
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rankings_take_the_memory_that_the_documents_state() {
        let (rankings, k, threads) = (1024, 5000, 4);
        assert_eq!(rankings * small_bytes(k, 0), 163_840_000);
        assert_eq!(rankings * k * size_of::<Scored>(), 163_840_000, "that of the answer");
        assert_eq!(rankings * (small_bytes(k, 1) - small_bytes(k, 0)), 393_216);
        // As much is held of some of them: while threads fill them, and once they are in order.
        let (some, rows) = (16, 20_000);
        let new = |_| Collector::new(Order::Best, k, false).small().with_memory(rows as usize);
        let mut tops: Vec<Collector> = (0..some).map(new).collect();
        {
            let all = shared(&mut tops);
            std::thread::scope(|scope| {
                for first in 0..threads {
                    let mut own = all.waiting();
                    scope.spawn(move || {
                        for row in (first..rows).step_by(threads as usize) {
                            for ranking in 0..some {
                                let score = (row * (ranking as u64 + 1) * 7919 % 20_011) as f32;
                                own.offer(ranking, &Scored { pool: 0, row, pos: None, score, subtask: 0 });
                            }
                        }
                        own.finish();
                    });
                }
            });
        }
        let held: usize = tops.iter().map(|top| top.top.memory()).sum();
        assert!((some * k * CANDIDATE_BYTES..=some * small_bytes(k, 0)).contains(&held), "{held}");
        let lists = into_lists(tops, (threads as usize, &Cancel::new())).unwrap();
        let held: usize = lists.iter().map(|list| list.capacity() * size_of::<Scored>()).sum();
        assert_eq!(held, some * small_bytes(k, 0));
    }
}
