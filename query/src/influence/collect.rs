//! The best or worst results of a question, from scored rows or tokens in any order.

use super::result::Scored;
use super::spec::Order;
use crate::topk::TopK;

/// Keeps the first k results of an order: by score, then pool, row and position.
pub(crate) struct Collector {
    top: TopK,
    per_token: bool,
}

impl Collector {
    /// Keeps `k`; `per_token` says whether results are tokens.
    pub(crate) fn new(order: Order, k: usize, per_token: bool) -> Self {
        let top = match order {
            Order::Best => TopK::highest(k),
            Order::Worst => TopK::lowest(k),
        };
        Self { top, per_token }
    }

    /// Offers a result.
    #[inline]
    pub(crate) fn push(&mut self, scored: &Scored) {
        let place = (scored.pool, scored.row, scored.pos.unwrap_or_default());
        self.top.push(scored.score, place, scored.subtask);
    }

    /// Takes over what another one of the same question has kept.
    pub(crate) fn merge(&mut self, other: Self) {
        self.top.merge(other.top);
    }

    /// The score of the k-th result in order, once there are k.
    pub(crate) fn kth(&mut self) -> Option<f32> {
        self.top.kth()
    }

    /// What was kept, in order.
    pub(crate) fn into_rows(self) -> Vec<Scored> {
        let scored = |s: crate::topk::Selected| {
            let (pool, row, pos) = s.place;
            Scored { pool, row, pos: self.per_token.then_some(pos), score: s.score, subtask: s.payload }
        };
        self.top.into_sorted().into_iter().map(scored).collect()
    }
}
