//! Joins by `IS NOT DISTINCT FROM`, whose keys are made once the rules of plans have run.
//!
//! To the engine NULLs are equal in all keys of a join or in none. Its rules add keys by `=` to a join
//! without asking which it is, and put joins together as if it were the same for all of them.
//!
//! Invariants
//! - while rules run, NULLs are equal only in the joins of `INTERSECT` and `EXCEPT`, which get no more keys
//! - a comparison by `IS NOT DISTINCT FROM` becomes a key only where no key is one by `=`

use datafusion::common::NullEquality;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Join, LogicalPlan};
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
