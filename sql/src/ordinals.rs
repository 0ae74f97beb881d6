//! Ordinals in the `ORDER BY` of a grouped query: `ORDER BY 2`.
//!
//! The engine looks such a key up among the columns of the grouping, where a second column `100 * avg(score)`
//! is not; the expression itself it finds. So it is put in the place of its number before the planning.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, OrderByKind, Query, SelectItem, SetExpr};

use crate::expanded::{is_grouped, number_of};
use crate::walk::{inner, visit_queries_mut};

/// Puts expressions in the place of their numbers.
pub(super) fn resolve(statement: &mut Statement) {
    if let Some(sql) = inner(statement) {
        visit_queries_mut(sql, of_query);
    }
}

fn of_query(query: &mut Query) {
    let Query { body, order_by, .. } = query;
    let (SetExpr::Select(select), Some(order)) = (&**body, order_by.as_mut()) else { return };
    let grouped = is_grouped(select);
    let OrderByKind::Expressions(keys) = &mut order.kind else { return };
    let number = |key: &Expr| number_of(key)?.parse::<usize>().ok();
    keys.retain_mut(|key| match number(&key.expr).and_then(|n| nth(&select.projection, n)) {
        // A value orders nothing, and a number would be taken for a place once more.
        Some(Expr::Value(_)) if grouped => false,
        Some(meant) if grouped => {
            key.expr = meant.clone();
            true
        }
        _ => true,
    });
    if keys.is_empty() {
        *order_by = None;
    }
}

/// The n-th expression of the result, from 1; none behind a wildcard, whose columns are not known yet.
fn nth(projection: &[SelectItem], n: usize) -> Option<&Expr> {
    let plain =
        |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    let before = projection.get(..n)?;
    match before.last()? {
        // One with its own name is found by it.
        SelectItem::UnnamedExpr(expr) if before.iter().all(plain) => Some(expr),
        _ => None,
    }
}
