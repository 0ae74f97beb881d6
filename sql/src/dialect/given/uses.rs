//! Uses of a name that a SELECT gives, and what is put there; not in subqueries, whose columns are their own.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Select, Visitor};

use crate::expanded::name;
use crate::positions::{self, TextPosition};
use crate::walk::{Visit, VisitMut, count_subqueries, visit_own_expressions_mut};

/// Looks for a name; not in subqueries, which have columns of their own.
pub(super) struct NameUses<'a> {
    column: &'a str,
    place: Option<TextPosition>,
    queries: usize,
    /// Expressions around what is visited, with it.
    depth: usize,
    /// How often the name stands there.
    pub(super) count: usize,
    /// The most expressions that it stands in.
    pub(super) deepest: usize,
    /// Whether it stands in the place that is looked for.
    pub(super) is_meant: bool,
}

impl<'a> NameUses<'a> {
    /// Behind an item of a SELECT, and in WHERE.
    pub(super) fn of(select: &Select, at: usize, column: &'a str, place: Option<TextPosition>) -> Self {
        let mut uses = Self { column, place, queries: 0, depth: 0, count: 0, deepest: 0, is_meant: false };
        for item in select.projection.iter().skip(at + 1) {
            let _ = item.visit(&mut uses);
        }
        let _ = select.selection.visit(&mut uses);
        let _ = select.named_window.visit(&mut uses);
        uses
    }
}

impl Visitor for NameUses<'_> {
    type Break = ();

    count_subqueries!(queries, &Query);

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.depth += 1;
        if let Expr::Identifier(other) = expr
            && self.queries == 0
            && name(other) == self.column
        {
            self.count += 1;
            self.deepest = self.deepest.max(self.depth);
            self.is_meant |= self.place.is_none_or(|place| place == positions::place(other));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Puts a value in the place of a name; false if the name is not there.
pub(super) fn put(part: &mut impl VisitMut, column: &str, value: &Expr) -> bool {
    let mut is_there = false;
    visit_own_expressions_mut(part, |expr| {
        if matches!(expr, Expr::Identifier(other) if name(other) == column) {
            *expr = value.clone();
            is_there = true;
        }
    });
    is_there
}
