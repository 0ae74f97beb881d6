//! The table expressions that can be named at a place in a statement: those of the queries around it; and
//! walks that end where the engine is to be asked about such a place.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{Cte, Query, With};

use crate::error::SqlError;
use crate::expanded::name;

/// Why a walk ends before the end of a statement.
pub(super) enum Stop<Q> {
    /// A part is done; what is behind it may name it.
    Again,
    /// What has to be asked first.
    Ask(Box<Q>),
    Wrong(Box<SqlError>),
}

impl<Q> From<SqlError> for Stop<Q> {
    fn from(error: SqlError) -> Self {
        Self::Wrong(Box::new(error))
    }
}

/// What has to be asked, by walks until one comes to that or to the end of the statement.
pub(super) fn question<Q>(mut walk: impl FnMut() -> ControlFlow<Stop<Q>>) -> Result<Option<Q>, SqlError> {
    loop {
        match walk() {
            ControlFlow::Continue(()) => return Ok(None),
            ControlFlow::Break(Stop::Again) => {}
            ControlFlow::Break(Stop::Ask(question)) => return Ok(Some(*question)),
            ControlFlow::Break(Stop::Wrong(error)) => return Err(*error),
        }
    }
}

/// Table expressions of a query, and how many of the queries in it were entered: its table expressions first.
struct Scope {
    recursive: bool,
    tables: Vec<Cte>,
    entered: usize,
}

/// Those of the queries around a place in a statement.
#[derive(Default)]
pub(super) struct Scopes(Vec<Scope>);

impl Scopes {
    pub(super) fn enter(&mut self, query: &Query) {
        if let Some(around) = self.0.last_mut() {
            around.entered += 1;
        }
        let (recursive, tables) = match &query.with {
            Some(with) => (with.recursive, with.cte_tables.clone()),
            None => (false, Vec::new()),
        };
        self.0.push(Scope { recursive, tables, entered: 0 });
    }

    pub(super) fn leave(&mut self) {
        self.0.pop();
    }

    /// The table expressions that a query can name: those of a query around it end before the one that it is
    /// in.
    pub(super) fn with(&self) -> Option<With> {
        let mut cte_tables: Vec<Cte> = Vec::new();
        for (depth, scope) in self.0.iter().rev().enumerate() {
            let before = if depth == 0 { scope.tables.len() } else { scope.entered.saturating_sub(1) };
            let hidden =
                |table: &Cte| cte_tables.iter().any(|own| name(&own.alias.name) == name(&table.alias.name));
            let known: Vec<Cte> =
                scope.tables.iter().take(before).filter(|table| !hidden(table)).cloned().collect();
            drop(cte_tables.splice(0..0, known));
        }
        let recursive = self.0.iter().any(|scope| scope.recursive);
        (!cte_tables.is_empty()).then(|| With { with_token: AttachedToken::empty(), recursive, cte_tables })
    }
}
