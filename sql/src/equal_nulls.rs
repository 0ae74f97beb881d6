//! Joins by `IS NOT DISTINCT FROM`, whose keys are made once the rules of plans have run.
//!
//! To the engine NULLs are equal in all keys of a join or in none. Its rules add keys by `=` to a join
//! without asking which it is, and put joins together as if it were the same for all of them.
//!
//! Invariants
//! - while rules run, NULLs are equal only in the joins of `INTERSECT` and `EXCEPT`, which get no more keys
//! - a comparison by `IS NOT DISTINCT FROM` becomes a key only where no key is one by `=`

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::BinaryExpr;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Operator};
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// The engine's rule, which also has this one's place and name, for keys by `=`.
#[derive(Debug)]
pub(super) struct EqualKeys;

impl OptimizerRule for EqualKeys {
    fn name(&self) -> &str {
        "extract_equijoin_predicate"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = &plan else { return Ok(Transformed::no(plan)) };
        if join.filter.is_none() || has_equal_nulls(join) {
            return Ok(Transformed::no(plan));
        }
        let keyed = ExtractEquijoinPredicate::new().rewrite(plan.clone(), config)?;
        Ok(match &keyed.data {
            LogicalPlan::Join(join) if has_equal_nulls(join) => Transformed::no(plan),
            _ => keyed,
        })
    }
}

/// The engine's rule, which also has this one's place and name. It joins all tables of inner joins again by
/// their keys: tables that are joined by `IS NOT DISTINCT FROM` have none yet, and stay as they are written,
/// unless others are joined by nothing.
#[derive(Debug)]
pub(super) struct CrossJoins;

impl OptimizerRule for CrossJoins {
    fn name(&self) -> &str {
        "eliminate_cross_join"
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let (mut has_cross, mut has_nulls) = (false, false);
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Join(Join { join_type: JoinType::Inner, on, filter, .. }) = node {
                has_cross |= on.is_empty() && filter.is_none();
                has_nulls |= filter.as_ref().map_or(Ok(false), |filter| filter.exists(is_by_nulls))?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        match has_nulls && !has_cross {
            true => Ok(Transformed::no(plan)),
            false => EliminateCrossJoin::new().rewrite(plan, config),
        }
    }
}

fn is_by_nulls(expr: &Expr) -> DfResult<bool> {
    Ok(matches!(expr, Expr::BinaryExpr(BinaryExpr { op: Operator::IsNotDistinctFrom, .. })))
}

/// An optimised plan with keys of the joins that have none by `=`.
pub(super) fn with_keys(plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<LogicalPlan> {
    let rule = ExtractEquijoinPredicate::new();
    let keyed = plan.transform_up_with_subqueries(|node| match &node {
        LogicalPlan::Join(join) if !has_equal_nulls(join) => rule.rewrite(node, config),
        _ => Ok(Transformed::no(node)),
    });
    keyed.data()
}

fn has_equal_nulls(join: &Join) -> bool {
    join.null_equality == NullEquality::NullEqualsNull
}
