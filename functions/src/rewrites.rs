//! Rewrites of expressions and of plans, where the types of expressions are known.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::function_rewrite::ApplyFunctionRewrites;

use super::{
    branches, compared, in_lists, input_order, nans, operators, ordered, partitions, patterns, rounded,
    unnested, whole,
};

/// Puts another expression in the place of one, which comes after those inside it.
type Rewrite = fn(Expr, &DFSchema) -> DfResult<Transformed<Expr>>;

/// Of an expression each takes what those before it give.
const TYPED: [Rewrite; 9] = [
    rounded::rewrite,
    whole::rewrite,
    operators::rewrite,
    patterns::rewrite,
    branches::rewrite,
    compared::rewrite,
    nans::rewrite,
    ordered::rewrite,
    in_lists::rewrite,
];

/// What changes a plan by the types of its expressions.
#[derive(Debug)]
pub struct TypedPlans;

impl AnalyzerRule for TypedPlans {
    fn name(&self) -> &str {
        "typed_plans"
    }

    fn analyze(&self, plan: LogicalPlan, options: &ConfigOptions) -> DfResult<LogicalPlan> {
        let plan = rule(&TYPED).analyze(plan, options)?;
        let plan = plan.transform_up_with_subqueries(compared::sort_by_length)?.data;
        let plan = plan.transform_up_with_subqueries(partitions::by_columns)?.data;
        let plan = plan.transform_up_with_subqueries(input_order::order)?.data;
        unnested::without_unnested_keys(plan)
    }
}

pub(super) fn rule(rewrites: &[Rewrite]) -> ApplyFunctionRewrites {
    let each =
        |rewrite: &Rewrite| -> Arc<dyn FunctionRewrite + Send + Sync> { Arc::new(Rewriting(*rewrite)) };
    ApplyFunctionRewrites::new(rewrites.iter().map(each).collect())
}

#[derive(Debug)]
struct Rewriting(Rewrite);

impl FunctionRewrite for Rewriting {
    fn name(&self) -> &str {
        "rewriting"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> DfResult<Transformed<Expr>> {
        (self.0)(expr, schema)
    }
}
