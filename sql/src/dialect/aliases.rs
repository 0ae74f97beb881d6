//! Names that a statement gives to columns where the engine does not look for them: those of the result in
//! `HAVING`, and those of tables in aggregate functions, where it finds columns of the result. Subqueries that
//! are joined or grouped get names of their own, for it knows columns of tables alone there, and so do columns
//! behind `IN` and `EXISTS`, to which it adds those that the subquery compares. The column of a series has the
//! name of its function.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, ObjectName, OrderByKind, Query, Select, SelectItem, SetExpr, Statement,
    TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins, VisitorMut,
};

use super::exprs::{alias, has_unnest, nested, of_item, wrap};
use super::given::{ExpressionParts, computed_again};
use super::ordered;
use super::twice::{cast_of, column_name};
use super::using::joins_without_condition;
use crate::error::SqlError;
use crate::expanded::{column, is_aggregate_call, is_grouped, name, unqualified};
use crate::names::SERIES;
use crate::walk::{VisitMut, break_on_error, count_subqueries, error_of, visit_expressions};

/// Most names of one `HAVING` that are looked up, and the longest expression that may stand for each: what
/// they stand for is repeated.
const MOST_NAMES: usize = 100;
const LONGEST: usize = 1000;

/// Puts the names of a statement where the engine finds them.
///
/// # Errors
/// A name in `HAVING` or `QUALIFY` of what has another value each time: it would be computed once more there.
pub(super) fn put(sql: &mut Statement) -> Result<(), SqlError> {
    error_of(sql.visit(&mut Aliases))
}

struct Aliases;

impl VisitorMut for Aliases {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            unnested(&mut table.query);
        }
        ordered::apart(query);
        ordered::beside_unnest(query);
        ControlFlow::Continue(())
    }

    // Its tables have their names then.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        ordered_by_aggregates(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        break_on_error(having(select))?;
        named(select);
        several_series(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::InSubquery { subquery, .. } | Expr::Exists { subquery, .. } = expr {
            selected(subquery);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Self::Break> {
        match table {
            TableFactor::Table { name: function, args: Some(_), alias, .. } => series(function, alias),
            TableFactor::UNNEST { array_exprs, alias, .. } if array_exprs.len() == 1 => elements(alias),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Makes a table expression that makes rows of lists a subquery of one: these are planned without keys that
/// the rows do not have.
fn unnested(query: &mut Query) {
    let SetExpr::Select(select) = &*query.body else { return };
    if select.projection.iter().filter_map(of_item).any(has_unnest) {
        wrap(query, "rows of lists");
    }
}

/// Names the columns that a subquery selects, and compares or casts: the engine may cast one itself, and
/// calls a cast what it is of.
fn selected(query: &mut Query) {
    let Query { body, order_by: None, .. } = query else { return };
    let SetExpr::Select(select) = &mut **body else { return };
    let Select { projection, selection, distinct: None, .. } = &mut **select else { return };
    for (place, item) in projection.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let is_cast = cast_of(expr).and_then(column_name).is_some();
        let is_compared = || {
            column_name(expr).is_some_and(|column| {
                visit_expressions(&*selection, |part| column_name(part).as_ref() == Some(&column))
            })
        };
        if is_cast || is_compared() {
            let alias = Ident::with_quote('"', format!("selected {place}"));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// Gives the column of `unnest()` the name of its table, or that of the function, unless the statement does.
fn elements(alias: &mut Option<TableAlias>) {
    let name = Ident::new("unnest");
    let alias = alias.get_or_insert(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
}

/// Gives the column of a series the name of its function, unless the statement names it.
fn series(function: &ObjectName, alias: &mut Option<TableAlias>) {
    let Some(called) = series_of(function) else { return };
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::new(called.as_str()),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef::from_name(called));
    }
}

/// The function of a series, by its name.
fn series_of(function: &ObjectName) -> Option<String> {
    unqualified(function).filter(|called| SERIES.contains(&called.as_str()))
}

/// Names the series of a FROM that would have the name of one before.
fn several_series(select: &mut Select) {
    let mut before = HashSet::new();
    for (n, table) in tables(select).enumerate() {
        if let TableFactor::Table { name: function, args: Some(_), alias: alias @ None, .. } = table
            && let Some(called) = series_of(function)
            && !before.insert(called.clone())
        {
            let name = Ident::with_quote('"', format!("{called} {}", n + 1));
            let columns = vec![TableAliasColumnDef::from_name(called)];
            *alias = Some(TableAlias { explicit: true, name, columns, at: None });
        }
    }
}

fn tables(select: &mut Select) -> impl Iterator<Item = &mut TableFactor> {
    select.from.iter_mut().flat_map(|TableWithJoins { relation, joins }| {
        std::iter::once(relation).chain(joins.iter_mut().map(|join| &mut join.relation))
    })
}

/// Names the subqueries next to other tables that have none, and those whose rows are grouped: the engine tells
/// columns of one name apart by their tables.
fn named(select: &mut Select) {
    let is_grouped = is_grouped(select) || select.having.is_some();
    if !is_grouped && !joins_without_condition(select) && tables(select).nth(1).is_none() {
        return;
    }
    for (n, table) in tables(select).enumerate() {
        if let TableFactor::Derived { alias, .. } = table
            && alias.is_none()
        {
            let name = Ident::with_quote('"', format!("joined {}", n + 1));
            *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
        }
    }
}

/// Puts what is computed under a name in its place in `HAVING`, where the engine reads a column
/// of the table that has this name.
fn having(select: &mut Select) -> Result<(), SqlError> {
    if select.having.is_none() && select.qualify.is_none() {
        return Ok(());
    }
    let computed = computed(select);
    let of = |column: &Ident, in_aggregate: bool| {
        let column = name(column);
        computed.iter().find(|computed| !in_aggregate && computed.alias == column)
    };
    let mut again = None;
    for condition in select.having.iter_mut().chain(&mut select.qualify) {
        replace_names(condition, |column, in_aggregate| {
            let computed = of(column, in_aggregate).filter(|computed| computed.is_volatile)?;
            again.get_or_insert_with(|| computed_again(&computed.alias).at_name(column));
            None
        });
    }
    if let Some(again) = again {
        return Err(again);
    }
    let mut put = 0;
    if let Some(condition) = &mut select.having {
        replace_names(condition, |column, in_aggregate| {
            let computed = of(column, in_aggregate).filter(|_| put < MOST_NAMES)?;
            put += 1;
            Some(*nested(computed.expr.clone()))
        });
    }
    Ok(())
}

/// What a SELECT computes under a name.
struct ComputedItem {
    alias: String,
    expr: Expr,
    /// Whether it is another value each time, as that of `random()`.
    is_volatile: bool,
}

/// What a SELECT computes under names that may be meant in its `HAVING`. In an argument of an aggregate
/// function a column is meant, and where the rows are grouped by it.
fn computed(select: &Select) -> Vec<ComputedItem> {
    let grouped: Vec<String> = match &select.group_by {
        GroupByExpr::Expressions(groups, _) => groups.iter().filter_map(column).map(name).collect(),
        GroupByExpr::All(_) => Vec::new(),
    };
    let is_joined = select.from.len() != 1 || select.from.iter().any(|table| !table.joins.is_empty());
    let aliases: Vec<String> = select.projection.iter().filter_map(alias).collect();
    let computed = |item: &SelectItem| {
        let SelectItem::ExprWithAlias { expr, alias } = item else { return None };
        let alias = name(alias);
        // A column of USING is put into other words later, unless the result has its name.
        let is_twice = aliases.iter().filter(|other| **other == alias).count() > 1;
        let is_unclear = is_joined && aliases.iter().any(|alias| mentions(expr, alias));
        let is_own = grouped.contains(&alias) || is_twice || is_unclear;
        let fits = is_aggregate(expr) && !is_own && expr.to_string().len() <= LONGEST;
        let is_volatile = fits && ExpressionParts::of(expr).volatile;
        fits.then(|| ComputedItem { alias, expr: expr.clone(), is_volatile })
    };
    select.projection.iter().filter_map(computed).collect()
}

/// Puts the name of the table before its columns in aggregate functions that rows are ordered by, where the
/// result has an aggregate of that name: `SELECT sum(n) AS n FROM t GROUP BY k ORDER BY max(n)`.
fn ordered_by_aggregates(query: &mut Query) {
    let Query { body, order_by: Some(order), .. } = query else { return };
    let (SetExpr::Select(select), OrderByKind::Expressions(keys)) = (&**body, &mut order.kind) else {
        return;
    };
    let [TableWithJoins { relation, joins }] = &select.from[..] else { return };
    let Some(table) = own_name(relation).filter(|_| joins.is_empty()) else { return };
    let is_computed = |item: &&SelectItem| of_item(item).is_some_and(is_aggregate);
    let names: Vec<String> = select.projection.iter().filter(is_computed).filter_map(alias).collect();
    for key in keys {
        replace_names(&mut key.expr, |column, in_aggregate| {
            let is_meant = in_aggregate && names.contains(&name(column));
            is_meant.then(|| Expr::CompoundIdentifier(vec![table.clone(), column.clone()]))
        });
    }
}

/// The name that columns of a table may have before theirs.
fn own_name(table: &TableFactor) -> Option<&Ident> {
    match table {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(&alias.name)
        }
        TableFactor::Table { name, args: None, .. } => name.0.last()?.as_ident(),
        _ => None,
    }
}

/// Whether an expression has a call, as of an aggregate function, and none of a window.
fn is_aggregate(expr: &Expr) -> bool {
    let (mut has_call, mut has_window) = (false, false);
    visit_expressions(expr, |part: &Expr| {
        if let Expr::Function(function) = part {
            has_call = true;
            has_window |= function.over.is_some();
        }
    });
    has_call && !has_window
}

fn mentions(expr: &Expr, column: &str) -> bool {
    visit_expressions(expr, |part| matches!(part, Expr::Identifier(other) if name(other) == column))
}

/// Puts what `other` gives in the place of names that are in no subquery; it is told whether a name is in an
/// aggregate function.
fn replace_names(expr: &mut Expr, other: impl FnMut(&Ident, bool) -> Option<Expr>) {
    let _ = expr.visit(&mut Names { other, aggregates: 0, queries: 0 });
}

struct Names<F> {
    other: F,
    /// Aggregate functions around what is visited.
    aggregates: usize,
    /// Queries around it.
    queries: usize,
}

impl<F: FnMut(&Ident, bool) -> Option<Expr>> VisitorMut for Names<F> {
    type Break = ();

    count_subqueries!(queries, &mut Query);

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.aggregates += usize::from(is_aggregate_call(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if is_aggregate_call(expr) {
            self.aggregates -= 1;
        } else if let Expr::Identifier(column) = expr
            && self.queries == 0
            && let Some(other) = (self.other)(column, self.aggregates > 0)
        {
            *expr = other;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::tests::changed;

    #[test]
    fn names_stand_where_the_engine_finds_them() {
        for (sql, expected) in [
            (
                "SELECT k, count(*) AS cost FROM t GROUP BY k HAVING cost > 3 AND sum(cost) > 2",
                "SELECT k, count(*) AS cost FROM t GROUP BY k HAVING (count(*)) > 3 AND sum(cost) > 2",
            ),
            (
                "SELECT max(n) AS n FROM (SELECT 1 AS n) HAVING abs(n) > 3 AND min(n) > 2",
                "SELECT max(n) AS n FROM (SELECT 1 AS n) AS \"joined 1\" HAVING abs((max(n))) > 3 AND min(n) > 2",
            ),
            (
                "SELECT k, max(n) AS n FROM s.t GROUP BY k ORDER BY min(n) + n, min(k), (SELECT min(n) FROM u)",
                "SELECT k, max(n) AS n FROM s.t GROUP BY k ORDER BY min(t.n) + n, min(k), (SELECT min(n) FROM u)",
            ),
            (
                "SELECT * FROM t, (SELECT 1 AS x), (SELECT 2 AS x) y",
                "SELECT * FROM t, (SELECT 1 AS x) AS \"joined 2\", (SELECT 2 AS x) y",
            ),
            (
                "WITH a AS (SELECT k, unnest(l) AS x FROM t ORDER BY x), b AS (SELECT k FROM a) SELECT * FROM b",
                "WITH a AS (SELECT * FROM (SELECT k, unnest(l) AS x FROM t ORDER BY x) AS \"rows of lists\"), \
                 b AS (SELECT k FROM a) SELECT * FROM b",
            ),
            (
                "SELECT k FROM t WHERE k IN (SELECT x::TEXT FROM u WHERE u.x = k) AND EXISTS (SELECT 1, (u.x)::INT, x + 1 FROM u)",
                "SELECT k FROM t WHERE k IN (SELECT x::TEXT AS \"selected 0\" FROM u WHERE u.x = k) AND \
                 EXISTS (SELECT 1, (u.x)::INT AS \"selected 1\", x + 1 FROM u)",
            ),
            (
                "SELECT k FROM t WHERE k IN (SELECT x FROM u WHERE u.x = k)",
                "SELECT k FROM t WHERE k IN (SELECT x AS \"selected 0\" FROM u WHERE u.x = k)",
            ),
            ("SELECT range FROM Range(3)", "SELECT range FROM Range(3) AS range (range)"),
            (
                "SELECT 1 FROM range(3), Range(4)",
                "SELECT 1 FROM range(3) AS range (range), Range(4) AS \"range 2\" (range)",
            ),
            (
                "SELECT * FROM range(3) AS t(x), generate_series(1, 3) g",
                "SELECT * FROM range(3) AS t (x), generate_series(1, 3) g (generate_series)",
            ),
        ] {
            assert_eq!(changed(sql, put).1, expected);
        }
        for sql in [
            "SELECT min(a) AS n, max(a) AS n FROM t HAVING n > 1",
            "SELECT lower(k) AS k FROM t GROUP BY k HAVING k = 'a'",
            "SELECT max(id) AS id FROM t JOIN u USING(id) GROUP BY k HAVING id > 1",
            "SELECT * FROM (SELECT 1 AS x)",
            "SELECT k FROM t WHERE k IN (SELECT x FROM u WHERE y = k) AND k IN (SELECT x::INT FROM u ORDER BY x LIMIT 1)",
        ] {
            assert_eq!(changed(sql, put).1, sql);
        }
    }

    #[test]
    fn what_has_another_value_each_time_has_no_name_in_conditions_of_groups() {
        for sql in [
            "SELECT count(*) + random() AS r FROM t HAVING r > 0.5",
            "SELECT k, uuid() AS r FROM t GROUP BY k HAVING k > 1 AND lower(r) > 'a'",
            "SELECT k, max(n) + (SELECT Random()) AS r FROM t GROUP BY k HAVING r > 1",
            "SELECT rank() OVER (ORDER BY k) AS n, random() AS r FROM t QUALIFY n > 1 AND r > 0.5",
        ] {
            let error = changed(sql, put).0.expect_err(sql).to_string();
            assert!(error.starts_with("`r` is computed again wherever it is used"), "{error}");
            assert!(error.contains("(line 1, column ") && error.contains("into WITH"), "{error}");
        }
        for sql in [
            "SELECT random() AS r, max(r) FROM t HAVING max(r) > 1",
            "SELECT k, max(n) + (SELECT 1) AS r, random() FROM t GROUP BY k HAVING r > 1",
        ] {
            assert!(changed(sql, put).0.is_ok(), "{sql}");
        }
    }
}
