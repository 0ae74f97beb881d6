//! Joins in the words of the engine, and those without a condition refused.

use datafusion::sql::sqlparser::ast::{Join, JoinConstraint, JoinOperator as Op, TableFactor};

use super::using::constraint;
use crate::error::SqlError;

/// Puts a join into the words of the engine.
///
/// # Errors
/// One that has neither ON nor USING: the engine would join each row with each.
pub(super) fn resolve(join: &mut Join) -> Result<(), SqlError> {
    one_side(join);
    match constraint(&mut join.join_operator) {
        Some(JoinConstraint::None) => Err(no_condition(&join.relation)),
        _ => Ok(()),
    }
}

fn no_condition(with: &TableFactor) -> SqlError {
    let called = match with {
        TableFactor::Table { name, alias: None, .. } => format!("the join with `{name}`"),
        TableFactor::Table { alias: Some(alias), .. } => format!("the join with `{}`", alias.name),
        _ => "a join".to_owned(),
    };
    SqlError::invalid(format!("{called} has no condition"))
        .at_start_of(with)
        .hint("write JOIN b ON a.x = b.x, or JOIN b USING (x); CROSS JOIN b pairs each row with each")
}

/// `ANTI JOIN` and `SEMI JOIN` are of the rows on the left.
fn one_side(join: &mut Join) {
    let none = Op::CrossJoin(JoinConstraint::None);
    join.join_operator = match std::mem::replace(&mut join.join_operator, none) {
        Op::Anti(on) => Op::LeftAnti(on),
        Op::Semi(on) => Op::LeftSemi(on),
        other => other,
    };
}
