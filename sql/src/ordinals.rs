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

use crate::error::SqlError;
use crate::expanded::{has_aggregate_call, is_grouped, name, number_of, of_item, single_keys};
use crate::walk::{inner, visit_queries_mut, visit_selects_mut};

/// Puts expressions in the place of their numbers, and casts numbers that are grouped by under a name.
///
/// # Errors
/// A key of `GROUP BY` that has an aggregate function, or is the number of a column that has one.
pub(super) fn resolve(statement: &mut Statement) -> Result<(), SqlError> {
    let Some(sql) = inner(statement) else { return Ok(()) };
    visit_queries_mut(sql, of_query);
    visit_selects_mut(sql, |select| -> Result<(), SqlError> {
        check_keys(select)?;
        of_sets(select);
        of_select(select);
        Ok(())
    })
}

/// Refuses keys that have an aggregate function: the engine takes them for a second column of its name.
fn check_keys(select: &Select) -> Result<(), SqlError> {
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return Ok(()) };
    for key in keys.iter().flat_map(single_keys) {
        let meant = place(key).and_then(|n| of_item(nth(&select.projection, n)?)).unwrap_or(key);
        if has_aggregate_call(meant) {
            return Err(aggregate_key().at_start_of(key));
        }
    }
    Ok(())
}

/// The error about a key of `GROUP BY` that has an aggregate function.
pub(crate) fn aggregate_key() -> SqlError {
    let hint = "write HAVING for a condition on them; rows are grouped by them in a SELECT FROM (SELECT ..)";
    SqlError::invalid("GROUP BY takes no aggregate functions".to_owned()).hint(hint)
}

fn of_sets(select: &mut Select) {
    let Select { group_by: GroupByExpr::Expressions(keys, _), projection, .. } = select else { return };
    let sets = keys.iter_mut().filter_map(|key| match key {
        Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => Some(sets),
        _ => None,
    });
    let is_known = projection.iter().all(|item| of_item(item).is_some());
    let mut stray = Vec::new();
    for key in sets.flatten().flatten() {
        let Some(place) = place(key) else { continue };
        match nth(projection, place).and_then(of_item) {
            Some(expr) => *key = expr.clone(),
            // The engine says of a key outside of sets that it is no place.
            None if is_known || place == 0 => stray.push(key.clone()),
            None => {}
        }
    }
    keys.extend(stray);
}

/// The place of a column of the result that a key is.
fn place(key: &Expr) -> Option<usize> {
    number_of(key)?.parse().ok()
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
    keys.retain_mut(|key| match place(&key.expr).and_then(unnamed) {
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
    let before = projection.get(..n)?;
    before.last().filter(|_| before.iter().all(|item| of_item(item).is_some()))
}
