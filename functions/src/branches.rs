//! `CASE` and `coalesce` whose branches are computed only where they are taken: `CASE WHEN n = 0 THEN false ELSE
//! 1 // n > 0 END`.
//!
//! The engine makes AND and OR of those that are true or false, or that are compared while all their values are
//! written, and AND and OR compute both sides. It leaves `CASE true WHEN ..` as it is.

use arrow_schema::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{BinaryExpr, Case};
use datafusion::logical_expr::{Expr, ExprSchemable, lit};

/// Functions that the engine makes `CASE` of.
const FIRST: [&str; 2] = ["coalesce", "nvl"];

/// Keeps branches that may fail apart.
pub(super) fn rewrite(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let Some(guarded) = guarded(&expr, schema) else { return Ok(Transformed::no(expr)) };
    // What is above knows whether there may be NULL.
    Ok(match guarded.nullable(schema).ok() == expr.nullable(schema).ok() {
        true => Transformed::yes(guarded),
        false => Transformed::no(expr),
    })
}

/// `CASE true WHEN ..` for an expression that the engine may take apart, and that may fail then.
fn guarded(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let is_flag = |of: &Expr| of.get_type(schema).is_ok_and(|of| of == DataType::Boolean);
    let case = match expr {
        Expr::Case(case) if case.expr.is_none() => {
            let (first, rest) = case.when_then_expr.split_first()?;
            let later = rest.iter().map(|(when, _)| &**when);
            let values = || {
                let all = std::iter::once(first).chain(rest).map(|(_, then)| &**then);
                all.chain(case.else_expr.as_deref())
            };
            let is_written = |of: &Expr| matches!(of, Expr::Literal(..));
            if !later.chain(values()).any(may_fail) || !(values().all(is_written) || is_flag(&first.1)) {
                return None;
            }
            case.clone()
        }
        Expr::ScalarFunction(call) if FIRST.contains(&call.func.name()) => {
            let (last, first) = call.args.split_last()?;
            if !call.args.iter().skip(1).any(may_fail) || !is_flag(last) {
                return None;
            }
            let branch = |of: &Expr| (Box::new(of.clone().is_not_null()), Box::new(of.clone()));
            let when_then_expr = first.iter().map(branch).collect();
            Case { expr: None, when_then_expr, else_expr: Some(Box::new(last.clone())) }
        }
        _ => return None,
    };
    Some(Expr::Case(Case { expr: Some(Box::new(lit(true))), ..case }))
}

/// Whether computing an expression may be an error for some rows.
fn may_fail(expr: &Expr) -> bool {
    let fails = |part: &Expr| match part {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => op.is_numerical_operators(),
        Expr::ScalarFunction(_) | Expr::HigherOrderFunction(_) | Expr::Cast(_) | Expr::Negative(_) => true,
        _ => false,
    };
    expr.exists(|part| Ok(fails(part))).unwrap_or(true)
}
