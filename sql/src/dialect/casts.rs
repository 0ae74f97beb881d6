//! Expressions that a SELECT has twice but for their casts: `avg(x), avg(x::DOUBLE)`.
//!
//! The engine calls a cast what it is of, and refuses two columns of one name. Here such a cast is the
//! argument of [`AS_TYPE`](gstore_functions::AS_TYPE), which gives it back, with the name of its type.

mod grouped;
mod names;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Distinct, Expr, OrderBy, Query, Select, Statement, VisitorMut};

use self::names::Names;
use super::twice::key;
use crate::error::SqlError;
use crate::walk::{VisitMut, count_subqueries, visit_body_mut, visit_queries_mut};
use crate::wording::{OCCURS, TWICE};

/// Longest SELECT whose casts get names, in bytes: each of its expressions is written out with all that is in
/// it.
const LONGEST: usize = 20_000;

/// Whether an error is about two columns of one name.
pub(super) fn is_of_names(error: &SqlError) -> bool {
    error.message().starts_with(TWICE) || error.message().ends_with(OCCURS)
}

/// Whether it is about two that the engine calls alike, and the statement perhaps not.
pub(super) fn is_of_spellings(error: &SqlError) -> bool {
    error.message().starts_with(TWICE)
}

/// Gives such casts names of their own; false if there are none.
pub(super) fn name(sql: &mut Statement) -> bool {
    named(sql, NamedCasts::All) > 0
}

/// The same for casts of columns that a query groups by with them: there the engine's planner sees no error,
/// and its analysis takes the one for the other.
pub(super) fn name_grouped(sql: &mut Statement) {
    named(sql, NamedCasts::Grouped);
}

/// How many casts got names.
fn named(sql: &mut Statement, which: NamedCasts) -> usize {
    let mut named = 0;
    visit_queries_mut(sql, |query| {
        visit_body_mut(&mut query.body, query.order_by.as_mut(), &mut |select, order| {
            named += named_in(select, order, which);
        });
    });
    named
}

fn named_in(select: &mut Select, mut order: Option<&mut OrderBy>, which: NamedCasts) -> usize {
    let grouped = match which {
        NamedCasts::All => None,
        NamedCasts::Grouped => Some(grouped::unclear(select)),
    };
    let ordered = || order.as_deref().map_or(0, |order| order.to_string().len());
    if grouped.as_ref().is_some_and(HashSet::is_empty)
        || select.to_string().len().saturating_add(ordered()) > LONGEST
    {
        return 0;
    }
    let unclear = match grouped {
        Some(grouped) => grouped,
        None => unclear(select, order.as_deref_mut()),
    };
    let mut names = Names::new(&unclear);
    clauses(select, order, &mut names);
    names.named
}

/// Which casts get names.
#[derive(Clone, Copy)]
enum NamedCasts {
    All,
    Grouped,
}

/// Visits what names columns of the tables or of the result, but for the conditions on rows.
fn clauses(select: &mut Select, order: Option<&mut OrderBy>, visitor: &mut impl VisitorMut) {
    let _ = VisitMut::visit(&mut select.projection, visitor);
    let _ = VisitMut::visit(&mut select.group_by, visitor);
    let _ = VisitMut::visit(&mut select.having, visitor);
    let _ = VisitMut::visit(&mut select.qualify, visitor);
    let _ = VisitMut::visit(&mut select.named_window, visitor);
    if let Some(Distinct::On(keys)) = &mut select.distinct {
        let _ = VisitMut::visit(keys, visitor);
    }
    if let Some(order) = order {
        let _ = VisitMut::visit(order, visitor);
    }
}

/// What a SELECT has in several forms, as the engine calls it.
fn unclear(select: &mut Select, order: Option<&mut OrderBy>) -> HashSet<String> {
    let mut found = SelectCasts::default();
    clauses(select, order, &mut found);
    found.forms.into_iter().filter(|(_, forms)| forms.len() > 1).map(|(of, _)| of).collect()
}

/// What a SELECT has, but for its subqueries, and the forms of each with casts and without.
#[derive(Default)]
struct SelectCasts {
    queries: usize,
    /// What is cast, by where it is.
    cast: Vec<*const Expr>,
    /// By what the engine calls it.
    forms: HashMap<String, HashSet<String>>,
}

impl VisitorMut for SelectCasts {
    type Break = ();

    count_subqueries!(queries, &mut Query);

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.queries > 0 {
            return ControlFlow::Continue(());
        }
        // A cast stands for what is in it.
        let is_cast = self.cast.pop_if(|of| std::ptr::eq(*of, &*expr)).is_some();
        if let Expr::Cast { expr: of, .. } = expr {
            self.cast.push(std::ptr::from_ref(&**of));
        }
        if !is_cast {
            self.forms.entry(key(expr, true)).or_default().insert(key(expr, false));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::tests::changed;

    #[test]
    fn casts_beside_what_they_are_of_have_names() {
        for (sql, expected) in [
            (
                "SELECT avg(x), avg(x::DOUBLE) FROM t ORDER BY avg(X::DOUBLE)",
                "SELECT avg(x), avg(as_type(x::DOUBLE, 'DOUBLE')) FROM t ORDER BY avg(as_type(X::DOUBLE, 'DOUBLE'))",
            ),
            (
                "SELECT count(*) FROM t GROUP BY f(x)::INT, TRY_CAST(f(x) AS INTEGER), y::INT",
                "SELECT count(*) FROM t GROUP BY as_type(f(x)::INT, 'INTEGER'), as_type(TRY_CAST(f(x) AS INTEGER), 'try INTEGER'), y::INT",
            ),
            (
                "SELECT x, (SELECT max(x::INT) FROM u), x::REAL::INT FROM t WHERE x::TEXT = 'a'",
                "SELECT x, (SELECT max(x::INT) FROM u), as_type(as_type(x::REAL, 'REAL')::INT, 'INTEGER') FROM t WHERE x::TEXT = 'a'",
            ),
        ] {
            assert_eq!(changed(sql, name), (true, expected.to_owned()));
        }
        assert!(!changed("SELECT x::INT, avg(y::DOUBLE), avg(y::DOUBLE) FROM t", name).0);
        let long = format!("SELECT avg(x), avg(x::INT), x IN ({}) FROM t", vec!["1"; 10_000].join(", "));
        assert!(!changed(&long, name).0);
        let digits = changed("SELECT x FROM t GROUP BY x, x::DECIMAL(9,2), x::NUMERIC(9,2)", name);
        assert_eq!((digits.0, digits.1.matches("'DECIMAL(9,2)'").count()), (true, 2));
    }
}
