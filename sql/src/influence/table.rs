//! `influence()` as a table of the engine.

use std::fmt;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use gstore_query::influence::{Diversity, Order, Prepared};

use super::columns::InfluenceColumns;
use super::exec::InfluenceExec;
use super::nearest::Search;
use crate::leaf::statistics;
use crate::{at_once, filter};

/// One question, ready to be scored.
pub(super) struct InfluenceTable {
    shared: Arc<Question>,
}

/// What every node of a plan that answers the question shares.
pub(super) struct Question {
    pub(super) plan: Prepared,
    pub(super) columns: Arc<InfluenceColumns>,
    pub(super) relation: Relation,
}

/// Which rows the relation has, and by what they are ranked.
#[derive(Debug)]
pub(super) enum Relation {
    /// All rows that have a score.
    All,
    /// The `k` rows at one end of the ranking that the rules let stand side by side, and no others.
    Best { k: usize, rules: Diversity, order: Order },
    /// Rows are scored for themselves; the target plays no part.
    SelfInfluence { k: Option<usize> },
    /// The rows nearest to a vector, nearest first.
    Nearest { k: Option<usize>, search: Search },
}

impl Relation {
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
            _ => self.k().map(|_| Order::Best),
        }
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("spec", self.plan.spec()).field("relation", &self.relation).finish()
    }
}

impl fmt::Debug for InfluenceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl Question {
    /// Rows of the result, before filters.
    pub(super) fn rows(&self) -> Precision<usize> {
        let most = usize::try_from(self.plan.most_results()).unwrap_or(usize::MAX);
        Precision::Inexact(most.min(self.relation.k().unwrap_or(usize::MAX)))
    }
}

impl InfluenceTable {
    pub(super) fn new(plan: Prepared, columns: InfluenceColumns, relation: Relation) -> Self {
        Self { shared: Arc::new(Question { plan, columns: Arc::new(columns), relation }) }
    }
}

impl InfluenceTable {
    /// The plan that reads it.
    fn planned(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let schema = self.shared.columns.schema();
        let filters = filter::physical(session, schema, filters)?;
        let projection = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        Ok(Arc::new(InfluenceExec::new(Arc::clone(&self.shared), projection, filters, limit)?))
    }
}

impl TableProvider for InfluenceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.shared.columns.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    at_once::scan!();

    /// With `k`, filters choose among the best k rows, so they stay above; without, they
    /// choose what is scored.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|f| match self.shared.relation.k() {
                Some(_) => TableProviderFilterPushDown::Unsupported,
                None => filter::support(f),
            })
            .collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(statistics(self.shared.rows(), self.shared.columns.schema().fields().len()))
    }
}
