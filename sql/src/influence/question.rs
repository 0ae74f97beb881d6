//! A question about a relation, which all nodes of a plan that answers it share.

use std::fmt;
use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::execution::memory_pool::MemoryReservation;
use gstore_core::Cancel;
use gstore_query::daunce::Covariance;
use gstore_query::influence::{Diversity, Inversion, Order, Prepared};

use super::columns::InfluenceColumns;
use super::search::NearestSearch;
use crate::candidates::Candidates;
use crate::error::SqlError;

/// What every node of a plan that answers the question shares.
pub(super) struct InfluenceQuestion {
    pub(super) plan: Prepared,
    pub(super) columns: Arc<InfluenceColumns>,
    pub(super) relation: RankedRelation,
    /// The rows that are ranked; all without them.
    pub(super) candidates: Option<Candidates>,
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

/// What is asked of a target, in EXPLAIN.
pub(super) fn question_text(plan: &Prepared, target: &str) -> String {
    let spec = plan.spec();
    let method = match (&spec.covariance, plan.plan().models()) {
        (Some(Covariance { how, missing, .. }), Some(models)) => format!(
            "ensemble={}, models={}, score={}, center={}, ddof={}, missing={missing}",
            models.ensemble,
            models.members.len(),
            how.score,
            how.center,
            how.ddof
        ),
        _ => format!(
            "mode={}, checkpoints=[{}], sim={}, fold={}",
            spec.mode,
            checkpoint_names(plan),
            spec.sim,
            spec.fold
        ),
    };
    let others = [
        spec.modules.as_ref().map(|modules| format!("modules=[{}]", modules.text())),
        spec.precondition.as_ref().map(|name| format!("precondition={name}")),
        // Factors have a filter in its place.
        (spec.inversion != Inversion::default()).then(|| format!("inversion={}", spec.inversion.name())),
        spec.damping.map(|damping| format!("damping={damping}")),
        spec.filter.map(|filter| format!("filter={filter}")),
        spec.per_token.then(|| "per_token=true".to_owned()),
        spec.exclude_target.then(|| "exclude_target=true".to_owned()),
    ];
    let others: String = others.into_iter().flatten().map(|other| format!(", {other}")).collect();
    let (pools, within, across) = (spec.pools.join(", "), spec.within, spec.across);
    format!("pool=[{pools}], target=[{target}], {method}, within={within}, across={across}{others}")
}

/// The checkpoints that are compared, in EXPLAIN.
pub(super) fn checkpoint_names(plan: &Prepared) -> String {
    let names: Vec<&str> = plan.checkpoints().iter().map(|checkpoint| checkpoint.name.as_str()).collect();
    names.join(", ")
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
