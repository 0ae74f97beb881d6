//! Queries for a column of the tables of a SELECT, where the engine finds something else of its name, or does
//! not say which columns there are: the errors about these tell whether a column has the name in other
//! letters, or none has it.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, OrderBy, Query, Select, SelectItem, SetExpr, TableWithJoins, Visitor,
};

use super::exprs::{alias, of_item};
use super::merged::of_from;
use super::planned::{Planner, planned};
use super::scopes::Scopes;
use crate::error::SqlError;
use crate::expanded::{has_aggregate_call, name, single_keys};
use crate::ordinals::aggregate_key;
use crate::positions::{TextPosition, begin, is_named_at};
use crate::walk::{Visit, inner, visit_expressions};

/// Most of these queries.
const MOST: usize = 10;

/// A query for the column at a place of each SELECT around it, the innermost first. A subquery in FROM knows
/// the tables before it.
pub(crate) fn columns_around(statement: &mut Statement, place: TextPosition) -> Vec<Statement> {
    queries_around(statement, place, MOST, |expr| (begin(expr) == Some(place)).then(|| expr.clone()))
}

/// The same for what `wanted` gives of the expressions there; no more than `most` queries.
pub(super) fn queries_around(
    statement: &mut Statement,
    place: TextPosition,
    most: usize,
    wanted: impl Fn(&Expr) -> Option<Expr>,
) -> Vec<Statement> {
    let mut queries = Vec::new();
    each_select(statement, |select, order, scopes| {
        let mut look_up = |expr: &Expr| {
            if let Some(column) = wanted(expr) {
                let mut select = of_from(select, vec![SelectItem::UnnamedExpr(column)]);
                keep_before(&mut select.from, place);
                if !select.from.is_empty() && queries.len() < most {
                    queries.push(scopes.query(select));
                }
            }
        };
        visit_expressions(select, &mut look_up);
        if let Some(order) = order {
            visit_expressions(order, look_up);
        }
    });
    queries
}

/// Refuses keys of GROUP BY that are names of what has an aggregate function. Where a column of a table has the
/// name, that is meant.
pub(crate) async fn check_given_keys(
    planner: Planner<'_>,
    statement: &mut Statement,
) -> Result<(), SqlError> {
    for (name, query) in given_keys(statement, has_aggregate_call) {
        if let Err(error) = planned(planner, query).await
            && error.missing_column() == Some(name.as_str())
        {
            return Err(aggregate_key().at(error.position()));
        }
    }
    Ok(())
}

/// A query for each name in GROUP BY that its SELECT gives to something that is `wanted`, with the name.
pub(crate) fn given_keys(
    statement: &mut Statement,
    wanted: impl Fn(&Expr) -> bool,
) -> Vec<(String, Statement)> {
    let mut queries = Vec::new();
    each_select(statement, |select, _, scopes| {
        let GroupByExpr::Expressions(keys, _) = &select.group_by else { return };
        for key in keys.iter().flat_map(single_keys) {
            let Expr::Identifier(column) = key else { continue };
            let column = name(column);
            let is_given = select.projection.iter().any(|item| {
                alias(item).is_some_and(|alias| alias == column) && of_item(item).is_some_and(&wanted)
            });
            if is_given && !select.from.is_empty() && queries.len() < MOST {
                let select = of_from(select, vec![SelectItem::UnnamedExpr(key.clone())]);
                queries.push((column, scopes.query(select)));
            }
        }
    });
    queries
}

/// Shows `each` every SELECT of a statement, the innermost first, with the ORDER BY behind it and the table
/// expressions that it can name.
fn each_select(statement: &mut Statement, each: impl FnMut(&Select, Option<&OrderBy>, &Scopes)) {
    if let Some(sql) = inner(statement) {
        let _ = Visit::visit(&*sql, &mut Selects { scopes: Scopes::default(), each });
    }
}

struct Selects<F> {
    scopes: Scopes,
    each: F,
}

impl<F: FnMut(&Select, Option<&OrderBy>, &Scopes)> Selects<F> {
    fn body(&mut self, body: &SetExpr, order: Option<&OrderBy>) {
        match body {
            SetExpr::Select(select) => (self.each)(select, order, &self.scopes),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, None);
                self.body(right, None);
            }
            _ => {}
        }
    }
}

impl<F: FnMut(&Select, Option<&OrderBy>, &Scopes)> Visitor for Selects<F> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.scopes.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.body(&query.body, query.order_by.as_ref());
        self.scopes.leave();
        ControlFlow::Continue(())
    }
}

/// Leaves the tables before the one that a place is in.
fn keep_before(from: &mut Vec<TableWithJoins>, place: TextPosition) {
    let Some(at) = from.iter().position(|table| is_named_at(table, place)) else { return };
    from.truncate(at + 1);
    if from.last().is_some_and(|table| is_named_at(&table.relation, place)) {
        from.pop();
    } else if let Some(TableWithJoins { joins, .. }) = from.last_mut()
        && let Some(at) = joins.iter().position(|join| is_named_at(join, place))
    {
        joins.truncate(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;

    #[test]
    fn columns_are_looked_up_in_the_tables_around_them() {
        for (sql, column, expected) in [
            (
                "SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM u WHERE t.a = 2)",
                53,
                &["SELECT t.a FROM u", "SELECT t.a FROM t"][..],
            ),
            (
                "WITH c AS (SELECT 1) SELECT 1 FROM c JOIN d USING (x), LATERAL (SELECT a FROM u), v",
                72,
                &[
                    "WITH c AS (SELECT 1) SELECT a FROM u",
                    "WITH c AS (SELECT 1) SELECT a FROM c JOIN d USING(x)",
                ][..],
            ),
            ("SELECT 1 FROM (SELECT a FROM u) AS x", 23, &["SELECT a FROM u"][..]),
            ("SELECT 1 FROM t ORDER BY (SELECT max(a))", 38, &["SELECT a FROM t"][..]),
        ] {
            let found = columns_around(&mut parse(sql).unwrap(), (1, column));
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{sql}");
        }
    }

    #[test]
    fn keys_are_looked_up_that_a_select_gives() {
        for (sql, expected) in [
            (
                "SELECT 'x' AS Cat, max(k) AS k FROM t WHERE a = 1 GROUP BY cat, b, k + 1",
                &["cat: SELECT cat FROM t"][..],
            ),
            ("SELECT 1 FROM (SELECT 2 AS a FROM t GROUP BY A) AS u GROUP BY a", &["a: SELECT A FROM t"][..]),
            ("SELECT 1 AS a FROM t GROUP BY ROLLUP (b, a)", &["a: SELECT a FROM t"][..]),
            ("SELECT 1 AS a GROUP BY a", &[][..]),
            ("SELECT 1 AS a FROM t GROUP BY ALL", &[][..]),
        ] {
            let found = given_keys(&mut parse(sql).unwrap(), |_| true);
            let found: Vec<String> = found.iter().map(|(name, query)| format!("{name}: {query}")).collect();
            assert_eq!(found, expected, "{sql}");
        }
    }
}
