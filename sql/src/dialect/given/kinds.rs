//! Kinds of expressions that are copied (aggregates, windows, volatile ones), and their sizes.

use std::ops::ControlFlow;

use datafusion::execution::SessionState;
use datafusion::logical_expr::Volatility;
use datafusion::sql::sqlparser::ast::{Expr, Visitor};

use crate::walk::{visit_expressions, visit_queries};

pub(super) struct ExpressionParts {
    pub(super) aggregate: bool,
    pub(super) window: bool,
    /// Functions that give another value each time, and subqueries.
    pub(super) volatile: bool,
}

impl ExpressionParts {
    pub(super) fn of(value: &Expr, state: &SessionState) -> Self {
        let has_query = visit_queries(value, |_| true);
        let mut parts = Self { aggregate: false, window: false, volatile: has_query };
        visit_expressions(value, |expr| {
            let Expr::Function(function) = expr else { return };
            let called = function.name.to_string().to_ascii_lowercase();
            let scalar = state.scalar_functions().get(&called);
            parts.volatile |=
                scalar.is_some_and(|scalar| scalar.signature().volatility == Volatility::Volatile);
            match function.over.is_some() {
                true => parts.window = true,
                false => parts.aggregate |= state.aggregate_functions().contains_key(&called),
            }
        });
        parts
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
