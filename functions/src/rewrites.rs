//! What is put in the place of expressions, in one walk through a plan.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::optimizer::analyzer::function_rewrite::ApplyFunctionRewrites;

use super::{branches, compared, nans, operators, ordered, patterns, rounded, whole};

/// Puts another expression in the place of one, which comes after those inside it.
type Rewrite = fn(Expr, &DFSchema) -> DfResult<Transformed<Expr>>;

/// The rule of all that need the types of expressions: each takes what those before it give.
pub fn of_typed() -> ApplyFunctionRewrites {
    rule(&[
        rounded::rewrite,
        whole::rewrite,
        operators::rewrite,
        patterns::rewrite,
        branches::rewrite,
        compared::rewrite,
        nans::rewrite,
        ordered::rewrite,
    ])
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
