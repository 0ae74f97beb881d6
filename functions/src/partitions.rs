//! Windows that are partitioned by functions of elements: `PARTITION BY list_filter(l, x -> x > 1)`.
//!
//! The engine sorts rows by such a key, and does not find it in their order then. So these keys become columns
//! of the rows.
//!
//! Invariant: no other column is called `key` with such an expression behind it, as the engine writes it. One
//! of that name is taken for the key.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Window};

/// A window whose keys of that kind are columns of what it reads.
pub(super) fn by_columns(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let window = match plan {
        LogicalPlan::Window(window) => window,
        other => return Ok(Transformed::no(other)),
    };
    let Window { window_expr, mut input, .. } = window;
    let names = NamePreserver::new_for_projection();
    let mut keys: BTreeMap<String, Expr> = BTreeMap::new();
    let window_expr = window_expr.into_iter().map(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform(|part| Ok(named(part, &mut keys)))?;
        Ok(name.restore(expr.data))
    });
    let window_expr = window_expr.collect::<DfResult<Vec<Expr>>>()?;
    let schema = Arc::clone(input.schema());
    // There already where two windows have the same key: by the invariant nothing else has its name.
    keys.retain(|name, _| !schema.has_column_with_unqualified_name(name));
    if !keys.is_empty() {
        let columns = schema.iter().map(|(table, field)| Expr::Column(Column::from((table, field))));
        let all = columns.chain(keys.into_iter().map(|(name, key)| key.alias(name))).collect();
        input = Arc::new(LogicalPlan::Projection(Projection::try_new(all, input)?));
    }
    // A window below it may have more columns than before.
    Ok(Transformed::yes(LogicalPlan::Window(Window::try_new(window_expr, input)?)))
}

/// A function of a window with columns in the place of such keys, which are put under the names of these.
fn named(part: Expr, keys: &mut BTreeMap<String, Expr>) -> Transformed<Expr> {
    let mut call = match part {
        Expr::WindowFunction(call) => call,
        other => return Transformed::no(other),
    };
    for key in call.params.partition_by.iter_mut().filter(|key| has_elements(key)) {
        let name = format!("key {key}");
        let key = std::mem::replace(key, Expr::Column(Column::new_unqualified(name.clone())));
        keys.insert(name, key);
    }
    Transformed::yes(Expr::WindowFunction(call))
}

fn has_elements(key: &Expr) -> bool {
    key.exists(|part| Ok(matches!(part, Expr::HigherOrderFunction(_)))).unwrap_or(true)
}
