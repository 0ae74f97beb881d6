//! Names of columns: those that the clauses of a query have, and new ones.

use std::collections::{HashMap, HashSet};

use datafusion::sql::sqlparser::ast::{Distinct, Expr, Ident, OrderByKind, Query, Select};

use crate::expanded::name;
use crate::walk::{Visit, visit_own_expressions};

/// These names, and the columns without a table that the order of a query names.
pub(super) fn with_order(mut names: HashSet<String>, query: &Query) -> HashSet<String> {
    if let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order| &order.kind) {
        add(&mut names, keys);
    }
    names
}

/// The same of the clauses of a SELECT that may mean columns of the result.
pub(super) fn with_clauses(mut names: HashSet<String>, select: &Select) -> HashSet<String> {
    add(&mut names, &select.group_by);
    add(&mut names, &select.having);
    add(&mut names, &select.qualify);
    if let Some(Distinct::On(keys)) = &select.distinct {
        add(&mut names, keys);
    }
    names
}

/// Adds the columns without a table that a part names; not in its subqueries.
fn add(names: &mut HashSet<String>, part: &impl Visit) {
    visit_own_expressions(part, |expr| {
        if let Expr::Identifier(column) = expr {
            names.insert(name(column));
        }
    });
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
