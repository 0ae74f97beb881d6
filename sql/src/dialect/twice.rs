//! Columns that a SELECT has twice: the engine has each name once, so the second `cost` is `cost_1` in it.
//!
//! Invariants
//! - the heading of a result is the one that is written: only subqueries and table expressions have `cost_1`
//! - the names are given from the left: a later column that is called `cost_1` itself is then `cost_1_1`
//! - no other column changes its name, and none that another clause may mean: there the engine refuses both

mod all;
mod casts;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, Distinct, Expr, Ident, ObjectName, OrderByKind, Query, Select, SelectItem, SetExpr, Statement,
    TypedString, Value, Visit, VisitMut, Visitor, VisitorMut, visit_expressions_mut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use self::all::All;
use self::casts::Casts;
use super::calls::call;
use crate::error::SqlError;
use crate::expanded::name;
use crate::translate::OCCURS;

/// Most columns of a SELECT that get such a name.
const MOST: usize = 1000;

/// Gives such columns names of their own.
pub(super) fn apart(sql: &mut Statement) {
    let _ = VisitMut::visit(sql, &mut Twice::default());
}

/// Does so with a name that `*` has too, as an error of the engine says; false if it is not clear which is meant.
pub(super) fn beside_all(sql: &mut Statement, error: &SqlError) -> bool {
    let message = error.message().strip_prefix("column `").and_then(|rest| rest.strip_suffix(OCCURS));
    let Some(column) = message.and_then(|rest| rest.strip_suffix('`')) else { return false };
    let mut changed = sql.clone();
    let mut twice = Twice { only: Some(column.to_owned()), ..Twice::default() };
    let _ = VisitMut::visit(&mut changed, &mut twice);
    if twice.renamed == 1 {
        *sql = changed;
    }
    twice.renamed == 1
}

/// Whether the statement calls a column so: a name that was made here is none of its own.
pub(super) fn is_given(alias: &Ident, column: &str) -> bool {
    let is_made = alias.quote_style.is_some() && alias.span == Span::empty();
    if !is_made {
        return name(alias) == column;
    }
    let number = alias.value.strip_prefix(column).and_then(|rest| rest.strip_prefix('_'));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

#[derive(Default)]
struct Twice {
    /// The name that is looked for beside `*`.
    only: Option<String>,
    renamed: usize,
    /// Queries in parentheses, by where they are, and the names that clauses around them have.
    around: Vec<(*const Query, HashSet<String>)>,
}

impl Twice {
    fn body(&mut self, body: &mut SetExpr, ordered: &HashSet<String>) {
        match body {
            SetExpr::Select(select) => {
                let mut used = Named { names: ordered.clone(), queries: 0 };
                used.clauses(select);
                match &self.only {
                    None => rename(select, &used.names),
                    Some(column) => {
                        self.renamed += usize::from(rename_beside_all(select, column, &used.names));
                    }
                }
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, ordered);
                self.body(right, ordered);
            }
            SetExpr::Query(query) => self.around.push((std::ptr::from_ref(&**query), ordered.clone())),
            _ => {}
        }
    }
}

impl VisitorMut for Twice {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let this = std::ptr::from_ref(&*query);
        let around = self.around.iter().position(|(known, _)| std::ptr::eq(*known, this));
        let names = around.map(|at| self.around.swap_remove(at).1).unwrap_or_default();
        let mut ordered = Named { names, queries: 0 };
        if let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order| &order.kind) {
            let _ = keys.visit(&mut ordered);
        }
        self.body(&mut query.body, &ordered.names);
        ControlFlow::Continue(())
    }
}

/// The columns without a table that expressions name; not in their subqueries.
struct Named {
    names: HashSet<String>,
    queries: usize,
}

impl Named {
    /// Those of the clauses that may mean columns of the result.
    fn clauses(&mut self, select: &Select) {
        let _ = select.group_by.visit(self);
        let _ = select.having.visit(self);
        let _ = select.qualify.visit(self);
        if let Some(Distinct::On(keys)) = &select.distinct {
            let _ = keys.visit(self);
        }
    }
}

impl Visitor for Named {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Identifier(column) = expr
            && self.queries == 0
        {
            self.names.insert(name(column));
        }
        ControlFlow::Continue(())
    }
}

/// A column of a result.
struct Column {
    name: String,
    /// What the engine calls it: casts have the names of what they are of.
    key: String,
    /// What it is, where a column of a table is one with its table and without.
    value: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A column of a table that is named.
    Qualified,
    /// A column alone, or with a name of its own.
    Plain,
    Expression,
}

impl Column {
    fn of(item: &SelectItem, all: &All) -> Option<Self> {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(name(alias))),
            _ => return None,
        };
        let text = expr.to_string();
        let lower = text.to_lowercase();
        if lower.contains("unnest(") || lower.contains("columns(") {
            return None;
        }
        let alias_free = alias.is_none();
        let (own, kind) = match (alias, expr) {
            (Some(alias), _) => (alias, Kind::Plain),
            (None, Expr::Identifier(column)) => (name(column), Kind::Plain),
            (None, Expr::CompoundIdentifier(parts)) if all.is_of_table(parts) => {
                (parts.last().map(name)?, Kind::Qualified)
            }
            (None, _) => (text, Kind::Expression),
        };
        let (key, means) = (key(expr, true), key(expr, false));
        let is_column = alias_free && (kind == Kind::Qualified || matches!(expr, Expr::Identifier(_)));
        let value = if is_column { Ident::with_quote('"', &own).to_string() } else { means };
        Some(Self { name: own, key, value, kind })
    }
}

/// The columns of a result before another.
#[derive(Default)]
struct Before {
    /// Names of columns that have no table before them.
    plain: HashSet<String>,
    /// Names of the others.
    qualified: HashSet<String>,
    /// What stands there without a name of its own.
    keys: HashSet<String>,
    /// What the first column of each name is.
    first: HashMap<String, String>,
}

impl Before {
    /// Whether the engine takes a column for one of these.
    fn has(&self, column: &Column) -> bool {
        match column.kind {
            Kind::Expression => self.keys.contains(&column.key),
            Kind::Qualified => self.plain.contains(&column.name) || self.keys.contains(&column.key),
            Kind::Plain => self.plain.contains(&column.name) || self.qualified.contains(&column.name),
        }
    }

    /// Whether another column than this one has its name.
    fn has_other(&self, column: &Column) -> bool {
        self.first.get(&column.name).is_some_and(|first| *first != column.value)
    }

    fn add(&mut self, column: &Column) {
        self.first.entry(column.name.clone()).or_insert_with(|| column.value.clone());
        match column.kind {
            Kind::Plain => self.plain.insert(column.name.clone()),
            Kind::Qualified => {
                self.qualified.insert(column.name.clone());
                self.keys.insert(column.key.clone())
            }
            Kind::Expression => self.keys.insert(column.key.clone()),
        };
    }
}

/// Names with numbers that no column has.
struct Free {
    taken: HashSet<String>,
    made: HashSet<String>,
    last: HashMap<String, usize>,
}

impl Free {
    fn of(taken: HashSet<String>) -> Self {
        Self { taken, made: HashSet::new(), last: HashMap::new() }
    }

    fn next(&mut self, column: &str) -> Ident {
        let last = self.last.entry(column.to_owned()).or_default();
        loop {
            *last += 1;
            let found = format!("{column}_{last}");
            if self.taken.insert(found.clone()) {
                self.made.insert(found.clone());
                return Ident::with_quote('"', found);
            }
        }
    }
}

/// `used` are the names that other clauses have.
fn rename(select: &mut Select, used: &HashSet<String>) {
    let all = All::of(select);
    let in_all: Vec<bool> = select.projection.iter().map(|item| all.has(item)).collect();
    let (mut free, mut before, mut renamed) = (Free::of(used.clone()), Before::default(), 0);
    let mut casts = Casts::of(select);
    for (item, in_all) in select.projection.iter_mut().zip(in_all) {
        let Some(column) = Column::of(item, &all) else { continue };
        let is_made = free.made.contains(&column.name);
        free.taken.insert(column.name.clone());
        let is_cast = casts.has(item);
        if !in_all && !is_made && !is_cast && !before.has(&column) {
            before.add(&column);
            continue;
        }
        // It is not clear which of them the other clause means.
        if used.contains(&column.name) && before.has_other(&column) {
            continue;
        }
        renamed += 1;
        if renamed > MOST {
            return;
        }
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let (expr, alias) = (expr.clone(), free.next(&column.name));
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
}

/// Renames the only column of this name beside a `*`; false if there is none.
fn rename_beside_all(select: &mut Select, column: &str, used: &HashSet<String>) -> bool {
    let is_all =
        |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    if !select.projection.iter().any(is_all) || used.contains(column) {
        return false;
    }
    let all = All::of(select);
    let columns = select.projection.iter().filter_map(|item| Column::of(item, &all));
    let mut free = Free::of(columns.map(|column| column.name).chain(used.iter().cloned()).collect());
    let mut named = select.projection.iter_mut().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } if name(alias) == column => Some(alias),
        _ => None,
    });
    match (named.next(), named.next()) {
        (Some(alias), None) => {
            *alias = free.next(column);
            true
        }
        _ => false,
    }
}

/// What an expression is, whatever the case of its names, and of the forms that mean the same; or what the
/// engine calls it, `without_casts`.
fn key(expr: &Expr, without_casts: bool) -> String {
    let mut expr = expr.clone();
    let _ = visit_expressions_mut(&mut expr, |part: &mut Expr| {
        match part {
            Expr::Identifier(column) => *column = Ident::with_quote('"', name(column)),
            Expr::CompoundIdentifier(parts) => {
                parts.iter_mut().for_each(|part| *part = Ident::with_quote('"', name(part)));
            }
            Expr::Cast { expr: of, .. } if without_casts => *part = std::mem::replace(&mut **of, null()),
            Expr::TypedString(TypedString { value, .. }) if without_casts => {
                *part = Expr::Value(value.clone());
            }
            Expr::Nested(of) if without_casts && is_simple(of) => {
                *part = std::mem::replace(&mut **of, null());
            }
            Expr::Value(value) if without_casts => {
                if let Value::Number(number, _) = &mut value.value
                    && number.contains(['.', 'e', 'E'])
                    && let Ok(double) = number.parse::<f64>()
                {
                    *number = format!("{double:?}");
                }
            }
            Expr::Cast { kind: kind @ CastKind::DoubleColon, .. } => *kind = CastKind::Cast,
            Expr::Array(array) => *part = call("make_array", std::mem::take(&mut array.elem)),
            Expr::Function(function) => {
                if let [only] = function.name.0.as_slice()
                    && let Some(only) = only.as_ident()
                {
                    function.name = ObjectName::from(vec![Ident::new(name(only))]);
                }
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    while let Expr::Nested(inner) = expr {
        expr = *inner;
    }
    expr.to_string()
}

fn null() -> Expr {
    Expr::value(Value::Null)
}

/// Whether parentheses around an expression change nothing.
fn is_simple(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Value(_)
            | Expr::Function(_)
            | Expr::Nested(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::inner;

    fn renamed(sql: &str) -> String {
        let mut statement = crate::guard::parse(sql).unwrap();
        apart(inner(&mut statement).unwrap());
        statement.to_string()
    }

    #[test]
    fn the_second_of_two_columns_has_a_number() {
        for (sql, expected) in [
            (
                "SELECT cost, Cost, t.cost FROM t",
                r#"SELECT cost, Cost AS "cost_1", t.cost AS "cost_2" FROM t"#,
            ),
            (
                "SELECT a::INT, a::REAL, d::DATE, d, (a + 1)::INT, (a::INT + 1) FROM t",
                r#"SELECT a::INT, a::REAL AS "a::REAL_1", d::DATE AS "d::DATE_1", d, (a + 1)::INT, (a::INT + 1) AS "(a::INT + 1)_1" FROM t"#,
            ),
            ("SELECT round(2.5), round(2.5e0)", r#"SELECT round(2.5), round(2.5e0) AS "round(2.5e0)_1""#),
            ("SELECT *, cost::INT FROM t", r#"SELECT *, cost::INT AS "cost::INT_1" FROM t"#),
            ("SELECT *, cost FROM t", r#"SELECT *, cost AS "cost_1" FROM t"#),
            ("SELECT *, a AS a, b FROM t", r#"SELECT *, a AS "a_1", b AS "b_1" FROM t"#),
            ("SELECT t.*, t.cost, cost FROM t", r#"SELECT t.*, t.cost AS "cost_1", cost AS "cost_2" FROM t"#),
            ("SELECT 1 AS a, 2 AS a, 3 AS a_1", r#"SELECT 1 AS a, 2 AS "a_1", 3 AS "a_1_1""#),
            ("SELECT 1 AS a_1, 2 AS a, 3 AS a", r#"SELECT 1 AS a_1, 2 AS a, 3 AS "a_2""#),
            ("SELECT a, t.a FROM t ORDER BY a + 1", r#"SELECT a, t.a AS "a_1" FROM t ORDER BY a + 1"#),
            ("SELECT id, upper(id) AS id FROM t", r#"SELECT id, upper(id) AS "id_1" FROM t"#),
            (
                "SELECT make_array(1, 2), [1, 2], a::INT, (CAST(A AS INT)) FROM t",
                r#"SELECT make_array(1, 2), [1, 2] AS "[1, 2]_1", a::INT, (CAST(A AS INT)) AS "(CAST(A AS INT))_1" FROM t"#,
            ),
            (
                "WITH RECURSIVE f (a, b, n) AS (SELECT 0, 1, 1 UNION ALL SELECT b, B, n + 1 FROM f) SELECT a FROM f",
                r#"WITH RECURSIVE f (a, b, n) AS (SELECT 0, 1, 1 AS "1_1" UNION ALL SELECT b, B AS "b_1", n + 1 FROM f) SELECT a FROM f"#,
            ),
        ] {
            assert_eq!(renamed(sql), expected);
        }
        for sql in [
            "SELECT a.id, b.id FROM a JOIN b ON a.x = b.x",
            "SELECT * EXCLUDE (cost), cost FROM t",
            "SELECT *, text FROM t",
            "SELECT *, s.field FROM t",
            "SELECT s.id, id FROM t",
            "SELECT b.k, * FROM a LEFT JOIN b USING(k)",
            "SELECT a.*, x FROM a CROSS JOIN b",
            "SELECT id, upper(id) AS id FROM t ORDER BY id",
            "SELECT -id AS id, id FROM t ORDER BY id",
            "SELECT a AS k, b AS k FROM t ORDER BY k + 0",
            "SELECT a AS k, b AS k FROM t GROUP BY k",
            "SELECT a AS k, max(b) AS k FROM t GROUP BY a HAVING k > 5",
            "SELECT a AS k, b AS k FROM t QUALIFY row_number() OVER (ORDER BY k) = 1",
            "(SELECT a, -a AS a FROM t) ORDER BY a",
            "((SELECT a, -a AS a FROM t) UNION ALL SELECT 1, 2) ORDER BY a",
            "SELECT DISTINCT ON (k) a AS k, b AS k FROM t",
        ] {
            assert_eq!(renamed(sql), sql);
        }
    }

    #[test]
    fn a_name_that_all_columns_have_too_has_a_number() {
        let error = SqlError::invalid(format!("column `id`{OCCURS}"));
        let beside = |sql: &str| {
            let mut statement = crate::guard::parse(sql).unwrap();
            let found = beside_all(inner(&mut statement).unwrap(), &error);
            (found, statement.to_string())
        };
        let expected = r#"SELECT id FROM (SELECT *, upper(id) AS "id_1" FROM t)"#;
        assert_eq!(beside("SELECT id FROM (SELECT *, upper(id) AS id FROM t)"), (true, expected.to_owned()));
        for sql in [
            "SELECT *, upper(id) AS id FROM t ORDER BY id",
            "SELECT *, upper(id) AS id FROM t ORDER BY lower(id)",
            "SELECT *, 1 AS id FROM t UNION ALL SELECT *, 2 AS id FROM t",
            "SELECT 1 AS id FROM t",
        ] {
            assert_eq!(beside(sql), (false, sql.to_owned()));
        }
    }
}
