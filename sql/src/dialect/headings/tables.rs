//! Headings of columns that a statement can name, or shows by their names, as names in the plan: of
//! subqueries in FROM and of table expressions, of queries that `UNION BY NAME` joins, and of what is
//! described.
//!
//! Invariants
//! - a heading is the text before anything in it has a name that is made here
//! - no other clause of the same SELECT takes it for a column of the tables

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DescribeAlias, Expr, Ident, Query, Select, SelectItem, SetExpr, SetQuantifier, Statement as Sql,
    TableFactor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::{in_lower_case, written};
use crate::dialect::column_names::{with_clauses, with_order};
use crate::dialect::exprs::{is_many, unnested};
use crate::expanded::{name, tables};
use crate::walk::{VisitMut, visit_queries_mut};

/// The quotes of a name that is a heading: one that the statement gives in such quotes has a place in it.
const QUOTE: char = '`';

/// Whether the name of a column is a heading, which no other clause of its SELECT knows.
pub(in crate::dialect) fn is_heading(alias: &Ident) -> bool {
    alias.quote_style == Some(QUOTE) && alias.span == Span::empty()
}

/// The text of an expression as the name of its column.
pub(in crate::dialect) fn heading(expr: &Expr) -> Ident {
    Ident::with_quote(QUOTE, in_lower_case(expr))
}

/// Gives these columns their headings as names.
pub(in crate::dialect) fn put(sql: &mut Sql) {
    if let Sql::Explain { describe_alias: DescribeAlias::Describe | DescribeAlias::Desc, statement, .. } = sql
        && let Sql::Query(query) = &mut **statement
    {
        of_query(query, HashSet::new());
    }
    let _ = VisitMut::visit(sql, &mut NamedTables);
}

/// Gives the columns of the result their headings as names, and those of the further queries of every
/// `UNION`; false if no column gets one.
pub(in crate::dialect) fn put_result(sql: &mut Sql) -> bool {
    let Sql::Query(query) = sql else { return false };
    let mut named = of_query(query, HashSet::new());
    visit_queries_mut(sql, |query| {
        named |= of_further(&mut query.body);
    });
    named
}

/// Outer queries get their headings before the queries within them.
struct NamedTables;

impl VisitorMut for NamedTables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            if table.alias.columns.is_empty() {
                of_query(&mut table.query, HashSet::new());
            }
        }
        by_name(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived { subquery, alias, .. } = table
            && alias.as_ref().is_none_or(|alias| alias.columns.is_empty())
        {
            of_query(subquery, HashSet::new());
        }
        ControlFlow::Continue(())
    }
}

/// The engine compares its own names.
fn by_name(body: &mut SetExpr) {
    use SetQuantifier as Q;
    if let SetExpr::SetOperation { set_quantifier, left, right, .. } = body {
        for side in [left, right] {
            if matches!(set_quantifier, Q::ByName | Q::AllByName | Q::DistinctByName) {
                of_body(side, HashSet::new());
            }
            by_name(side);
        }
    }
}

/// `around` are the names in an order around the query. Says whether a column gets a name.
fn of_query(query: &mut Query, around: HashSet<String>) -> bool {
    let ordered = with_order(around, query);
    of_body(&mut query.body, ordered)
}

fn of_body(body: &mut SetExpr, ordered: HashSet<String>) -> bool {
    match body {
        SetExpr::Select(select) => of_select(select, ordered),
        SetExpr::Query(query) => of_query(query, ordered),
        // Its order knows no columns but its own, which have the names of the first query.
        SetExpr::SetOperation { left, .. } => of_body(left, HashSet::new()),
        _ => false,
    }
}

/// The names of further queries are those of no column, but the engine refuses two that are alike.
fn of_further(body: &mut SetExpr) -> bool {
    let SetExpr::SetOperation { left, right, .. } = body else { return false };
    of_further(left) | of_body(right, HashSet::new()) | of_further(right)
}

/// A name in another clause is of a column of the tables: no heading takes it.
fn of_select(select: &mut Select, ordered: HashSet<String>) -> bool {
    let used = with_clauses(ordered, select);
    let tables = tables(select);
    let mut named = false;
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && !is_column(expr, &tables)
            && !is_many(expr)
        {
            let heading = written(expr);
            if !used.contains(&heading) {
                let alias = Ident::with_quote(QUOTE, heading);
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                named = true;
            }
        }
    }
    named
}

/// Whether an expression is a column of a table, and not a field of a struct.
fn is_column(expr: &Expr, tables: &[String]) -> bool {
    match unnested(expr) {
        Expr::Identifier(_) => true,
        Expr::CompoundIdentifier(parts) => {
            parts.iter().rev().nth(1).is_some_and(|table| tables.contains(&name(table)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::tests::changed;

    fn named(sql: &str) -> String {
        changed(sql, put).1
    }

    /// Whether columns of a result have names put in once.
    fn once(sql: &mut Sql) -> bool {
        put_result(sql) && !put_result(sql)
    }

    #[test]
    fn columns_that_are_compared_by_name_have_those_of_the_statement() {
        for (sql, expected) in [
            (
                "SELECT a, b + 1 UNION BY NAME (SELECT 1, t.a AS c, s.f FROM t)",
                "SELECT a, b + 1 AS `b + 1` UNION BY NAME (SELECT 1 AS `1`, t.a AS c, s.f AS `f` FROM t)",
            ),
            (
                "SELECT 1 UNION BY NAME SELECT 2 UNION BY NAME SELECT 3",
                "SELECT 1 AS `1` UNION BY NAME SELECT 2 AS `2` UNION BY NAME SELECT 3 AS `3`",
            ),
            ("SELECT 1 UNION ALL SELECT 2", "SELECT 1 UNION ALL SELECT 2"),
        ] {
            assert_eq!(named(sql), expected);
        }
    }

    #[test]
    fn columns_of_tables_in_a_statement_have_their_headings_as_names() {
        for (sql, expected) in [
            (
                "SELECT a + 1 FROM (SELECT a, t.b, (c), avg(T.b), s.F, t.s.g, x[1].h, *, unnest(l) FROM t)",
                "SELECT a + 1 FROM (SELECT a, t.b, (c), avg(T.b) AS `avg(T.b)`, s.F AS `f`, t.s.g AS `g`, x[1].h AS `h`, *, unnest(l) FROM t)",
            ),
            (
                "WITH c AS (SELECT -a FROM (SELECT 1) UNION SELECT -b FROM t), d (x) AS (SELECT 1) SELECT * FROM c",
                "WITH c AS (SELECT -a AS `-a` FROM (SELECT 1 AS `1`) UNION SELECT -b FROM t), d (x) AS (SELECT 1) SELECT * FROM c",
            ),
            // Outside has the text as it was.
            (
                "SELECT * FROM (SELECT (SELECT x FROM (SELECT 1)))",
                "SELECT * FROM (SELECT (SELECT x FROM (SELECT 1 AS `1`)) AS `(SELECT x FROM (SELECT 1))`)",
            ),
            ("DESCRIBE SELECT -a FROM t", "DESCRIBE SELECT -a AS `-a` FROM t"),
            // The order is that of the table's column, and not of the field.
            (
                "SELECT * FROM (SELECT s.a, s.b FROM t ORDER BY a)",
                "SELECT * FROM (SELECT s.a, s.b AS `b` FROM t ORDER BY a)",
            ),
            (
                "SELECT * FROM (SELECT s.a FROM t WHERE a > 1)",
                "SELECT * FROM (SELECT s.a AS `a` FROM t WHERE a > 1)",
            ),
            (
                "SELECT * FROM (SELECT s.a FROM t UNION SELECT 1 ORDER BY a)",
                "SELECT * FROM (SELECT s.a AS `a` FROM t UNION SELECT 1 ORDER BY a)",
            ),
        ] {
            assert_eq!(named(sql), expected);
        }
        for sql in [
            "SELECT a + 1 FROM t WHERE a IN (SELECT b + 1 FROM u) AND EXISTS (SELECT 1 + 1) ORDER BY (SELECT -1)",
            "SELECT * FROM (SELECT -a FROM t) AS x (a)",
            "SELECT * FROM ((SELECT s.a FROM t) ORDER BY -a)",
            "SELECT * FROM (SELECT s.a FROM t GROUP BY a, s)",
        ] {
            assert_eq!(named(sql), sql);
        }
    }

    #[test]
    fn columns_of_a_result_have_their_headings_as_names_once() {
        let expected = "SELECT a, -a AS `-a`, f(a) AS `f(a)` FROM t ORDER BY -a";
        assert_eq!(changed("SELECT a, -a, f(a) FROM t ORDER BY -a", once), (true, expected.to_owned()));
    }

    #[test]
    fn columns_of_further_queries_have_names_beside_the_result() {
        for (sql, expected) in [
            (
                "SELECT 1 UNION ALL SELECT -a FROM t UNION (SELECT a, f(a) FROM t)",
                "SELECT 1 AS `1` UNION ALL SELECT -a AS `-a` FROM t UNION (SELECT a, f(a) AS `f(a)` FROM t)",
            ),
            (
                "SELECT x FROM (SELECT 1 AS x EXCEPT SELECT -a FROM t)",
                "SELECT x FROM (SELECT 1 AS x EXCEPT SELECT -a AS `-a` FROM t)",
            ),
        ] {
            assert_eq!(changed(sql, once), (true, expected.to_owned()));
        }
    }

    #[test]
    fn headings_are_no_names_that_are_given() {
        let alias = |sql: &mut Sql| {
            put(sql);
            let Sql::Query(query) = sql else { panic!("no query") };
            let SetExpr::SetOperation { left, .. } = &*query.body else { panic!("no union") };
            let SetExpr::Select(select) = &**left else { panic!("no SELECT") };
            let Some(SelectItem::ExprWithAlias { alias, .. }) = select.projection.first() else {
                panic!("no name")
            };
            is_heading(alias)
        };
        assert!(changed("SELECT -a FROM t UNION BY NAME SELECT 1", alias).0);
        assert!(!changed("SELECT -a AS `b` FROM t UNION BY NAME SELECT 1", alias).0);
    }
}
