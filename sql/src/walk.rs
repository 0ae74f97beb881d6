//! Walks over the tree of a statement, compiled once for all visitors.
//!
//! The walk of the parser's crate is generic over its visitor, and is some six thousand functions for each:
//! with forty visitors it was nine tenths of the code of this crate. [`Visit`] and [`VisitMut`] stand in the
//! place of the traits of that crate, and take the same visitors, behind a pointer.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    self, Expr, ObjectName, Query, Select, Statement, TableFactor, ValueWithSpan, Visitor, VisitorMut,
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

/// Calls `each` with every expression, before those that it consists of.
pub(crate) fn visit_expressions<B>(
    tree: &impl Visit,
    each: impl FnMut(&Expr) -> ControlFlow<B>,
) -> ControlFlow<B> {
    tree.visit(&mut Expressions(each))
}

/// Calls `each` with every expression, after those that it consists of.
pub(crate) fn visit_expressions_mut<B>(
    tree: &mut impl VisitMut,
    each: impl FnMut(&mut Expr) -> ControlFlow<B>,
) -> ControlFlow<B> {
    tree.visit(&mut Expressions(each))
}

/// Calls `each` with the name of every table.
pub(crate) fn visit_relations<B>(
    tree: &impl Visit,
    each: impl FnMut(&ObjectName) -> ControlFlow<B>,
) -> ControlFlow<B> {
    tree.visit(&mut Relations(each))
}

struct Expressions<F>(F);

impl<B, F: FnMut(&Expr) -> ControlFlow<B>> Visitor for Expressions<F> {
    type Break = B;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<B> {
        self.0(expr)
    }
}

impl<B, F: FnMut(&mut Expr) -> ControlFlow<B>> VisitorMut for Expressions<F> {
    type Break = B;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<B> {
        self.0(expr)
    }
}

struct Relations<F>(F);

impl<B, F: FnMut(&ObjectName) -> ControlFlow<B>> Visitor for Relations<F> {
    type Break = B;

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<B> {
        self.0(name)
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
