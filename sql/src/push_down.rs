//! Conditions pushed down as the engine does it, but not below an aggregate that has a row even for no input:
//! a condition that names no column, or only columns that are constants, would be asked of the rows below,
//! and the aggregate has its row also where the condition is false.

use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Limit, LogicalPlan};
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::one_row::has_row_of_none;

/// The engine's rule, which also has this one's place and name.
#[derive(Debug)]
pub(super) struct PushDown;

impl OptimizerRule for PushDown {
    fn name(&self) -> &str {
        "push_down_filter"
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let rule = PushDownFilter::new();
        let push = |plan: LogicalPlan| {
            plan.transform_down_with_subqueries(|node| {
                same_columns(&node)?;
                rule.rewrite(node, config)
            })
        };
        let pushed = push(plan.transform_up_with_subqueries(below_barrier).data()?)?;
        pushed.map_data(|plan| plan.transform_up_with_subqueries(without_barrier).data())
    }
}

/// Refuses an alias whose columns are not those below it, which the engine's rule would take by their places.
/// Its rules that make joins of correlated subqueries leave one where a name of the statement around a
/// subquery stands for another table in a subquery within it.
fn same_columns(node: &LogicalPlan) -> DfResult<()> {
    let LogicalPlan::Filter(filter) = node else { return Ok(()) };
    let LogicalPlan::SubqueryAlias(alias) = filter.input.as_ref() else { return Ok(()) };
    match alias.input.schema().fields().len() == alias.schema.fields().len() {
        true => Ok(()),
        // As errors about columns that such a join lacks, which have this name.
        false => plan_err!("`{}` has other columns than its subquery (__correlated_sq)", alias.alias),
    }
}

/// Puts a limit that has no number above such an aggregate: the engine pushes nothing below limits.
fn below_barrier(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    Ok(match &node {
        LogicalPlan::Aggregate(of) if has_row_of_none(of) => {
            Transformed::yes(LogicalPlan::Limit(Limit { skip: None, fetch: None, input: Arc::new(node) }))
        }
        _ => Transformed::no(node),
    })
}

fn without_barrier(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    Ok(match node {
        LogicalPlan::Limit(Limit { skip: None, fetch: None, input }) => {
            Transformed::yes(Arc::unwrap_or_clone(input))
        }
        other => Transformed::no(other),
    })
}
