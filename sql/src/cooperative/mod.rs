//! Cooperative scheduling of statements: operators whose streams give other tasks a turn.
//!
//! A statement can be stopped, by its client, its time or the end of a server, only where its stream yields.
//! DataFusion lets its leaves do that. A join may give a million batches for each that it reads from a leaf,
//! so joins yield too, and so does what makes rows of lists. And a join whose condition holds for no pair
//! gives nothing for a batch, after as many comparisons as there are pairs: such joins get few rows at a
//! time. A function cannot yield within a batch: one that takes long lets another thread have its tasks.

mod portions;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use datafusion::common::JoinType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::passing::PassageExec;
use portions::JoinSide;
pub(crate) use portions::portions;

/// The plan with operators that yield above each that multiplies rows, and below joins that compare more
/// pairs than they give.
pub(super) fn cooperative(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if !node.name().ends_with("JoinExec") && node.name() != "UnnestExec" {
            return Ok(Transformed::no(node));
        }
        let node = match sides(&node) {
            None => node,
            Some(sides) => {
                let children = node.children().into_iter().cloned().zip(sides);
                let children = children.map(|(child, side)| match side {
                    Some(side) => PassageExec::above(child, side),
                    None => Ok(child),
                });
                let children = children.collect::<Result<_>>()?;
                replace_children_if_necessary(node, children)?
            }
        };
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
    })
    .data()
}

/// What `work` gives that takes long and cannot yield. Meanwhile the other tasks of this worker have another
/// thread; a runtime of one thread has none for them.
pub(crate) fn at_length<T>(work: impl FnOnce() -> T) -> T {
    let has_threads =
        Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    match has_threads {
        true => tokio::task::block_in_place(work),
        false => work(),
    }
}

/// What is done with the inputs of a join that may compare many pairs and give nothing: the one that it holds
/// in memory, and the one that it reads batch by batch.
fn sides(node: &Arc<dyn ExecutionPlan>) -> Option<[Option<JoinSide>; 2]> {
    if node.downcast_ref::<NestedLoopJoinExec>().is_some() {
        let held = Arc::new(AtomicUsize::new(0));
        return Some([Some(JoinSide::Held(Arc::clone(&held))), Some(JoinSide::AgainstAll(held))]);
    }
    let join = node.downcast_ref::<HashJoinExec>()?;
    let gives_pairs =
        matches!(join.join_type(), JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full);
    (join.filter().is_some() || !gives_pairs).then_some([None, Some(JoinSide::ByKey)])
}
