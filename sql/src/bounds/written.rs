//! Limit on calls inside calls that the engine writes out, where each stands more than once.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

use super::substituted::bearable;

/// Most alternatives of a regular expression that become a comparison each.
const ALTERNATIVES: u64 = 4;
/// Most values of `IN (..)` that become a comparison each.
const INLINE: u64 = 3;

/// Refuses a plan that is not optimised yet where calls inside calls, once written out, would be too many: of
/// `coalesce(a, b)` the engine makes `CASE WHEN a IS NOT NULL THEN a ELSE b END`.
pub(crate) fn written_out(plan: &LogicalPlan) -> DfResult<()> {
    let (mut written, mut out) = (0u64, 0u64);
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            write_out(expr, 1, &mut written, &mut out)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    bearable(
        out.saturating_sub(written),
        "where coalesce, BETWEEN, IN and CASE are written out",
        "put fewer of them inside one another",
    )
}

/// Counts what an expression has, and what it has where it is written out `times` times.
fn write_out(expr: &Expr, times: u64, written: &mut u64, out: &mut u64) -> DfResult<()> {
    *written = written.saturating_add(1);
    *out = out.saturating_add(times);
    let mut place = 0;
    expr.apply_children(|child| {
        let times = times.saturating_mul(copies(expr, place));
        place += 1;
        write_out(child, times, written, out).map(|()| TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// How often the child at a place stands in what the engine makes of an expression.
fn copies(expr: &Expr, place: usize) -> u64 {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    match expr {
        Expr::ScalarFunction(call) => match call.func.name() {
            "coalesce" | "nvl" if place + 1 < call.args.len() => 2,
            "regexp_like" if place == 0 => ALTERNATIVES,
            _ => 1,
        },
        Expr::Between(_) if place == 0 => 2,
        Expr::InList(list) if place == 0 => number(list.list.len()).clamp(1, INLINE),
        Expr::BinaryExpr(BinaryExpr { op, .. }) if place == 0 => match op {
            Operator::RegexMatch
            | Operator::RegexNotMatch
            | Operator::RegexIMatch
            | Operator::RegexNotIMatch => ALTERNATIVES,
            _ => 1,
        },
        // Of truth values it makes AND and OR: each condition once for itself, and once for all that follow.
        Expr::Case(case) if case.expr.is_none() && place % 2 == 0 => {
            let whens = case.when_then_expr.len();
            let is_truth = |then: &Expr| matches!(then, Expr::Literal(ScalarValue::Boolean(_), _));
            let is_taken_apart = whens < 3 || case.when_then_expr.iter().all(|(_, then)| is_truth(then));
            if is_taken_apart && place / 2 < whens { number(whens).saturating_add(1) } else { 1 }
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    const ROWS: &str = "(VALUES (1, 2), (3, 4)) AS t(x, y)";

    async fn plan(sql: &str) -> LogicalPlan {
        let state = SessionContext::new().state();
        state.create_logical_plan(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    #[tokio::test]
    async fn calls_inside_calls_are_counted_as_the_engine_writes_them() {
        let nested = |depth: usize, call: &dyn Fn(String) -> String| {
            let expr = (0..depth).fold("x".to_owned(), |inner, _| call(inner));
            format!("SELECT {expr} AS v FROM {ROWS}")
        };
        let calls: [(&dyn Fn(String) -> String, usize); 3] = [
            (&|x| format!("coalesce({x}, y)"), 18),
            (&|x| format!("CASE WHEN {x} BETWEEN 0 AND 9 THEN 1 ELSE 0 END"), 12),
            (&|x| format!("CASE WHEN {x} IN (1, 2, 3) THEN 1 ELSE 0 END"), 12),
        ];
        for (call, depth) in calls {
            assert!(written_out(&plan(&nested(3, call)).await).is_ok());
            let refused = written_out(&plan(&nested(depth, call)).await).unwrap_err().to_string();
            assert!(refused.contains("repeated expressions where coalesce"), "{refused}");
        }
        // The last argument stands once.
        let last = nested(18, &|x| format!("coalesce(y, {x})"));
        assert!(written_out(&plan(&last).await).is_ok());
        let branches: String = (0..500).map(|i| format!("WHEN x = {i} THEN {i} ")).collect();
        let many = format!("SELECT CASE {branches} END AS v FROM {ROWS}");
        assert!(written_out(&plan(&many).await).is_ok());
    }
}
