//! `IN` lists about the same value, joined by AND or OR, kept apart.
//!
//! The engine makes one list of two, which is wrong in two ways (its issue 24246): two without a common value
//! are true or false to it where the value is NULL, though they are NULL then; and it takes values that are not
//! written, as in `x IN (a, b) AND x IN (c, d)`, for different. `x IN (1) OR x IN (2)` and `x NOT IN (1) AND x NOT
//! IN (2)` are right as one list, and stay as they are. `x = 1 OR x = 2` is a list to it too.
//!
//! Invariants
//! - the first list stays as it is, so that what reads a table knows it

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{BinaryExpr, Case};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, lit};

use super::nullable::nullable;

/// Keeps the lists on the right of AND or OR apart from those on the left.
pub(super) fn rewrite(mut expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let changed = keep_apart(&mut expr, schema);
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

fn keep_apart(expr: &mut Expr, schema: &DFSchema) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) = expr else {
        return false;
    };
    let (mut first, mut later) = (Vec::new(), Vec::new());
    lists(right, false, &mut later);
    if later.is_empty() {
        return false;
    }
    lists(left, false, &mut first);
    // NOT around them changes both the operator and the lists.
    let is_right_if_negated = *op == Operator::And;
    let mut changed = false;
    for (list, negated) in later {
        let may_be_null = list.nullable(schema).unwrap_or(true);
        let Some((of, is_negated)) = listed(list, negated) else { continue };
        let is_wrong_with = |other: &Expr, negated: bool| {
            listed(other, negated).is_some_and(|(other_of, other_is_negated)| {
                let is_right = is_negated == is_right_if_negated && other_is_negated == is_right_if_negated;
                other_of == of && !is_right
            }) && (may_be_null || !is_written(list) || !is_written(other))
        };
        if first.iter().any(|(other, negated)| is_wrong_with(other, *negated)) {
            *list = apart(std::mem::take(list), may_be_null);
            changed = true;
        }
    }
    changed
}

/// The lists that AND, OR and NOT connect, and whether each stands in NOT. Those between them count too, since
/// the engine takes common conditions out of both sides of OR.
fn lists<'a>(expr: &'a mut Expr, negated: bool, all: &mut Vec<(&'a mut Expr, bool)>) {
    if listed(expr, negated).is_some() {
        all.push((expr, negated));
        return;
    }
    match expr {
        Expr::Not(of) => lists(of, !negated, all),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            lists(left, negated, all);
            lists(right, negated, all);
        }
        _ => {}
    }
}

/// What a list is about, and whether it is of the values that are not; also of what the engine makes a list of.
fn listed(expr: &Expr, negated: bool) -> Option<(&Expr, bool)> {
    match expr {
        Expr::InList(list) => Some((&*list.expr, list.negated != negated)),
        Expr::Not(of) => listed(of, !negated),
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            // Most have none on the right.
            let right = listed_or_equal(right, negated)?;
            let left = listed_or_equal(left, negated)?;
            let is_or = (*op == Operator::Or) != negated;
            (left == right && left.1 != is_or).then_some(left)
        }
        _ => None,
    }
}

/// The same of `x = 1` and `x <> 1` too, which are parts of such lists.
fn listed_or_equal(expr: &Expr, negated: bool) -> Option<(&Expr, bool)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Eq | Operator::NotEq), right }) => {
            let column = match (&**left, &**right) {
                (column @ Expr::Column(_), Expr::Literal(..))
                | (Expr::Literal(..), column @ Expr::Column(_)) => column,
                _ => return None,
            };
            Some((column, (*op == Operator::NotEq) != negated))
        }
        _ => listed(expr, negated),
    }
}

/// Whether all values of a list are written in the statement: others may be equal.
fn is_written(expr: &Expr) -> bool {
    let is_other = |part: &Expr| match part {
        Expr::InList(list) => !list.list.iter().all(|value| matches!(value, Expr::Literal(..))),
        _ => false,
    };
    !expr.exists(|part| Ok(is_other(part))).unwrap_or(true)
}

/// The same in a form that the engine does not take for a list. What is above knows whether it may be NULL.
fn apart(list: Expr, may_be_null: bool) -> Expr {
    if may_be_null {
        return nullable(list);
    }
    Expr::Case(Case {
        expr: Some(Box::new(lit(true))),
        when_then_expr: vec![(Box::new(list), Box::new(lit(true)))],
        else_expr: Some(Box::new(lit(false))),
    })
}
