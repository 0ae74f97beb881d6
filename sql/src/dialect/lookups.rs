//! Queries for a column of the tables of a SELECT, where the engine finds something else of its name, or does
//! not say which columns there are: the errors about these tell whether a column has the name in other
//! letters.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, TableWithJoins, Visitor,
};

use super::exprs::alias;
use super::merged::of_from;
use super::scopes::Scopes;
use crate::expanded::name;
use crate::positions::{TextPosition, begin, is_named_at};
use crate::walk::{Visit, inner, visit_expressions};

/// Most of these queries.
const MOST: usize = 10;

/// A query for the column at a place of each SELECT around it, the innermost first. A subquery in FROM knows
/// the tables before it.
pub(crate) fn columns_around(statement: &mut Statement, place: TextPosition) -> Vec<Statement> {
    let found = Lookups::of(statement, Some(place));
    found.into_iter().map(|(_, query)| query).collect()
}

/// A query for each name in GROUP BY that its SELECT gives to something, with the name.
pub(crate) fn given_keys(statement: &mut Statement) -> Vec<(String, Statement)> {
    Lookups::of(statement, None)
}

#[derive(Default)]
struct Lookups {
    /// Where the column is; without a place it is any in GROUP BY.
    place: Option<TextPosition>,
    scopes: Scopes,
    queries: Vec<(String, Statement)>,
}

impl Lookups {
    fn of(statement: &mut Statement, place: Option<TextPosition>) -> Vec<(String, Statement)> {
        let mut lookups = Self { place, ..Self::default() };
        if let Some(sql) = inner(statement) {
            let _ = Visit::visit(&*sql, &mut lookups);
        }
        lookups.queries
    }

    fn body(&mut self, body: &SetExpr) {
        match (body, self.place) {
            (SetExpr::Select(select), Some(place)) => self.part(&**select, select, place),
            (SetExpr::Select(select), None) => self.keys(select),
            (SetExpr::SetOperation { left, right, .. }, _) => {
                self.body(left);
                self.body(right);
            }
            _ => {}
        }
    }

    /// Looks for the column in a part of a query that names columns of the tables of a SELECT.
    fn part(&mut self, part: &impl Visit, select: &Select, place: TextPosition) {
        let _ = visit_expressions(part, |expr: &Expr| {
            if begin(expr) == Some(place) {
                let mut select = of_from(select, vec![SelectItem::UnnamedExpr(expr.clone())]);
                keep_before(&mut select.from, place);
                self.add(String::new(), select);
            }
            ControlFlow::<()>::Continue(())
        });
    }

    fn keys(&mut self, select: &Select) {
        let GroupByExpr::Expressions(keys, _) = &select.group_by else { return };
        for key in keys {
            let Expr::Identifier(column) = key else { continue };
            let column = name(column);
            if select.projection.iter().filter_map(alias).any(|alias| alias == column) {
                self.add(column, of_from(select, vec![SelectItem::UnnamedExpr(key.clone())]));
            }
        }
    }

    fn add(&mut self, name: String, select: Select) {
        if !select.from.is_empty() && self.queries.len() < MOST {
            self.queries.push((name, self.scopes.query(select)));
        }
    }
}

impl Visitor for Lookups {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.scopes.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.body(&query.body);
        if let (SetExpr::Select(select), Some(place)) = (&*query.body, self.place) {
            self.part(&query.order_by, select, place);
        }
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
            ("SELECT 1 AS a GROUP BY a", &[][..]),
            ("SELECT 1 AS a FROM t GROUP BY ALL", &[][..]),
        ] {
            let found = given_keys(&mut parse(sql).unwrap());
            let found: Vec<String> = found.iter().map(|(name, query)| format!("{name}: {query}")).collect();
            assert_eq!(found, expected, "{sql}");
        }
    }
}
