//! `influence()` as a table of the engine.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use gstore_query::influence::Prepared;

use super::columns::InfluenceColumns;
use super::exec::InfluenceExec;
use super::question::{InfluenceQuestion, RankedRelation};
use crate::at_once;
use crate::candidates::Candidates;
use crate::filter;
use crate::leaf::statistics;

/// One question, ready to be scored.
#[derive(Debug)]
pub(crate) struct InfluenceTable {
    shared: Arc<InfluenceQuestion>,
}

impl InfluenceTable {
    pub(super) fn new(
        (plan, candidates): (Prepared, Option<Candidates>),
        columns: InfluenceColumns,
        relation: RankedRelation,
    ) -> Self {
        let columns = Arc::new(columns);
        Self { shared: Arc::new(InfluenceQuestion { plan, columns, relation, candidates }) }
    }

    pub(super) fn candidates(&self) -> Option<&Candidates> {
        self.shared.candidates.as_ref()
    }

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
