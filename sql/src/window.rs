//! Pages of a statement's rows: a part of them, in another order if wanted, without another text.
//!
//! The order and the cut are put on top of the statement's plan. In its text, as a subselect, the statement's
//! own `ORDER BY` would be dropped, two columns of one name would be refused, and errors would name other
//! places.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use super::error::SqlError;

/// More rows than a result has. The planner adds `skip` and `fetch` and keeps the sum as a number with a sign.
const MOST: usize = usize::MAX >> 2;

/// A part of a statement's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowWindow {
    /// Columns by their place in the result, from 0, and whether the order is descending; the statement's own
    /// order where there are none.
    pub order: Vec<(usize, bool)>,
    /// Rows that are left out at the beginning.
    pub skip: usize,
    /// Most rows; all that follow without a number.
    pub fetch: Option<usize>,
}

impl RowWindow {
    /// The plan of this part of the rows of `plan`. What describes a plan is given whole; the columns of
    /// a `DESCRIBE` are rows as others.
    pub(crate) fn of(&self, plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
        if matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)) {
            return Ok(plan);
        }
        let columns = plan.schema().fields().len();
        if let Some((wrong, _)) = self.order.iter().find(|(column, _)| *column >= columns) {
            return Err(SqlError::invalid(format!(
                "there is no column {wrong} to order by: the result has {columns}, counted from 0"
            )));
        }
        self.built(plan).map_err(|e| SqlError::from_datafusion(e, &[]))
    }

    fn built(&self, plan: LogicalPlan) -> DfResult<LogicalPlan> {
        let schema = Arc::clone(plan.schema());
        let mut plan = LogicalPlanBuilder::from(plan);
        if !self.order.is_empty() {
            let order = self.order.iter().map(|(column, descending)| {
                Expr::Column(Column::from(schema.qualified_field(*column))).sort(!descending, false)
            });
            plan = plan.sort(order.collect::<Vec<_>>())?;
        }
        let fetch = self.fetch.filter(|rows| *rows <= MOST);
        if self.skip > 0 || fetch.is_some() {
            plan = plan.limit(self.skip.min(MOST), fetch)?;
        }
        plan.build()
    }
}
