//! Windows with keys that the engine does not find in the order of its rows: functions of elements, as in
//! `PARTITION BY list_filter(l, x -> x > 1)`, and subqueries. These keys become columns of the rows.
//!
//! Invariant: no other column is called `key` with such an expression behind it, as the engine writes it. One
//! of that name is taken for the key.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
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
    let schema = Arc::clone(input.schema());
    let mut keys: Vec<(String, Expr)> = Vec::new();
    let window_expr = window_expr.into_iter().map(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform(|part| Ok(named(part, &mut keys, &schema)))?;
        Ok(name.restore(expr.data))
    });
    let window_expr = window_expr.collect::<DfResult<Vec<Expr>>>()?;
    // There already where two windows have the same key: by the invariant nothing else has its name.
    keys.retain(|(name, _)| !schema.has_column_with_unqualified_name(name));
    if !keys.is_empty() {
        let columns = schema.iter().map(|(table, field)| Expr::Column(Column::from((table, field))));
        let all = columns.chain(keys.into_iter().map(|(name, key)| key.alias(name))).collect();
        input = Arc::new(LogicalPlan::Projection(Projection::try_new(all, input)?));
    }
    // A window below it may have more columns than before.
    Ok(Transformed::yes(LogicalPlan::Window(Window::try_new(window_expr, input)?)))
}

/// A function of a window with columns in the place of such keys, which are put beside the names of these.
fn named(part: Expr, keys: &mut Vec<(String, Expr)>, schema: &DFSchema) -> Transformed<Expr> {
    let mut call = match part {
        Expr::WindowFunction(call) => call,
        other => return Transformed::no(other),
    };
    let params = &mut call.params;
    let partition = params.partition_by.iter_mut().filter(|key| has_elements(key) || has_subquery(key));
    let order = params.order_by.iter_mut().map(|key| &mut key.expr).filter(|key| has_subquery(key));
    for key in partition.chain(order) {
        let name = name(key, keys, schema);
        let of = std::mem::replace(key, Expr::Column(Column::new_unqualified(name.clone())));
        if keys.iter().all(|(known, _)| *known != name) {
            keys.push((name, of));
        }
    }
    Transformed::yes(Expr::WindowFunction(call))
}

/// The name of a key. The engine writes all subqueries in one way, so that theirs have a number.
fn name(key: &Expr, keys: &[(String, Expr)], schema: &DFSchema) -> String {
    if let Some((name, _)) = keys.iter().find(|(_, known)| known == key) {
        return name.clone();
    }
    let name = format!("key {key}");
    if !has_subquery(key) {
        return name;
    }
    let is_taken = |name: &String| {
        schema.has_column_with_unqualified_name(name) || keys.iter().any(|(known, _)| known == name)
    };
    (0..).map(|number| format!("{name} {number}")).find(|name| !is_taken(name)).unwrap_or_default()
}

fn has_subquery(key: &Expr) -> bool {
    key.exists(|part| Ok(matches!(part, Expr::ScalarSubquery(_)))).unwrap_or(true)
}

fn has_elements(key: &Expr) -> bool {
    key.exists(|part| Ok(matches!(part, Expr::HigherOrderFunction(_)))).unwrap_or(true)
}
