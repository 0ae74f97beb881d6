//! Values of keys in the place of their names.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, VisitorMut};

use crate::dialect::using::UsingJoins;
use crate::error::SqlError;
use crate::expanded::{MAX_EXPRESSIONS, name};
use crate::walk::{VisitMut, count_subqueries, error_of};

/// Counts expressions that keys have more than their names.
#[derive(Default)]
pub(super) struct Written(usize);

impl Written {
    pub(super) fn add(&mut self, size: usize) -> Result<(), SqlError> {
        self.0 = self.0.saturating_add(size);
        match self.0 > MAX_EXPRESSIONS {
            true => Err(SqlError::refused(format!(
                "the statement has {} repeated expressions where columns of USING stand for those of all tables, \
                 more than the {MAX_EXPRESSIONS} allowed",
                self.0
            ))),
            false => Ok(()),
        }
    }
}

/// Puts in the values of keys but for those of these names; not in subqueries, where a name may be a column
/// of another table.
pub(super) fn put(
    part: &mut impl VisitMut,
    merged: &UsingJoins,
    but: &[String],
    written: &mut Written,
) -> Result<(), SqlError> {
    error_of(part.visit(&mut Put { merged, but, written, depth: 0 }))
}

/// The value of a key, if a name means it.
pub(super) fn meant(
    merged: &UsingJoins,
    column: &str,
    written: &mut Written,
) -> Result<Option<Expr>, SqlError> {
    let mut keys = merged.keys.iter().filter(|key| key.name == column);
    if let Some(moved) = keys.clone().find(|key| key.is_moved() && !merged.is_settled(key)) {
        return Err(moved.refused());
    }
    let Some(key) = keys.find(|key| merged.is_settled(key)) else { return Ok(None) };
    written.add(key.size())?;
    Ok(Some(key.value()))
}

struct Put<'a> {
    merged: &'a UsingJoins,
    but: &'a [String],
    written: &'a mut Written,
    depth: usize,
}

impl Put<'_> {
    fn value(&mut self, expr: &Expr) -> Result<Option<Expr>, SqlError> {
        let Expr::Identifier(column) = expr else { return Ok(None) };
        let column = name(column);
        if self.depth > 0 || self.but.contains(&column) {
            return Ok(None);
        }
        meant(self.merged, &column, self.written)
    }
}

impl VisitorMut for Put<'_> {
    type Break = Box<SqlError>;

    count_subqueries!(depth, &mut Query);

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match self.value(expr) {
            Err(refused) => return ControlFlow::Break(Box::new(refused)),
            Ok(Some(value)) => *expr = value,
            Ok(None) => {}
        }
        ControlFlow::Continue(())
    }
}
