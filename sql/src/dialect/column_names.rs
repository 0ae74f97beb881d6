//! Names of columns: those that the clauses of a query have, and new ones.

use std::collections::{HashMap, HashSet};

use datafusion::sql::sqlparser::ast::{Distinct, Expr, Ident, OrderByKind, Query, Select};

use crate::expanded::name;
use crate::walk::{Visit, visit_own_expressions};

/// The columns without a table that expressions name; not in their subqueries.
pub(super) struct UnqualifiedNames {
    pub(super) names: HashSet<String>,
}

impl UnqualifiedNames {
    /// In addition to those that are known.
    pub(super) fn beside(names: HashSet<String>) -> Self {
        Self { names }
    }

    /// Those of the order of a query, too.
    pub(super) fn ordered(query: &Query, names: HashSet<String>) -> HashSet<String> {
        let mut ordered = Self::beside(names);
        if let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order| &order.kind) {
            ordered.add(keys);
        }
        ordered.names
    }

    /// Those of the clauses that may mean columns of the result.
    pub(super) fn clauses(&mut self, select: &Select) {
        self.add(&select.group_by);
        self.add(&select.having);
        self.add(&select.qualify);
        if let Some(Distinct::On(keys)) = &select.distinct {
            self.add(keys);
        }
    }

    fn add(&mut self, part: &impl Visit) {
        visit_own_expressions(part, |expr| {
            if let Expr::Identifier(column) = expr {
                self.names.insert(name(column));
            }
        });
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
