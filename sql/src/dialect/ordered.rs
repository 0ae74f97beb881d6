//! `ORDER BY` a column of a table that has the name of another column of the result: `SELECT -cost AS cost
//! FROM t ORDER BY t.cost`.
//!
//! The engine adds the column to those of the result, where both would have one name. Here they have names of
//! their own in a query inside, and the one around it orders its rows and gives the columns their names. So
//! it is for an order of what `SELECT unnest(list) FROM t` does not select.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Ident, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Statement,
};

use super::by_all;
use super::exprs::{self, has_unnest, is_many, number, of_item, subquery};
use super::twice::key;
use crate::error::SqlError;
use crate::expanded::{column, is_grouped, name};
use crate::names::quoted;
use crate::walk::{visit_expressions, visit_queries_mut};
use crate::wording::DISTINCT_ORDER;

/// Puts a query around one that is ordered by such a column.
pub(super) fn apart(query: &mut Query) {
    let Query { body, order_by: Some(order), .. } = query else { return };
    let (SetExpr::Select(select), OrderByKind::Expressions(keys)) = (&mut **body, &mut order.kind) else {
        return;
    };
    if !is_plain(select) || !keys.iter().any(|key| is_hidden(&key.expr, select)) {
        return;
    }
    let Some(names) = select.projection.iter().map(output).collect::<Option<Vec<String>>>() else { return };
    let is_known = |key: &OrderByExpr| match &key.expr {
        Expr::Value(_) | Expr::CompoundIdentifier(_) => true,
        Expr::Identifier(column) => names.contains(&name(column)),
        _ => false,
    };
    if !keys.iter().all(is_known) {
        return;
    }
    let shown = |(place, name): (usize, &String)| format!("\"column {place}\" AS {}", quoted(name));
    let shown: Vec<String> = names.iter().enumerate().map(shown).collect();
    let around = format!("SELECT {} FROM (SELECT 1) AS \"in order\"", shown.join(", "));
    let Some(mut around) = exprs::query(&around) else { return };
    for (place, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let alias = Ident::with_quote('"', format!("column {place}"));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
    for (place, key) in keys.iter_mut().enumerate() {
        if matches!(key.expr, Expr::CompoundIdentifier(_)) {
            let alias = Ident::with_quote('"', format!("order {place}"));
            let expr = std::mem::replace(&mut key.expr, Expr::Identifier(alias.clone()));
            select.projection.push(SelectItem::ExprWithAlias { expr, alias });
        }
    }
    put_around(body, &mut around);
}

/// Puts such a query around one that makes rows of lists and is ordered by what it does not select: the
/// engine adds to its columns what is missing, but not where these are made of lists.
pub(super) fn beside_unnest(query: &mut Query) {
    let Query { body, order_by: Some(order), .. } = query else { return };
    let (SetExpr::Select(select), OrderByKind::Expressions(keys)) = (&mut **body, &mut order.kind) else {
        return;
    };
    let (mut names, mut unnests) = (HashSet::new(), false);
    for item in &select.projection {
        let (expr, own) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, column(expr).map(name)),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(name(alias))),
            _ => return,
        };
        unnests |= has_unnest(expr);
        names.extend(own);
    }
    let missing = keys.iter().map(|key| is_missing(&key.expr, &names)).collect::<Option<Vec<bool>>>();
    let Some(missing) = missing.filter(|missing| missing.contains(&true)) else { return };
    if !unnests || !is_plain(select) {
        return;
    }
    let alias = |place: usize| Ident::with_quote('"', format!("order {place}"));
    let places = missing.iter().enumerate().filter(|(_, missing)| **missing).map(|(place, _)| place);
    let hidden: Vec<String> = places.map(|place| alias(place).to_string()).collect();
    let around = format!("SELECT * EXCLUDE ({}) FROM (SELECT 1) AS \"in order\"", hidden.join(", "));
    let Some(mut around) = exprs::query(&around) else { return };
    for (place, (key, missing)) in keys.iter_mut().zip(missing).enumerate() {
        if missing {
            let alias = alias(place);
            let expr = std::mem::replace(&mut key.expr, Expr::Identifier(alias.clone()));
            select.projection.push(SelectItem::ExprWithAlias { expr, alias });
        }
    }
    put_around(body, &mut around);
}

/// Puts the places of columns of the result in that of the expressions that these are, where a SELECT
/// DISTINCT is ordered by them: `SELECT DISTINCT n % 2 FROM t ORDER BY n % 2`. The engine looks for `n`,
/// which it does not select. False if `error` is not about that, or if there are no such expressions.
pub(super) fn by_place(sql: &mut Statement, error: &SqlError) -> bool {
    let [before, _] = DISTINCT_ORDER;
    if !error.message().starts_with(before) {
        return false;
    }
    let mut are_put = false;
    visit_queries_mut(sql, |query| {
        let Query { body, order_by: Some(order), .. } = query else { return };
        let (SetExpr::Select(select), OrderByKind::Expressions(keys)) = (&**body, &mut order.kind) else {
            return;
        };
        if select.distinct != Some(Distinct::Distinct) || is_grouped(select) {
            return;
        }
        for key in keys {
            // A name alone is one of the result already.
            let is_found = matches!(key.expr, Expr::Value(_) | Expr::Identifier(_));
            if let Some(place) = place_of(&key.expr, select).filter(|_| !is_found) {
                key.expr = number(place);
                are_put = true;
            }
        }
    });
    are_put
}

/// The place of the column of the result that an expression is, if it has one in the text.
fn place_of(expr: &Expr, select: &Select) -> Option<usize> {
    let wanted = key(expr, false);
    for (place, item) in select.projection.iter().enumerate() {
        let one = of_item(item)?;
        if has_unnest(one) {
            return None;
        }
        if key(one, false) == wanted {
            return Some(place + 1);
        }
    }
    None
}

/// Whether a key of an order uses no column of the result; `None` where that is not clear.
fn is_missing(key: &Expr, names: &HashSet<String>) -> Option<bool> {
    if matches!(key, Expr::Value(_)) || has_unnest(key) || by_all::is_all(key) {
        return None;
    }
    let (mut own, mut other) = (false, false);
    visit_expressions(key, |part: &Expr| match part {
        Expr::Identifier(column) if names.contains(&name(column)) => own = true,
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => other = true,
        _ => {}
    });
    match (own, other) {
        (true, true) => None,
        (own, _) => Some(!own),
    }
}

/// Puts a SELECT into the only subquery of another, which takes its place.
fn put_around(body: &mut SetExpr, around: &mut Query) {
    if let Some(within) = subquery(around) {
        std::mem::swap(&mut *within.body, body);
        std::mem::swap(&mut *around.body, body);
    }
}

/// Whether no other clause may name a column of the result.
fn is_plain(select: &Select) -> bool {
    let is_other = is_grouped(select) || select.distinct.is_some();
    !is_other && select.having.is_none() && select.qualify.is_none()
}

/// Whether a key is a column of a table, and the result has another of its name.
fn is_hidden(key: &Expr, select: &Select) -> bool {
    let Expr::CompoundIdentifier(parts) = key else { return false };
    let Some(column) = parts.last().map(name) else { return false };
    select.projection.iter().any(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } => {
            let is_same = matches!(expr, Expr::Identifier(other) if name(other) == column) || expr == key;
            name(alias) == column && !is_same
        }
        _ => false,
    })
}

/// The name of an item of the result, if it is one column.
fn output(item: &SelectItem) -> Option<String> {
    let (expr, name) = match item {
        SelectItem::ExprWithAlias { expr, alias } => (expr, name(alias)),
        SelectItem::UnnamedExpr(expr) => (expr, column(expr).map_or_else(|| expr.to_string(), name)),
        _ => return None,
    };
    (!is_many(expr)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::tests::changed;

    fn query(sql: &mut Statement) -> &mut Query {
        let Statement::Query(query) = sql else { panic!("{sql}") };
        query
    }

    #[test]
    fn a_column_of_a_table_is_not_that_of_the_result() {
        let changed = |sql| changed(sql, |sql| apart(query(sql))).1;
        let sql = "SELECT -cost AS cost, t.id FROM t WHERE ok ORDER BY t.cost DESC, id LIMIT 3";
        let expected = "SELECT \"column 0\" AS \"cost\", \"column 1\" AS \"id\" FROM (SELECT -cost AS \"column 0\", t.id AS \"column 1\", t.cost AS \"order 0\" FROM t WHERE ok) AS \"in order\" ORDER BY \"order 0\" DESC, id LIMIT 3";
        assert_eq!(changed(sql), expected);
        for sql in [
            "SELECT cost AS cost FROM t ORDER BY t.cost",
            "SELECT -cost AS cost FROM t ORDER BY cost",
            "SELECT -cost AS cost FROM t ORDER BY t.cost + 1",
        ] {
            assert_eq!(changed(sql), sql);
        }
    }

    #[test]
    fn rows_of_lists_are_ordered_by_what_is_not_selected() {
        let changed = |sql| changed(sql, |sql| beside_unnest(query(sql))).1;
        let sql = "SELECT unnest(l) AS x, k FROM t WHERE ok ORDER BY id DESC, x, t.n + 1 LIMIT 3";
        let expected = "SELECT * EXCLUDE (\"order 0\", \"order 2\") FROM (SELECT unnest(l) AS x, k, id AS \"order 0\", t.n + 1 AS \"order 2\" FROM t WHERE ok) AS \"in order\" ORDER BY \"order 0\" DESC, x, \"order 2\" LIMIT 3";
        assert_eq!(changed(sql), expected);
        for sql in [
            "SELECT unnest(l) AS x, k FROM t ORDER BY k, x + 1",
            "SELECT unnest(l) AS x FROM t ORDER BY x + id",
            "SELECT DISTINCT unnest(l) AS x FROM t ORDER BY id",
            "SELECT *, unnest(l) AS x FROM t ORDER BY id",
            "SELECT k FROM t ORDER BY id",
            "SELECT k, unnest(l) AS x FROM t ORDER BY ALL",
        ] {
            assert_eq!(changed(sql), sql);
        }
    }

    #[test]
    fn a_distinct_result_is_ordered_by_the_places_of_its_expressions() {
        let error = SqlError::invalid(format!("{}n{}", DISTINCT_ORDER[0], DISTINCT_ORDER[1]));
        for (sql, expected) in [
            (
                "SELECT DISTINCT n % 2 FROM t ORDER BY n % 2 DESC",
                "SELECT DISTINCT n % 2 FROM t ORDER BY 1 DESC",
            ),
            (
                "SELECT DISTINCT k, upper(k), s['a'] FROM t ORDER BY s.a, (UPPER(K)), k",
                "SELECT DISTINCT k, upper(k), s['a'] FROM t ORDER BY 3, 2, k",
            ),
            (
                "SELECT DISTINCT n + 1 AS m FROM t ORDER BY n + 1",
                "SELECT DISTINCT n + 1 AS m FROM t ORDER BY 1",
            ),
        ] {
            assert_eq!(changed(sql, |sql| by_place(sql, &error)), (true, expected.to_owned()));
        }
        for sql in [
            "SELECT DISTINCT k FROM t ORDER BY n",
            "SELECT DISTINCT k = 'a' FROM t ORDER BY k = 'A'",
            "SELECT DISTINCT *, n % 2 FROM t ORDER BY n % 2",
            "SELECT DISTINCT unnest(l), n % 2 FROM t ORDER BY n % 2",
            "SELECT DISTINCT n % 2 FROM t GROUP BY n ORDER BY n % 2",
            "SELECT n % 2 FROM t ORDER BY n % 2",
        ] {
            assert!(!changed(sql, |sql| by_place(sql, &error)).0, "{sql}");
        }
        let another = SqlError::invalid("another".to_owned());
        assert!(!changed("SELECT DISTINCT n % 2 FROM t ORDER BY n % 2", |sql| by_place(sql, &another)).0);
    }
}
