//! `influence()` as a table of the engine.

use std::fmt;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use gstore_query::influence::{Diversity, InfluencePlan};

use super::columns::InfluenceColumns;
use super::exec::InfluenceExec;
use super::neighbours::Search;
use crate::filter;
use crate::leaf::statistics;

/// One question, ready to be scored.
pub(super) struct InfluenceTable {
    shared: Arc<Question>,
}

/// What every node of a plan that answers the question shares.
pub(super) struct Question {
    pub(super) plan: InfluencePlan,
    pub(super) columns: Arc<InfluenceColumns>,
    /// The relation is the best `k` rows and no others.
    pub(super) k: Option<usize>,
    /// Which of the best rows may stand beside each other.
    pub(super) rules: Diversity,
    /// Where neighbours are looked for: how.
    pub(super) search: Option<Search>,
    /// Rows are scored for themselves; the target plays no part.
    pub(super) own: bool,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("spec", self.plan.spec()).field("k", &self.k).finish()
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
        Precision::Inexact(most.min(self.k.unwrap_or(usize::MAX)))
    }
}

impl InfluenceTable {
    pub(super) fn new(
        plan: InfluencePlan,
        columns: InfluenceColumns,
        k: Option<usize>,
        rules: Diversity,
        own: bool,
    ) -> Self {
        Self { shared: Arc::new(Question { plan, columns: Arc::new(columns), k, rules, own, search: None }) }
    }

    /// The relation of a question about neighbours.
    pub(super) fn of_neighbours(
        plan: InfluencePlan,
        columns: InfluenceColumns,
        k: Option<usize>,
        search: Search,
    ) -> Self {
        let (columns, rules) = (Arc::new(columns), Diversity::default());
        Self { shared: Arc::new(Question { plan, columns, k, rules, own: false, search: Some(search) }) }
    }
}

#[async_trait]
impl TableProvider for InfluenceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.shared.columns.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
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

    /// With `k`, filters choose among the best k rows, so they stay above; without, they choose what is scored.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|f| match self.shared.k {
                Some(_) => TableProviderFilterPushDown::Unsupported,
                None => filter::support(f),
            })
            .collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(statistics(self.shared.rows(), self.shared.columns.schema().fields().len()))
    }
}
