//! `ORDER BY ALL`: by each column of the result.
//!
//! The columns of `*`, of COLUMNS and of `UNION` are known to the engine only. There a place that no result
//! has stands for all of them, until the engine refuses it and says how many columns there are.

use datafusion::sql::sqlparser::ast::{
    Expr, OrderByExpr, OrderByKind, Query, SelectItem, SetExpr, Statement,
};

use super::exprs::{has_columns, number, of_item};
use crate::error::SqlError;
use crate::walk::visit_queries_mut;

/// The first place that no result has.
const NONE: usize = usize::MAX - (1 << 20);

/// Puts the places of columns in the order of a query that is by all of them; `unknown` counts the queries of
/// a statement whose columns are not known.
pub(super) fn place(query: &mut Query, unknown: &mut usize) {
    let Query { body, order_by: Some(order), .. } = query else { return };
    let OrderByKind::Expressions(keys) = &mut order.kind else { return };
    let [only] = keys.as_mut_slice() else { return };
    if !is_all(&only.expr) {
        return;
    }
    match &**body {
        SetExpr::Select(select) if select.projection.iter().all(is_one) => {
            *keys = places(only, select.projection.len());
        }
        _ => {
            only.expr = number(NONE.saturating_add(*unknown));
            *unknown += 1;
        }
    }
}

/// Puts the places of columns in that of the one that an error is about; false if it is about none of these.
pub(super) fn put(sql: &mut Statement, error: &SqlError) -> bool {
    let Some((place, columns)) = refused(error.message()) else { return false };
    let place = number(place);
    visit_queries_mut(sql, |query| {
        let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|order| &mut order.kind)
        else {
            return false;
        };
        match keys.as_slice() {
            [only] if only.expr == place => {
                *keys = places(only, columns);
                true
            }
            _ => false,
        }
    })
}

pub(super) fn is_all(key: &Expr) -> bool {
    matches!(key, Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all"))
}

fn is_one(item: &SelectItem) -> bool {
    of_item(item).is_some_and(|expr| !has_columns(expr))
}

/// The keys of so many columns, each in the direction of the one for all.
fn places(all: &OrderByExpr, columns: usize) -> Vec<OrderByExpr> {
    (1..=columns).map(|place| OrderByExpr { expr: number(place), ..all.clone() }).collect()
}

/// The place that the engine refuses, if it stands for all columns, and how many these are.
fn refused(message: &str) -> Option<(usize, usize)> {
    let (_, rest) = message.split_once("Order by column out of bounds, specified: ")?;
    let (place, columns) = rest.split_once(", max: ")?;
    let place: usize = place.parse().ok()?;
    (place >= NONE).then_some((place, columns.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::inner;

    #[test]
    fn columns_are_counted_where_they_are_not_written() {
        let sql = "SELECT * FROM (SELECT a, b FROM t ORDER BY ALL DESC) UNION ALL (SELECT * FROM u ORDER BY ALL DESC) ORDER BY ALL";
        let mut statement = crate::dialect::parse(sql).unwrap();
        let sql = inner(&mut statement).unwrap();
        let mut unknown = 0;
        visit_queries_mut(sql, |query| place(query, &mut unknown));
        assert_eq!(unknown, 2);
        let about = |place: usize, columns: usize| {
            SqlError::invalid(format!("Order by column out of bounds, specified: {place}, max: {columns}"))
        };
        assert!(!put(sql, &about(3, 2)));
        assert!(put(sql, &about(NONE, 2)) && put(sql, &about(NONE + 1, 3)));
        let text = sql.to_string();
        assert!(text.contains("SELECT a, b FROM t ORDER BY 1 DESC, 2 DESC"), "{text}");
        assert!(
            text.contains("ORDER BY 1 DESC, 2 DESC, 3 DESC)") && text.ends_with(" ORDER BY 1, 2"),
            "{text}"
        );
    }
}
