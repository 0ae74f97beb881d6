//! Filters on the keys of a semi join, kept from columns of its other side that only have the name of a key.
//!
//! The engine hands a filter on a key of the rows that a semi join keeps to its other side too, where it looks
//! for a column of the key's name: that may be another column than the one that equals the key.
//!
//! Invariants
//! - a column of the other side has the name of a key only where it equals that key

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;

/// Gives other columns of such names others.
pub(super) fn optimize(plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
    plan.transform_up(apart).data()
}

fn apart(node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(Transformed::no(node)) };
    let place = match join.join_type() {
        JoinType::LeftSemi => 1,
        JoinType::RightSemi => 0,
        _ => return Ok(Transformed::no(node)),
    };
    let pairs = join.on().iter();
    let keys: Vec<_> =
        pairs.map(|(left, right)| if place == 1 { (left, right) } else { (right, left) }).collect();
    let mut children: Vec<Arc<dyn ExecutionPlan>> = node.children().into_iter().cloned().collect();
    let other = Arc::clone(&children[place]);
    let is_named = |key: &Arc<dyn PhysicalExpr>, name: &str| {
        key.downcast_ref::<Column>().is_some_and(|key| key.name() == name)
    };
    let is_at = |key: &Arc<dyn PhysicalExpr>, index: usize| {
        key.downcast_ref::<Column>().is_some_and(|key| key.index() == index)
    };
    let mut columns: Vec<(Arc<dyn PhysicalExpr>, String)> = Vec::new();
    let mut renamed = false;
    for (index, field) in other.schema().fields().iter().enumerate() {
        let name = field.name();
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(name, index));
        let mut named = keys.iter().filter(|(kept, _)| is_named(kept, name)).peekable();
        let is_other = named.peek().is_some() && !named.any(|(_, key)| is_at(key, index));
        renamed |= is_other;
        columns.push((column, if is_other { format!("{name} of the other side") } else { name.clone() }));
    }
    if !renamed {
        return Ok(Transformed::no(node));
    }
    children[place] = Arc::new(ProjectionExec::try_new(columns, other)?);
    // Keys have the names of their columns.
    let schema = children[place].schema();
    let on = join.on().iter().map(|(left, right)| -> DfResult<_> {
        let of = if place == 1 { right } else { left };
        let key = Arc::clone(of).transform(|part| {
            Ok(match part.downcast_ref::<Column>().map(Column::index) {
                Some(index) => {
                    let column: Arc<dyn PhysicalExpr> =
                        Arc::new(Column::new(schema.field(index).name(), index));
                    Transformed::yes(column)
                }
                None => Transformed::no(part),
            })
        });
        let key = key.data()?;
        Ok(if place == 1 { (Arc::clone(left), key) } else { (key, Arc::clone(right)) })
    });
    let on = on.collect::<DfResult<Vec<_>>>()?;
    let [left, right] = [0, 1].map(|side: usize| Arc::clone(&children[side]));
    let fetch = join.fetch();
    let join = HashJoinExec::try_new(
        left,
        right,
        on,
        join.filter().cloned(),
        join.join_type(),
        join.projection.as_ref().map(|columns| columns.to_vec()),
        *join.partition_mode(),
        join.null_equality(),
        join.null_aware,
    )?;
    Ok(match (fetch, join.with_fetch(fetch)) {
        (None, _) => Transformed::yes(Arc::new(join)),
        (_, Some(join)) => Transformed::yes(join),
        (Some(_), None) => Transformed::no(node),
    })
}
