//! `GROUP BY ()` and `GROUP BY GROUPING SETS (())` as aggregates without GROUP BY: of a correlated subquery with
//! grouping sets the engine loses the row that it has of no rows (its issue 25519).
//!
//! Invariants
//! - without an aggregate function it stays as it is, since without GROUP BY it would have all rows

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, lit};

/// Leaves the empty set out of such aggregates.
pub(super) fn resolve(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(of) if is_such(&of) => without_keys(of).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn is_such(of: &Aggregate) -> bool {
    let [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] = of.group_expr.as_slice() else { return false };
    matches!(sets.as_slice(), [set] if set.is_empty()) && !of.aggr_expr.is_empty()
}

/// The same rows, with the column that the engine has of grouping sets, which is 0 where there is one.
fn without_keys(of: Aggregate) -> DfResult<LogicalPlan> {
    let Aggregate { input, aggr_expr, schema, .. } = of;
    let columns: Vec<Expr> = schema
        .iter()
        .map(|(table, field)| match field.name().as_str() {
            Aggregate::INTERNAL_GROUPING_ID => lit(0_u8).alias(Aggregate::INTERNAL_GROUPING_ID),
            _ => Expr::Column(Column::from((table, field))),
        })
        .collect();
    let rows = LogicalPlan::Aggregate(Aggregate::try_new(input, Vec::new(), aggr_expr)?);
    LogicalPlanBuilder::from(rows).project(columns)?.build()
}
