//! Names of columns: those that the clauses of a query have, and new ones.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Distinct, Expr, Ident, OrderByKind, Query, Select, Visitor};

use crate::expanded::name;
use crate::walk::{Visit, count_subqueries};

/// The columns without a table that expressions name; not in their subqueries.
pub(super) struct UnqualifiedNames {
    pub(super) names: HashSet<String>,
    queries: usize,
}

impl UnqualifiedNames {
    /// In addition to those that are known.
    pub(super) fn beside(names: HashSet<String>) -> Self {
        Self { names, queries: 0 }
    }

    /// Those of the order of a query, too.
    pub(super) fn ordered(query: &Query, names: HashSet<String>) -> HashSet<String> {
        let mut ordered = Self::beside(names);
        if let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order| &order.kind) {
            let _ = keys.visit(&mut ordered);
        }
        ordered.names
    }

    /// Those of the clauses that may mean columns of the result.
    pub(super) fn clauses(&mut self, select: &Select) {
        let _ = select.group_by.visit(self);
        let _ = select.having.visit(self);
        let _ = select.qualify.visit(self);
        if let Some(Distinct::On(keys)) = &select.distinct {
            let _ = keys.visit(self);
        }
    }
}

impl Visitor for UnqualifiedNames {
    type Break = ();

    count_subqueries!(queries, &Query);

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Identifier(column) = expr
            && self.queries == 0
        {
            self.names.insert(name(column));
        }
        ControlFlow::Continue(())
    }
}

/// Names with numbers that no column has.
pub(super) struct FreeNames {
    pub(super) taken: HashSet<String>,
    pub(super) made: HashSet<String>,
    last: HashMap<String, usize>,
}

impl FreeNames {
    pub(super) fn of(taken: HashSet<String>) -> Self {
        Self { taken, made: HashSet::new(), last: HashMap::new() }
    }

    pub(super) fn next(&mut self, column: &str) -> Ident {
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
