//! Expressions in `ROLLUP`, `CUBE` and `GROUPING SETS`, which become columns of the rows that are grouped.
//!
//! The engine tells such keys by their names, so that it must not put another expression in the place of one:
//! what compares a REAL with a written fraction, or gives the remainder of a decimal, would be refused, and a
//! cast that not each value fits into would be the engine's own.
//!
//! Invariant: no other column has the name of such a key, `key of sets` and a number.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Projection};

/// Makes such keys columns.
pub(super) fn resolve(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(of) if is_such(&of) => by_columns(of).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn is_such(of: &Aggregate) -> bool {
    let [Expr::GroupingSet(sets)] = of.group_expr.as_slice() else { return false };
    sets.distinct_expr().into_iter().any(is_computed)
}

fn is_computed(key: &Expr) -> bool {
    !matches!(key, Expr::Column(_))
}

/// The same groups by columns, which have the names of before above them.
fn by_columns(of: Aggregate) -> DfResult<LogicalPlan> {
    let Aggregate { input, group_expr, aggr_expr, schema, .. } = of;
    let keys = grouping_set_to_exprlist(&group_expr)?.into_iter().filter(|key| is_computed(key)).cloned();
    let names = (0..).map(|number| format!("key of sets {number}"));
    let names = names.filter(|name| !input.schema().has_column_with_unqualified_name(name));
    let keys: Vec<(Expr, String)> = keys.zip(names).collect();
    let named = |part: Expr| match keys.iter().find(|(key, _)| *key == part) {
        Some((_, name)) => Transformed::yes(Expr::Column(Column::new_unqualified(name))),
        None => Transformed::no(part),
    };
    let all_named = |part: Expr| part.transform_down(|part| Ok(named(part))).data();
    let group_expr = group_expr.into_iter().map(all_named).collect::<DfResult<Vec<Expr>>>()?;
    let mut has_grouping = false;
    let aggr_expr = aggr_expr.into_iter().map(|expr| {
        expr.transform_down(|part| match part {
            Expr::AggregateFunction(call) if call.func.name() == "grouping" => {
                has_grouping = true;
                let AggregateFunction { func, mut params } = call;
                params.args = params.args.into_iter().map(|arg| named(arg).data).collect();
                Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params })))
            }
            other => Ok(Transformed::no(other)),
        })
        .data()
    });
    let aggr_expr = aggr_expr.collect::<DfResult<Vec<Expr>>>()?;
    let columns = input.schema().iter().map(|(table, field)| Expr::Column(Column::from((table, field))));
    let computed = keys.iter().map(|(key, name)| key.clone().alias(name));
    let rows = columns.chain(computed).collect();
    let rows = LogicalPlan::Projection(Projection::try_new(rows, input)?);
    let groups = Aggregate::try_new(Arc::new(rows), group_expr, aggr_expr)?;
    let columns = groups.schema.iter().zip(schema.iter());
    // What the engine puts in the place of `grouping` leaves out the column that it has of the sets.
    let is_kept = |name: &str| !has_grouping || name != Aggregate::INTERNAL_GROUPING_ID;
    let columns = columns.filter(|(_, (_, before))| is_kept(before.name()));
    let columns = columns.map(|((table, field), (before_table, before))| {
        Expr::Column(Column::from((table, field))).alias_qualified(before_table.cloned(), before.name())
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(LogicalPlan::Aggregate(groups)).project(columns)?.build()
}
