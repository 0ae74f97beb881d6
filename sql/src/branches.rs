//! Names of columns in the branches of a `UNION`, which are those of the whole.
//!
//! The engine leaves a branch that is no plain `SELECT` its own. Its rules leave out branches without rows,
//! and take casts of the whole into each branch: both look for columns by the names of the whole, and find
//! none, or those in other places.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Union};
use datafusion::optimizer::AnalyzerRule;

/// Gives columns of branches these names.
#[derive(Debug)]
pub(super) struct BranchNames;

impl AnalyzerRule for BranchNames {
    fn name(&self) -> &str {
        "branch_names"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(of_node).data()
    }
}

fn of_node(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Union(Union { inputs, schema }) = node else { return Ok(Transformed::no(node)) };
    let mut renamed = false;
    let mut branches = Vec::with_capacity(inputs.len());
    for branch in inputs {
        let is_named = has_names(&branch, &schema);
        renamed |= !is_named;
        branches.push(if is_named { branch } else { with_names(branch, &schema)? });
    }
    Ok(Transformed::new_transformed(LogicalPlan::Union(Union { inputs: branches, schema }), renamed))
}

fn has_names(branch: &LogicalPlan, schema: &DFSchema) -> bool {
    let mut columns = branch.schema().fields().iter().zip(schema.fields());
    columns.all(|(own, column)| own.name() == column.name())
}

fn with_names(branch: Arc<LogicalPlan>, schema: &DFSchema) -> DfResult<Arc<LogicalPlan>> {
    let columns = branch.schema().iter().zip(schema.fields());
    let columns = columns.map(|(own, column)| Expr::Column(Column::from(own)).alias(column.name()));
    let columns = columns.collect();
    Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(columns, branch)?)))
}
