//! A question about a relation, which all nodes of a plan that answers it share.

use std::fmt;
use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::execution::memory_pool::MemoryReservation;
use gstore_core::Cancel;
use gstore_query::influence::{Diversity, Order, Prepared};

use super::columns::InfluenceColumns;
use super::search::NearestSearch;
use crate::error::SqlError;

/// What every node of a plan that answers the question shares.
pub(super) struct InfluenceQuestion {
    pub(super) plan: Prepared,
    pub(super) columns: Arc<InfluenceColumns>,
    pub(super) relation: RankedRelation,
}

/// Which rows the relation has, and by what they are ranked.
#[derive(Debug)]
pub(super) enum RankedRelation {
    /// All rows that have a score.
    All,
    /// The `k` rows at one end of the ranking that the rules let stand side by side, and no others.
    Best { k: usize, rules: Diversity, order: Order },
    /// Rows are scored for themselves; the target plays no part.
    SelfInfluence { k: Option<usize> },
    /// The rows nearest to a vector, nearest first.
    Nearest { k: Option<usize>, search: NearestSearch },
}

impl RankedRelation {
    /// The relation is the first `k` rows and no others.
    pub(super) fn k(&self) -> Option<usize> {
        match self {
            Self::All => None,
            Self::Best { k, .. } => Some(*k),
            Self::SelfInfluence { k } | Self::Nearest { k, .. } => *k,
        }
    }

    /// The order of the ranking, where the rows come in it.
    pub(super) fn order(&self) -> Option<Order> {
        match self {
            Self::Best { order, .. } => Some(*order),
            Self::Nearest { .. } => Some(Order::Best),
            Self::All | Self::SelfInfluence { .. } => self.k().map(|_| Order::Best),
        }
    }
}

impl fmt::Debug for InfluenceQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("spec", self.plan.spec()).field("relation", &self.relation).finish()
    }
}

impl InfluenceQuestion {
    /// Rows of the result, before filters.
    pub(super) fn rows(&self) -> Precision<usize> {
        Precision::Inexact(self.plan.most_results().min(self.relation.k().unwrap_or(usize::MAX)))
    }
}

/// Makes the inverses of a preconditioner on `threads`. What they take until then is in `memory`, where others
/// than the session's owner ask, and then what they take for good.
///
/// The owner has them whatever the limit is, as outside of SQL: it is one of sorts and joins, and those of two
/// checkpoints of usual dimensions take more than it.
pub(super) fn hold_inverses(
    plan: &Prepared,
    memory: Option<&MemoryReservation>,
    threads: usize,
    cancel: &Cancel,
) -> Result<(), SqlError> {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let making = size(plan.inverse_making_bytes(threads)?);
    let made = size(plan.inverse_bytes()?);
    memory.map_or(Ok(()), |memory| memory.try_grow(making))?;
    plan.make_inverses(threads, cancel)?;
    if let Some(memory) = memory {
        memory.shrink(making.saturating_sub(made));
    }
    Ok(())
}
