//! Names that a SELECT gives with AS, in its own WHERE and in what follows them in it: `SELECT cost * 2 AS
//! twice, twice + 1 FROM t WHERE twice > 10`. What is computed takes the place of the name.
//!
//! Invariants
//! - a column of a table goes before, also one in letters of another case: a name is looked up only where
//!   there is none
//! - what has another value each time, or is computed by a subquery, stands in one place only
//! - the expressions that stand more than once are limited together, and so is how deep they are in one
//!   another

mod kinds;
#[cfg(test)]
mod tests;
mod uses;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Select, SelectItem};

pub(super) use self::kinds::ExpressionParts;
use self::kinds::ExpressionSize;
use self::uses::{NameUses, put};
use super::twice::is_given;
use crate::error::{SqlError, SqlErrorKind};
use crate::expanded::{MAX_EXPRESSIONS, name};
use crate::guard::MAX_OPERATORS;
use crate::walk::{Visit, inner, visit_own_expressions, visit_selects, visit_selects_mut};
use crate::wording::TWICE;

/// Most names of a statement that are looked up.
const MOST: usize = 50;
/// Most expressions that are in one another.
const DEEPEST: usize = MAX_OPERATORS + 100;

/// The names of one statement.
#[derive(Default)]
pub(super) struct AliasNames {
    names: usize,
    /// Expressions that stand in the place of names.
    repeated: usize,
}

impl AliasNames {
    /// Puts what is computed in the place of the name that an error is about; false if there is no such name.
    pub(super) fn put(&mut self, statement: &mut Statement, error: &SqlError) -> Result<bool, SqlError> {
        let Some(column) = error.missing_column().filter(|_| error.kind() == SqlErrorKind::Unknown) else {
            return Ok(false);
        };
        let Some(sql) = inner(statement) else { return Ok(false) };
        let (place, mut selects) = (error.position(), 0);
        visit_selects(&*sql, |select| selects += usize::from(is_used(select, column, place)));
        // Without a place it may be any of several.
        if selects == 0 || place.is_none() && selects > 1 {
            return Ok(false);
        }
        self.names += 1;
        if self.names > MOST {
            let why = format!("more than {MOST} names that a SELECT gives with AS are used in it again");
            return Err(SqlError::refused(why).hint("put the SELECT that gives them into WITH or a subquery"));
        }
        visit_selects_mut(sql, |select| self.select(select, column, place)).map(|()| true)
    }

    fn select(
        &mut self,
        select: &mut Select,
        column: &str,
        place: Option<(u64, u64)>,
    ) -> Result<(), SqlError> {
        let Some((at, value)) = value(select, column) else { return Ok(()) };
        let uses = NameUses::of(select, at, column, place);
        if !uses.is_meant {
            return Ok(());
        }
        let refused = |why: String, hint: &str| SqlError::invalid(why).hint(hint).at(place);
        if given(select, column).nth(1).is_some() {
            let why = format!("{TWICE}called `{column}`, and one of them is meant here");
            return Err(refused(why, "give one of them another name with AS"));
        }
        let kinds = ExpressionParts::of(value);
        if kinds.volatile || kinds.query {
            return Err(computed_again(column).at(place));
        }
        // Before anything is copied.
        let mut size = ExpressionSize::default();
        let _ = value.visit(&mut size);
        self.repeated = self.repeated.saturating_add(size.expressions.saturating_mul(uses.count));
        if self.repeated > MAX_EXPRESSIONS || uses.deepest.saturating_add(size.deepest) > DEEPEST {
            let why = "the statement has too many expressions where names that a SELECT gives with AS are used in it again";
            return Err(SqlError::refused(why.to_owned())
                .hint("put the SELECT that gives them into WITH or a subquery"));
        }
        let value = Expr::Nested(Box::new(value.clone()));
        for item in select.projection.iter_mut().skip(at + 1) {
            put(item, column, &value);
        }
        put(&mut select.named_window, column, &value);
        let is_condition = put(&mut select.selection, column, &value);
        if is_condition && kinds.window {
            let why = format!("`{column}` contains a window function, which is not allowed in WHERE");
            return Err(refused(why, "write QUALIFY instead of WHERE"));
        }
        if is_condition && kinds.aggregate {
            let why = format!("`{column}` contains an aggregate function, which is not allowed in WHERE");
            return Err(refused(why, "write HAVING after GROUP BY"));
        }
        Ok(())
    }
}

/// The error about a name for what cannot stand in two places.
pub(super) fn computed_again(column: &str) -> SqlError {
    let why = format!("`{column}` is computed again wherever it is used, or by a subquery");
    SqlError::invalid(why).hint("put the SELECT that gives it into WITH or a subquery")
}

/// What a SELECT gives a name, with the places among the columns of the result.
fn given<'a>(select: &'a Select, column: &str) -> impl Iterator<Item = (usize, &'a Expr)> {
    select.projection.iter().enumerate().filter_map(move |(at, item)| match item {
        SelectItem::ExprWithAlias { expr, alias } if is_given(alias, column) => Some((at, expr)),
        _ => None,
    })
}

/// The first of these, but for what names itself: there a column is meant.
fn value<'a>(select: &'a Select, column: &str) -> Option<(usize, &'a Expr)> {
    given(select, column).next().filter(|(_, expr)| !names(expr, column))
}

fn names(expr: &Expr, column: &str) -> bool {
    visit_own_expressions(expr, |part| matches!(part, Expr::Identifier(other) if name(other) == column))
}

/// Whether what a SELECT gives a name has a column of this name in it.
pub(crate) fn names_itself(expr: &Expr, alias: &Ident) -> bool {
    names(expr, &name(alias))
}

/// Whether a name stands behind its expression or in WHERE; with its place in the text, if that is known.
fn is_used(select: &Select, column: &str, place: Option<(u64, u64)>) -> bool {
    value(select, column).is_some_and(|(at, _)| NameUses::of(select, at, column, place).is_meant)
}
