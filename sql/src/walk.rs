//! Walks over the tree of a statement, compiled once for all visitors.
//!
//! The walk of the parser's crate is generic over its visitor, and is some six thousand functions for each:
//! with forty visitors it was nine tenths of the code of this crate. [`Visit`] and [`VisitMut`] stand in the
//! place of the traits of that crate, and take the same visitors, behind a pointer.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    self, Expr, ObjectName, OrderBy, Query, Select, SetExpr, Statement, TableFactor, ValueWithSpan, Visitor,
    VisitorMut,
};

/// Goes on after a part without an error; an error ends the walk.
pub(crate) fn break_on_error<E>(result: Result<(), E>) -> ControlFlow<Box<E>> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(Box::new(error)),
    }
}

/// The error that ended a walk, if one did.
pub(crate) fn error_of<E>(walk: ControlFlow<Box<E>>) -> Result<(), E> {
    match walk {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// What is walked over and left as it is.
pub(crate) trait Visit {
    /// Shows each part to `visitor`, until it breaks.
    fn visit<V: Visitor>(&self, visitor: &mut V) -> ControlFlow<V::Break>;
}

impl<T: ast::Visit> Visit for T {
    fn visit<V: Visitor>(&self, visitor: &mut V) -> ControlFlow<V::Break> {
        let mut kept: BreakKeeper<'_, V, V::Break> = BreakKeeper { visitor, with: None };
        let _ = ast::Visit::visit(self, &mut DynVisitor(&mut kept));
        kept.with.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }
}

/// What is walked over and changed.
pub(crate) trait VisitMut {
    /// Shows each part to `visitor`, until it breaks.
    fn visit<V: VisitorMut>(&mut self, visitor: &mut V) -> ControlFlow<V::Break>;
}

impl<T: ast::VisitMut> VisitMut for T {
    fn visit<V: VisitorMut>(&mut self, visitor: &mut V) -> ControlFlow<V::Break> {
        let mut kept: BreakKeeper<'_, V, V::Break> = BreakKeeper { visitor, with: None };
        let _ = ast::VisitMut::visit(self, &mut DynVisitorMut(&mut kept));
        kept.with.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }
}

/// The methods of a visitor by which a field of it is the number of subqueries around what is visited.
macro_rules! count_subqueries {
    ($number:ident, $query:ty) => {
        fn pre_visit_query(&mut self, _: $query) -> std::ops::ControlFlow<Self::Break> {
            self.$number += 1;
            std::ops::ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: $query) -> std::ops::ControlFlow<Self::Break> {
            self.$number -= 1;
            std::ops::ControlFlow::Continue(())
        }
    };
}
pub(crate) use count_subqueries;

/// The statement that a parsed text holds, of one that is explained too.
pub(crate) fn inner(statement: &mut Parsed) -> Option<&mut Statement> {
    match statement {
        Parsed::Statement(sql) => Some(sql),
        Parsed::Explain(explain) => inner(&mut explain.statement),
        _ => None,
    }
}

/// What a closure gives back of a part that it is shown, and what a walk gives back with it. A closure that only
/// looks gives `()`: a `bool` that is true, or something found, ends the walk.
pub(crate) trait Step: Sized {
    /// Of a walk that went on to its end.
    const DONE: Self;

    fn ends(&self) -> bool;
}

impl Step for () {
    const DONE: Self = ();

    fn ends(&self) -> bool {
        false
    }
}

/// Whether something is found.
impl Step for bool {
    const DONE: Self = false;

    fn ends(&self) -> bool {
        *self
    }
}

/// What is found.
impl<T> Step for Option<T> {
    const DONE: Self = None;

    fn ends(&self) -> bool {
        self.is_some()
    }
}

impl<E> Step for Result<(), E> {
    const DONE: Self = Ok(());

    fn ends(&self) -> bool {
        self.is_err()
    }
}

/// Writes out functions that call `each` with the parts of one kind, by this method of a visitor; `without`
/// queries, not with those in subqueries.
macro_rules! walks {
    ($(
        $(#[$doc:meta])*
        $name:ident($tree:ty, $part:ty) by $visitor:ident::$method:ident $(without $query:ty)?;
    )+) => {
        $($(#[$doc])*
        pub(crate) fn $name<S: Step>(tree: $tree, each: impl FnMut($part) -> S) -> S {
            struct Parts<F> {
                each: F,
                queries: usize,
            }

            impl<S: Step, F: FnMut($part) -> S> $visitor for Parts<F> {
                type Break = S;

                $(count_subqueries!(queries, $query);)?

                fn $method(&mut self, part: $part) -> ControlFlow<S> {
                    if self.queries > 0 {
                        return ControlFlow::Continue(());
                    }
                    let step = (self.each)(part);
                    if step.ends() { ControlFlow::Break(step) } else { ControlFlow::Continue(()) }
                }
            }

            match tree.visit(&mut Parts { each, queries: 0 }) {
                ControlFlow::Continue(()) => S::DONE,
                ControlFlow::Break(step) => step,
            }
        })+
    };
}

walks! {
    /// Every expression, before those that it consists of.
    visit_expressions(&impl Visit, &Expr) by Visitor::pre_visit_expr;
    /// Every expression, after those that it consists of.
    visit_expressions_mut(&mut impl VisitMut, &mut Expr) by VisitorMut::post_visit_expr;
    /// Every expression that is in no subquery, before those that it consists of.
    visit_own_expressions(&impl Visit, &Expr) by Visitor::pre_visit_expr without &Query;
    /// Every expression that is in no subquery, after those that it consists of.
    visit_own_expressions_mut(&mut impl VisitMut, &mut Expr)
        by VisitorMut::post_visit_expr without &mut Query;
    /// The name of every table.
    visit_relations(&impl Visit, &ObjectName) by Visitor::pre_visit_relation;
    /// Every table of FROM, before those in it.
    visit_tables(&impl Visit, &TableFactor) by Visitor::pre_visit_table_factor;
    /// Every table of FROM, after those in it.
    visit_tables_mut(&mut impl VisitMut, &mut TableFactor) by VisitorMut::post_visit_table_factor;
    /// Every SELECT, before those in it.
    visit_selects(&impl Visit, &Select) by Visitor::pre_visit_select;
    /// Every SELECT, before those in it.
    visit_selects_mut(&mut impl VisitMut, &mut Select) by VisitorMut::pre_visit_select;
    /// Every query, before those in it.
    visit_queries(&impl Visit, &Query) by Visitor::pre_visit_query;
    /// Every query, before those in it.
    visit_queries_mut(&mut impl VisitMut, &mut Query) by VisitorMut::pre_visit_query;
}

/// Every SELECT of the body of a query, which is not in a subquery, with the order that is its own.
pub(crate) fn visit_body_mut<S: Step>(
    body: &mut SetExpr,
    order: Option<&mut OrderBy>,
    each: &mut impl FnMut(&mut Select, Option<&mut OrderBy>) -> S,
) -> S {
    match body {
        SetExpr::Select(select) => each(select, order),
        SetExpr::SetOperation { left, right, .. } => {
            let first = visit_body_mut(left, None, each);
            if first.ends() { first } else { visit_body_mut(right, None, each) }
        }
        _ => S::DONE,
    }
}

/// A visitor, and what it broke with.
struct BreakKeeper<'a, V, B> {
    visitor: &'a mut V,
    with: Option<B>,
}

impl<V, B> BreakKeeper<'_, V, B> {
    fn keep(&mut self, flow: ControlFlow<B>) -> ControlFlow<()> {
        match flow {
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
            ControlFlow::Break(with) => {
                self.with = Some(with);
                ControlFlow::Break(())
            }
        }
    }
}

/// The one visitor over which walks are generic, and the one of those that change.
struct DynVisitor<'a>(&'a mut dyn Visitor<Break = ()>);
struct DynVisitorMut<'a>(&'a mut dyn VisitorMut<Break = ()>);

/// Writes out a form of method for all methods of a visitor, or of one that changes what it is shown (`mut`).
macro_rules! methods {
    ($form:ident $($how:tt)?) => {
        $form! {
            pre_visit_query(&$($how)? Query), post_visit_query(&$($how)? Query),
            pre_visit_select(&$($how)? Select), post_visit_select(&$($how)? Select),
            pre_visit_relation(&$($how)? ObjectName), post_visit_relation(&$($how)? ObjectName),
            pre_visit_table_factor(&$($how)? TableFactor), post_visit_table_factor(&$($how)? TableFactor),
            pre_visit_expr(&$($how)? Expr), post_visit_expr(&$($how)? Expr),
            pre_visit_statement(&$($how)? Statement), post_visit_statement(&$($how)? Statement),
            pre_visit_value(&$($how)? ValueWithSpan), post_visit_value(&$($how)? ValueWithSpan),
        }
    };
}

macro_rules! kept {
    ($($method:ident($part:ty),)+) => {
        $(fn $method(&mut self, part: $part) -> ControlFlow<()> {
            let flow = self.visitor.$method(part);
            self.keep(flow)
        })+
    };
}

macro_rules! behind {
    ($($method:ident($part:ty),)+) => {
        $(fn $method(&mut self, part: $part) -> ControlFlow<()> {
            self.0.$method(part)
        })+
    };
}

impl<V: Visitor> Visitor for BreakKeeper<'_, V, V::Break> {
    type Break = ();

    methods! { kept }
}

impl<V: VisitorMut> VisitorMut for BreakKeeper<'_, V, V::Break> {
    type Break = ();

    methods! { kept mut }
}

impl Visitor for DynVisitor<'_> {
    type Break = ();

    methods! { behind }
}

impl VisitorMut for DynVisitorMut<'_> {
    type Break = ();

    methods! { behind mut }
}

// Behind the macros, which it uses.
#[cfg(test)]
mod tests;
