//! The table expressions that can be named at a place in a statement: those of the queries around it; walks
//! over the tables that are none of these, and walks that end where the engine is to be asked about a place.
//! One that hides another gets a name of its own, since the engine refuses the second of a name.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Cte, Ident, Query, Statement, TableAlias, TableFactor, VisitorMut, With,
};

use super::exprs;
use crate::error::SqlError;
use crate::expanded::{name, unqualified};
use crate::walk::{Step, VisitMut};

/// Why a walk ends before the end of a statement.
pub(super) enum Stop<Q> {
    /// A part is done; what is behind it may name it.
    Again,
    /// What has to be asked first.
    Ask(Box<Q>),
    Wrong(Box<SqlError>),
}

impl<Q> From<SqlError> for Stop<Q> {
    fn from(error: SqlError) -> Self {
        Self::Wrong(Box::new(error))
    }
}

/// What has to be asked, by walks until one comes to that or to the end of the statement.
pub(super) fn question<Q>(mut walk: impl FnMut() -> ControlFlow<Stop<Q>>) -> Result<Option<Q>, SqlError> {
    loop {
        match walk() {
            ControlFlow::Continue(()) => return Ok(None),
            ControlFlow::Break(Stop::Again) => {}
            ControlFlow::Break(Stop::Ask(question)) => return Ok(Some(*question)),
            ControlFlow::Break(Stop::Wrong(error)) => return Err(*error),
        }
    }
}

/// Table expressions of a query, and how many of the queries in it were entered: its table expressions first.
struct Scope {
    recursive: bool,
    tables: Vec<Cte>,
    entered: usize,
}

impl Scope {
    /// How many of its table expressions come before a place that is so many queries within it.
    fn before(&self, depth: usize) -> usize {
        if depth == 0 { self.tables.len() } else { self.entered.saturating_sub(1) }
    }
}

/// Those of the queries around a place in a statement.
#[derive(Default)]
pub(super) struct Scopes(Vec<Scope>);

impl Scopes {
    pub(super) fn enter(&mut self, query: &Query) {
        if let Some(around) = self.0.last_mut() {
            around.entered += 1;
        }
        let (recursive, tables) = match &query.with {
            Some(with) => (with.recursive, with.cte_tables.clone()),
            None => (false, Vec::new()),
        };
        self.0.push(Scope { recursive, tables, entered: 0 });
    }

    pub(super) fn leave(&mut self) {
        self.0.pop();
    }

    /// The table expressions that a query can name: those of a query around it end before the one that it is
    /// in.
    pub(super) fn with(&self) -> Option<With> {
        let mut cte_tables: Vec<Cte> = Vec::new();
        for (depth, scope) in self.0.iter().rev().enumerate() {
            let hidden =
                |table: &Cte| cte_tables.iter().any(|own| name(&own.alias.name) == name(&table.alias.name));
            let before = scope.tables.iter().take(scope.before(depth));
            let known: Vec<Cte> = before.filter(|table| !hidden(table)).cloned().collect();
            drop(cte_tables.splice(0..0, known));
        }
        let recursive = self.0.iter().any(|scope| scope.recursive);
        (!cte_tables.is_empty()).then(|| With { with_token: AttachedToken::empty(), recursive, cte_tables })
    }

    /// Whether a name means a table expression here.
    fn knows(&self, table: &str) -> bool {
        self.depth_of(table, 0).is_some()
    }

    /// How many of the queries around this place are within the one whose table expression a name means; those
    /// of the first `skipped` are not looked at. One of WITH RECURSIVE is known in all of its WITH, any other
    /// behind itself alone.
    fn depth_of(&self, table: &str, skipped: usize) -> Option<usize> {
        let mut scopes = self.0.iter().rev().enumerate().skip(skipped);
        let found = scopes.find(|(depth, scope)| {
            let known = if scope.recursive { scope.tables.len() } else { scope.before(*depth) };
            scope.tables.iter().take(known).any(|own| name(&own.alias.name) == table)
        });
        found.map(|(depth, _)| depth)
    }
}

/// Shows `each` every table of FROM, before those in it, but for names of table expressions of the statement.
pub(crate) fn visit_outer_tables_mut<S: Step>(
    sql: &mut Statement,
    each: impl FnMut(&mut TableFactor) -> S,
) -> S {
    match VisitMut::visit(sql, &mut OuterTables { scopes: Scopes::default(), each }) {
        ControlFlow::Continue(()) => S::DONE,
        ControlFlow::Break(step) => step,
    }
}

struct OuterTables<F> {
    scopes: Scopes,
    each: F,
}

impl<S: Step, F: FnMut(&mut TableFactor) -> S> VisitorMut for OuterTables<F> {
    type Break = S;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<S> {
        self.scopes.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<S> {
        self.scopes.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<S> {
        // A call is of a function, whatever tables have its name.
        if let TableFactor::Table { name, args: None, .. } = &*table
            && unqualified(name).is_some_and(|name| self.scopes.knows(&name))
        {
            return ControlFlow::Continue(());
        }
        let step = (self.each)(table);
        if step.ends() { ControlFlow::Break(step) } else { ControlFlow::Continue(()) }
    }
}

/// Gives each table expression that hides another one around its query a name that no other has; tables that
/// name it are still called as they were.
pub(crate) fn rename_hiding(sql: &mut Statement) {
    let _ = VisitMut::visit(sql, &mut HidingTables::default());
}

#[derive(Default)]
struct HidingTables {
    scopes: Scopes,
    /// The names in each of the scopes, and those that take their places.
    renamed: Vec<Vec<(String, Ident)>>,
    count: usize,
}

impl VisitorMut for HidingTables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.scopes.enter(query);
        let mut renamed: Vec<(String, Ident)> = Vec::new();
        for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            let written = name(&table.alias.name);
            // The second of a name in one WITH is a mistake, of which the engine says so.
            let is_second = renamed.iter().any(|(before, _)| *before == written);
            if !is_second && self.scopes.depth_of(&written, 1).is_some() {
                self.count += 1;
                table.alias.name = Ident::with_quote('"', format!("{written} within {}", self.count));
                renamed.push((written, table.alias.name.clone()));
            }
        }
        self.renamed.push(renamed);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.scopes.leave();
        self.renamed.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name: object, alias, args: None, .. } = table
            && let Some(written) = unqualified(object)
            && let Some(depth) = self.scopes.depth_of(&written, 0)
            && let Some(renamed) = self.renamed.iter().rev().nth(depth)
            && let Some((_, own)) = renamed.iter().find(|(hidden, _)| *hidden == written)
            && let [part] = object.0.as_slice()
            && let Some(called) = part.as_ident().cloned()
        {
            *object = Ident { span: called.span, ..own.clone() }.into();
            alias.get_or_insert(TableAlias { explicit: true, name: called, columns: Vec::new(), at: None });
        }
        ControlFlow::Continue(())
    }
}

/// Puts table expressions before those of a query.
pub(crate) fn put_before(query: &mut Query, mut tables: Vec<Cte>) {
    if tables.is_empty() {
        return;
    }
    let with = query.with.get_or_insert_with(|| With {
        with_token: AttachedToken::empty(),
        recursive: false,
        cte_tables: Vec::new(),
    });
    if with.recursive {
        with.cte_tables.iter_mut().for_each(put_apart);
        with.recursive = false;
    }
    tables.append(&mut with.cte_tables);
    with.cte_tables = tables;
}

/// Gives a table expression of WITH RECURSIVE a WITH of its own: in all of such a WITH the engine takes its
/// names for no other tables, and of a UNION it plans the two sides without what is around them.
fn put_apart(table: &mut Cte) {
    let Some(query) = exprs::query(&format!("SELECT * FROM {}", table.alias.name)) else { return };
    let alias = TableAlias { columns: Vec::new(), ..table.alias.clone() };
    let closing_paren_token = AttachedToken::empty();
    let own =
        std::mem::replace(table, Cte { alias, query, from: None, materialized: None, closing_paren_token });
    let with_token = AttachedToken::empty();
    table.query.with = Some(With { with_token, recursive: true, cte_tables: vec![own] });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::tests::changed;

    #[test]
    fn table_expressions_hide_tables_where_they_are_known() {
        let outer = |sql: &mut Statement| {
            let mut names = Vec::new();
            visit_outer_tables_mut(sql, |table| {
                if let TableFactor::Table { name, .. } = table {
                    names.push(name.to_string());
                }
            });
            names
        };
        for (sql, expected) in [
            ("WITH t AS (SELECT * FROM t) SELECT * FROM t", &["t"][..]),
            ("WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM a, b", &["b"]),
            (
                "WITH a AS (SELECT 1), b AS (WITH c AS (SELECT * FROM a, c) SELECT * FROM b) SELECT 1",
                &["c", "b"],
            ),
            ("WITH RECURSIVE t AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM t) SELECT * FROM t", &[]),
            ("SELECT * FROM (WITH t AS (SELECT 1) SELECT * FROM t) u JOIN t ON true", &["t"]),
            (
                "WITH t AS (SELECT 1) SELECT 1 WHERE EXISTS (SELECT 1 FROM (SELECT * FROM T, \"T\") u)",
                &["\"T\""],
            ),
            ("WITH t AS (SELECT 1) SELECT * FROM t UNION SELECT * FROM data.t, t(1)", &["data.t", "t"]),
        ] {
            assert_eq!(changed(sql, outer).0, expected, "{sql}");
        }
    }

    #[test]
    fn a_table_expression_that_hides_another_has_a_name_of_its_own() {
        for (sql, expected) in [
            (
                "WITH x AS (SELECT 1 AS a) SELECT (WITH x AS (SELECT a + 1 AS a FROM x), y AS (SELECT * FROM x) SELECT x.a FROM X, y AS x) FROM x",
                "WITH x AS (SELECT 1 AS a) SELECT (WITH \"x within 1\" AS (SELECT a + 1 AS a FROM x), \
                 y AS (SELECT * FROM \"x within 1\" AS x) SELECT x.a FROM \"x within 1\" AS X, y AS x) FROM x",
            ),
            (
                "WITH x AS (SELECT 1 AS a) SELECT * FROM (WITH RECURSIVE x (a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM x AS z) SELECT * FROM x, data.x) u, x",
                "WITH x AS (SELECT 1 AS a) SELECT * FROM (WITH RECURSIVE \"x within 1\" (a) AS \
                 (SELECT 1 UNION ALL SELECT a + 1 FROM \"x within 1\" AS z) SELECT * FROM \"x within 1\" AS x, data.x) u, x",
            ),
        ] {
            assert_eq!(changed(sql, rename_hiding).1, expected);
        }
        for sql in [
            "WITH x AS (WITH x AS (SELECT 1) SELECT * FROM x) SELECT * FROM x",
            "SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) AS a, (WITH x AS (SELECT 2) SELECT * FROM x) AS b",
        ] {
            assert_eq!(changed(sql, rename_hiding).1, sql);
        }
    }

    #[test]
    fn table_expressions_come_before_those_of_a_query() {
        for (sql, expected) in [
            ("SELECT 1", "WITH a AS (SELECT 2) SELECT 1"),
            ("WITH b AS (SELECT 1) SELECT 1", "WITH a AS (SELECT 2), b AS (SELECT 1) SELECT 1"),
            (
                "WITH RECURSIVE b (x) AS (SELECT 1 UNION SELECT x FROM b) SELECT 1 LIMIT 2",
                "WITH a AS (SELECT 2), b AS (WITH RECURSIVE b (x) AS (SELECT 1 UNION SELECT x FROM b) SELECT * FROM b) \
                 SELECT 1 LIMIT 2",
            ),
        ] {
            let put = |sql: &mut Statement| {
                let Statement::Query(query) = sql else { panic!("no query") };
                let with = exprs::query("WITH a AS (SELECT 2) SELECT 1").and_then(|query| query.with);
                put_before(query, with.unwrap().cte_tables);
            };
            assert_eq!(changed(sql, put).1, expected);
        }
    }
}
