//! Kinds of expressions that are copied (aggregates, windows, volatile ones), and their sizes.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Visitor};

use crate::names::{is_aggregate, is_volatile};
use crate::walk::{visit_expressions, visit_queries};

pub(in crate::dialect) struct ExpressionParts {
    pub(super) aggregate: bool,
    pub(super) window: bool,
    pub(super) query: bool,
    /// Functions that give another value each time, also in a subquery.
    pub(in crate::dialect) volatile: bool,
}

impl ExpressionParts {
    pub(in crate::dialect) fn of(value: &Expr) -> Self {
        let query = visit_queries(value, |_| true);
        let mut parts = Self { aggregate: false, window: false, query, volatile: false };
        visit_expressions(value, |expr| {
            let Expr::Function(function) = expr else { return };
            let called = function.name.to_string().to_ascii_lowercase();
            parts.volatile |= is_volatile(&called);
            match function.over.is_some() {
                true => parts.window = true,
                false => parts.aggregate |= is_aggregate(&called),
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
