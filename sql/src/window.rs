//! Pages of a statement's rows: a part of them, in another order if wanted, without another text.
//!
//! The order and the cut are put on top of the statement's plan. In its text, as a subselect, the statement's
//! own `ORDER BY` would be dropped, two columns of one name would be refused, and errors would name other
//! places.
//!
//! Invariants
//! - pages of one statement and snapshot are parts of one sequence of rows, whatever they skip and however
//!   long they are
//! - so the cut is put on top of the optimised plan: a rule that sees it may choose another plan for each
//!   page
//! - a search for neighbours that is to find more rows may find others first: its plan is not told of the cut
//! - rows that a sort leaves equal are in the order in which they come ([`crate::stable`]); where that may
//!   change from page to page, they are in the order of all their columns

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::Column;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, Sort, SortExpr};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::error::SqlError;

/// More rows than a result has. The planner adds `skip` and `fetch` and keeps the sum as a number with a
/// sign.
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
    /// The rows of `plan` in this order, all of them.
    pub(crate) fn ordered(&self, plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
        if self.order.is_empty() || describes(&plan) {
            return Ok(plan);
        }
        let columns = plan.schema().fields().len();
        if let Some((wrong, _)) = self.order.iter().find(|(column, _)| *column >= columns) {
            return Err(SqlError::invalid(format!(
                "there is no column {wrong} to order by: the result has {columns}, counted from 0"
            )));
        }
        let keys =
            self.order.iter().map(|(place, descending)| column(&plan, *place).sort(!descending, false));
        let keys = keys.collect::<Vec<_>>();
        Ok(LogicalPlanBuilder::from(plan).sort(keys)?.build()?)
    }

    /// Plans this part of the rows of an optimised plan.
    pub(crate) async fn planned(
        &self,
        plan: &LogicalPlan,
        state: &SessionState,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let planner = state.query_planner();
        if describes(plan) {
            return planner.create_physical_plan(plan, state).await;
        }
        let part = planner.create_physical_plan(&self.cut(plan.clone())?, state).await?;
        if part.exists(|node| Ok(node.name() == "NearestExec" && node.fetch().is_some()))? {
            let whole = planner.create_physical_plan(plan, state).await?;
            if has_one_order(&whole)? {
                return Ok(Arc::new(GlobalLimitExec::new(whole, self.skip.min(MOST), self.most())));
            }
        } else if has_one_order(&part)? {
            return Ok(part);
        }
        planner.create_physical_plan(&self.cut(without_ties(plan)?)?, state).await
    }

    fn most(&self) -> Option<usize> {
        self.fetch.filter(|rows| *rows <= MOST)
    }

    fn cut(&self, plan: LogicalPlan) -> DfResult<LogicalPlan> {
        match self.most() {
            // The sort of the engine panics where it is to keep no row.
            Some(0) => {
                let schema = Arc::clone(plan.schema());
                Ok(LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema }))
            }
            None if self.skip == 0 => Ok(plan),
            fetch => LogicalPlanBuilder::from(plan).limit(self.skip.min(MOST), fetch)?.build(),
        }
    }
}

/// Whether a plan describes another one: that is given whole. The columns of a `DESCRIBE` are rows as others.
fn describes(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_))
}

fn column(plan: &LogicalPlan, place: usize) -> Expr {
    Expr::Column(Column::from(plan.schema().qualified_field(place)))
}

/// Whether rows come in the same order for each page: that of the leaves, as long as no operator merges
/// streams as they come, or groups rows, of which the engine may keep only the groups of the page.
fn has_one_order(plan: &Arc<dyn ExecutionPlan>) -> DfResult<bool> {
    const VARYING: [&str; 5] = [
        "AggregateExec",
        "CoalescePartitionsExec",
        "PartialSortExec",
        "RepartitionExec",
        "SortPreservingMergeExec",
    ];
    let is_one_stream = plan.output_partitioning().partition_count() == 1;
    Ok(is_one_stream && !plan.exists(|node| Ok(VARYING.contains(&node.name())))?)
}

/// The plan with the sort that its rows come out of, or a new one, by all columns that are there.
fn without_ties(plan: &LogicalPlan) -> DfResult<LogicalPlan> {
    match plan {
        LogicalPlan::Sort(sort) => {
            let expr = [sort.expr.clone(), all_columns(&sort.input)].concat();
            Ok(LogicalPlan::Sort(Sort { expr, ..sort.clone() }))
        }
        // What keeps the rows of its only input in their order.
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Limit(_) => {
            let inputs = plan.inputs().into_iter().map(without_ties).collect::<DfResult<Vec<_>>>()?;
            plan.with_new_exprs(plan.expressions(), inputs)
        }
        plan => match all_columns(plan) {
            expr if expr.is_empty() => Ok(plan.clone()),
            expr => Ok(LogicalPlan::Sort(Sort { expr, input: Arc::new(plan.clone()), fetch: None })),
        },
    }
}

fn all_columns(plan: &LogicalPlan) -> Vec<SortExpr> {
    let fields = plan.schema().fields().iter().enumerate();
    let sortable = fields.filter(|(_, field)| is_sortable(field.data_type()));
    sortable.map(|(place, _)| column(plan, place).sort(true, false)).collect()
}

/// Whether every way in which the engine sorts takes keys of a type.
fn is_sortable(ty: &DataType) -> bool {
    match ty {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_sortable(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_sortable(field.data_type())),
        DataType::Null => false,
        other => !other.is_nested(),
    }
}
