//! Cooperative scheduling of statements: operators whose streams give other tasks a turn.
//!
//! A statement can be stopped, by its client, its time or the end of a server, only where its stream yields.
//! DataFusion lets its leaves do that. A join may give a million batches for each that it reads from a leaf,
//! so joins yield too, and so does what makes rows of lists.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// The plan with operators that yield above each that multiplies rows.
pub(super) fn cooperative(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        Ok(match node.name().ends_with("JoinExec") || node.name() == "UnnestExec" {
            true => Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>),
            false => Transformed::no(node),
        })
    })
    .data()
}
