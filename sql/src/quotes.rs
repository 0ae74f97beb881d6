//! Hints about names that are no columns: text in double quotes, and names that the statement gives itself.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Select, SelectItem, Visit, Visitor};

use super::error::{SqlError, SqlErrorKind};
use super::parameters::inner;

/// Names of a statement that may be meant otherwise than they are read.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// In double quotes.
    quoted: Vec<String>,
    /// Given with AS.
    given: Vec<String>,
}

impl Names {
    pub(super) fn of(statement: &mut Statement) -> Self {
        let mut names = Self::default();
        if let Some(sql) = inner(statement) {
            let _ = Visit::visit(&*sql, &mut names);
        }
        names
    }

    /// An error about a column that is not there, with a hint where its name was meant as something else.
    pub(super) fn explain(&self, error: SqlError) -> SqlError {
        if error.kind() != SqlErrorKind::Unknown || error.has_guess() {
            return error;
        }
        let missing = |name: &&String| error.message() == format!("there is no column `{name}`");
        if let Some(name) = self.quoted.iter().find(missing) {
            let text = name.replace('\'', "''");
            return error
                .hint(format!("double quotes are for names; text stands in single quotes: '{text}'"));
        }
        if self.given.iter().any(|name| missing(&name)) {
            return error.hint("a name given with AS is not known in its own SELECT and WHERE: repeat the expression, or put it into a subquery");
        }
        error
    }
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && name.quote_style == Some('"')
        {
            self.quoted.push(name.value.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.given.push(if alias.quote_style.is_some() {
                    alias.value.clone()
                } else {
                    alias.value.to_lowercase()
                });
            }
        }
        ControlFlow::Continue(())
    }
}
