//! Ordinals in a grouped query: `ORDER BY 2`, `GROUP BY ROLLUP (1, 2)`, and numbers that are none: `SELECT 5
//! AS c .. GROUP BY c`.
//!
//! The engine looks a key of `ORDER BY` up among the columns of the grouping, where a second column
//! `100 * avg(score)` is not; the expression itself it finds. So it is put in the place of its number before
//! the planning, and also in sets of columns, where the engine reads no places. In `GROUP BY` it puts a
//! number in the place of its name first, and then takes it for the place of a column; a number that is cast
//! to the type that it has it takes for none.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, GroupByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, UnaryOperator,
};

use crate::expanded::{is_grouped, name, number_of};
use crate::walk::{inner, visit_queries_mut, visit_selects_mut};

/// Puts expressions in the place of their numbers, and casts numbers that are grouped by under a name.
pub(super) fn resolve(statement: &mut Statement) {
    if let Some(sql) = inner(statement) {
        visit_queries_mut(sql, of_query);
        visit_selects_mut(sql, |select| {
            of_sets(select);
            of_select(select);
        });
    }
}

fn of_sets(select: &mut Select) {
    let Select { group_by: GroupByExpr::Expressions(keys, _), projection, .. } = select else { return };
    let sets = keys.iter_mut().filter_map(|key| match key {
        Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => Some(sets),
        _ => None,
    });
    for key in sets.flatten().flatten() {
        let place = number_of(key).and_then(|number| number.parse::<usize>().ok());
        if let Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) =
            place.and_then(|place| nth(projection, place))
        {
            *key = expr.clone();
        }
    }
}

fn of_select(select: &mut Select) {
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return };
    for item in &mut select.projection {
        let SelectItem::ExprWithAlias { expr, alias } = item else { continue };
        let is_key = |key: &Expr| matches!(key, Expr::Identifier(key) if name(key) == name(alias));
        if is_whole(expr) && keys.iter().any(is_key) {
            let (kind, data_type) = (CastKind::Cast, DataType::BigInt(None));
            *expr = Expr::Cast { kind, expr: Box::new(expr.clone()), data_type, array: false, format: None };
        }
    }
}

/// Whether an expression is a whole number as it is written, of the type that one has.
fn is_whole(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(of) | Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr: of } => {
            is_whole(of)
        }
        other => number_of(other).is_some_and(|number| number.parse::<i64>().is_ok()),
    }
}

fn of_query(query: &mut Query) {
    let Query { body, order_by, .. } = query;
    let (SetExpr::Select(select), Some(order)) = (&**body, order_by.as_mut()) else { return };
    let grouped = is_grouped(select);
    let OrderByKind::Expressions(keys) = &mut order.kind else { return };
    // One with its own name is found by it.
    let unnamed = |n: usize| match nth(&select.projection, n) {
        Some(SelectItem::UnnamedExpr(expr)) => Some(expr),
        _ => None,
    };
    let number = |key: &Expr| number_of(key)?.parse::<usize>().ok();
    keys.retain_mut(|key| match number(&key.expr).and_then(unnamed) {
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

/// The n-th item of the result, from 1; none behind a wildcard, whose columns are not known yet.
fn nth(projection: &[SelectItem], n: usize) -> Option<&SelectItem> {
    let plain =
        |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    let before = projection.get(..n)?;
    before.last().filter(|_| before.iter().all(plain))
}
