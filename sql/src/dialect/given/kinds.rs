//! Kinds of expressions that are copied (aggregates, windows, volatile ones), and their sizes.

use std::ops::ControlFlow;

use datafusion::execution::SessionState;
use datafusion::logical_expr::Volatility;
use datafusion::sql::sqlparser::ast::{Expr, Query, Visitor};

use crate::walk::Visit;

/// The parts of an expression.
pub(super) struct ExpressionParts<'a> {
    state: &'a SessionState,
    pub(super) aggregate: bool,
    pub(super) window: bool,
    /// Functions that give another value each time, and subqueries.
    pub(super) anew: bool,
}

impl<'a> ExpressionParts<'a> {
    pub(super) fn of(value: &Expr, state: &'a SessionState) -> Self {
        let mut kinds = Self { state, aggregate: false, window: false, anew: false };
        let _ = value.visit(&mut kinds);
        kinds
    }
}

impl Visitor for ExpressionParts<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.anew = true;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let called = function.name.to_string().to_ascii_lowercase();
        let scalar = self.state.scalar_functions().get(&called);
        self.anew |= scalar.is_some_and(|scalar| scalar.signature().volatility == Volatility::Volatile);
        match function.over.is_some() {
            true => self.window = true,
            false => self.aggregate |= self.state.aggregate_functions().contains_key(&called),
        }
        ControlFlow::Continue(())
    }
}

/// How many expressions there are, and the most that are in one another.
#[derive(Default)]
pub(super) struct ExpressionSize {
    pub(super) expressions: usize,
    depth: usize,
    pub(super) deepest: usize,
}

impl Visitor for ExpressionSize {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.expressions += 1;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}
