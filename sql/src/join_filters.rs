//! Filters on keys that hash joins find while they run, pushed down to leaves where names tell columns apart.
//!
//! The engine finds the columns of such a filter again by their names at each node on the way, and takes the
//! first of several with one name (apache/datafusion#25244, #25262, #25264): matches would be lost.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::error::Result as DfResult;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;

/// The engine's rule, left out where a filter might reach another column.
pub(super) fn optimize(
    plan: Arc<dyn ExecutionPlan>,
    options: &ConfigOptions,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    if is_ambiguous(&plan, false) {
        return Ok(plan);
    }
    FilterPushdown::new_post_optimization().optimize(plan, options)
}

/// Whether a column of a filter that a join hands down is looked for where several have one name: in what
/// nodes read, and for projections in what they give. The join's own filter has columns by their places until
/// then.
fn is_ambiguous(node: &Arc<dyn ExecutionPlan>, is_filtered: bool) -> bool {
    let children = node.children();
    let looks_in_own = node.is::<ProjectionExec>();
    let has_twins = || match looks_in_own {
        true => has_equal_names(node),
        false => children.iter().any(|child| has_equal_names(child)),
    };
    if is_filtered && has_twins() {
        return true;
    }
    let is_join = node.is::<HashJoinExec>();
    // A join hands filters to its second side.
    children
        .iter()
        .enumerate()
        .any(|(side, child)| is_ambiguous(child, is_filtered || (is_join && side == 1)))
}

/// Whether two columns of a node have one name.
pub(super) fn has_equal_names(node: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = node.schema();
    let mut names = HashSet::new();
    !schema.fields().iter().all(|field| names.insert(field.name()))
}
