//! Values of keys in the place of their names.

use datafusion::sql::sqlparser::ast::Expr;

use crate::dialect::using::UsingJoins;
use crate::error::SqlError;
use crate::expanded::{MAX_EXPRESSIONS, name};
use crate::walk::{VisitMut, visit_own_expressions_mut};

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
    visit_own_expressions_mut(part, |expr| {
        if let Expr::Identifier(column) = expr
            && let column = name(column)
            && !but.contains(&column)
            && let Some(value) = meant(merged, &column, written)?
        {
            *expr = value;
        }
        Ok(())
    })
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
