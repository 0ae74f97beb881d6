//! Sorts with a large LIMIT, as sorts of all rows where these can use the disk: the engine keeps the rows of
//! the limit in a heap, which takes several times as long and cannot use the disk. But a heap holds only the
//! rows that are wanted, and without a disk all rows may be too many.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;

/// Least rows that no heap keeps.
const MANY: usize = 100_000;

/// Puts limits above such sorts.
pub(super) fn optimize(plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
    plan.transform_up(full).data()
}

fn full(node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(sort) = node.downcast_ref::<SortExec>() else { return Ok(Transformed::no(node)) };
    let Some(fetch) = sort.fetch().filter(|rows| *rows >= MANY) else { return Ok(Transformed::no(node)) };
    let all: Arc<dyn ExecutionPlan> = Arc::new(sort.with_fetch(None));
    Ok(Transformed::yes(Arc::new(LocalLimitExec::new(all, fetch)) as Arc<dyn ExecutionPlan>))
}
