//! Limit on calls inside calls that the engine writes out, where each stands more than once.

use arrow_schema::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan, Operator};

use super::substituted::check_expressions;

/// Most alternatives of a regular expression that become a comparison each.
const ALTERNATIVES: u64 = 4;
/// How often an expression is asked for its type where a call is over CASE.
const TYPES: u64 = 3;
/// Most values of `IN (..)` that become a comparison each.
const INLINE: u64 = 3;
/// A CASE of truth values with fewer branches than this becomes AND and OR, and one of TRUE and FALSE with
/// fewer of either.
const FEW: usize = 3;

/// Refuses a plan that is not optimised yet where calls inside calls, once written out, would be too many: of
/// `coalesce(a, b)` the engine makes `CASE WHEN a IS NOT NULL THEN a ELSE b END`.
pub(crate) fn written_out(plan: &LogicalPlan) -> DfResult<()> {
    let (mut written, mut out) = (0u64, 0u64);
    plan.apply_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            write_out(expr, 1, &schema, (&mut written, &mut out))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    check_expressions(
        out.saturating_sub(written),
        "where coalesce, BETWEEN, IN and CASE are written out",
        "put fewer of them inside one another",
    )
}

/// Counts what an expression over a schema has, and what it has where it is written out `times` times.
fn write_out(
    expr: &Expr,
    times: u64,
    schema: &DFSchema,
    (written, out): (&mut u64, &mut u64),
) -> DfResult<()> {
    *written = written.saturating_add(1);
    *out = out.saturating_add(times);
    let apart = taken_apart(expr, schema);
    let mut place = 0;
    expr.apply_children(|child| {
        let times = times.saturating_mul(copies(expr, place, apart));
        place += 1;
        write_out(child, times, schema, (&mut *written, &mut *out)).map(|()| TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// How often the child at a place stands in what the engine makes of an expression; with the branches of a
/// CASE that it takes apart.
fn copies(expr: &Expr, place: usize, apart: Option<usize>) -> u64 {
    match expr {
        Expr::ScalarFunction(call) => match call.func.name() {
            // Each value once where it is compared with NULL, and once for itself.
            "coalesce" | "nvl" if place + 1 < call.args.len() => {
                1 + apart.map_or(1, |branches| conditions(branches, place))
            }
            "nvl2" if place == 0 => apart.map_or(1, |branches| conditions(branches, 0)),
            "regexp_like" if place == 0 => ALTERNATIVES,
            // The type of a call over CASE is asked of each of its results, at every step up.
            _ if call.args.get(place).is_some_and(is_case) => TYPES,
            _ => 1,
        },
        // A call stands around arithmetic that may give NaN.
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.is_numerical_operators() => {
            match is_case(if place == 0 { left } else { right }) {
                true => TYPES,
                false => 1,
            }
        }
        Expr::Between(_) if place == 0 => 2,
        Expr::InList(list) if place == 0 => number(list.list.len()).clamp(1, INLINE),
        Expr::BinaryExpr(BinaryExpr {
            op:
                Operator::RegexMatch | Operator::RegexNotMatch | Operator::RegexIMatch | Operator::RegexNotIMatch,
            ..
        }) if place == 0 => ALTERNATIVES,
        Expr::Case(_) if place.is_multiple_of(2) => {
            apart.filter(|branches| place / 2 < *branches).map_or(1, |all| conditions(all, place / 2))
        }
        _ => 1,
    }
}

/// How often a condition stands in AND and OR: once for itself, and once for each of the branches that follow
/// and for what is left.
fn conditions(branches: usize, branch: usize) -> u64 {
    number(branches.saturating_sub(branch)).saturating_add(1)
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Branches of the CASE that the engine makes of an expression, if it makes AND and OR of them: it does of
/// few branches with truth values, and of constants that are nearly all TRUE or nearly all FALSE.
fn taken_apart(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    let branches = match expr {
        Expr::Case(case) if case.expr.is_none() => match case.when_then_expr.len() {
            branches if branches < FEW || is_nearly_constant(case) => branches,
            _ => return None,
        },
        Expr::ScalarFunction(call) => match call.func.name() {
            "coalesce" | "nvl" if call.args.len() <= FEW => call.args.len().saturating_sub(1),
            "nvl2" => 1,
            _ => return None,
        },
        _ => return None,
    };
    // A type that is not known yet may turn out to be that of truth values.
    let may_be_truth = |ty: DataType| matches!(ty, DataType::Boolean | DataType::Null);
    expr.get_type(schema).map_or(true, may_be_truth).then_some(branches)
}

/// Whether all values of a CASE are constants, and few of them TRUE or few FALSE. One that is still to be
/// computed may be either.
fn is_nearly_constant(case: &Case) -> bool {
    let is = |then: &Expr, truth: bool| matches!(then, Expr::Literal(ScalarValue::Boolean(Some(value)), _) if *value == truth);
    let few = |truth: bool| case.when_then_expr.iter().filter(|(_, then)| is(then, truth)).count() < FEW;
    case.when_then_expr.iter().all(|(_, then)| !then.any_column_refs()) && (few(true) || few(false))
}

fn is_case(expr: &Expr) -> bool {
    match expr {
        Expr::Case(_) => true,
        Expr::Alias(alias) => is_case(&alias.expr),
        Expr::Cast(cast) => is_case(&cast.expr),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    /// What puts an expression into a larger one.
    type Call<'a> = &'a dyn Fn(String) -> String;

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
        let calls: [(Call<'_>, usize); 5] = [
            (&|x| format!("CASE WHEN x > 1 THEN {x} ELSE 0 END * 1.5"), 12),
            (&|x| format!("abs(CASE WHEN x > 1 THEN {x} ELSE 0 END)"), 12),
            (&|x| format!("coalesce({x}, y)"), 18),
            (&|x| format!("CASE WHEN {x} BETWEEN 0 AND 9 THEN 1 ELSE 0 END"), 16),
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

    #[tokio::test]
    async fn a_case_counts_where_the_engine_makes_and_and_or_of_it() {
        let case = async |branches: usize, then: &dyn Fn(usize) -> &'static str| {
            let branches: String = (0..branches).map(|i| format!("WHEN x = {i} THEN {} ", then(i))).collect();
            written_out(&plan(&format!("SELECT CASE {branches} END AS v FROM {ROWS}")).await)
        };
        let half = |i: usize| if i.is_multiple_of(2) { "true" } else { "false" };
        for branches in [183, 500] {
            assert!(case(branches, &half).await.is_ok(), "{branches}: as many TRUE as FALSE");
            assert!(case(branches, &|i| if i.is_multiple_of(2) { "x > 1" } else { "false" }).await.is_ok());
        }
        // Conditions of three expressions: 3 (n + 1 + .. + 2) for n branches, less what is written, are below
        // 100,000 of 183 and above of 500.
        let nearly_all: [&dyn Fn(usize) -> &'static str; 2] =
            [&|_| "true", &|i| if i < 2 { "true" } else { "1 = 2" }];
        for then in nearly_all {
            assert!(case(183, then).await.is_ok());
            assert!(case(500, then).await.is_err());
        }
        let nested = |depth: usize, call: &dyn Fn(String) -> String| {
            let expr = (0..depth).fold("x > 1".to_owned(), |inner, _| call(inner));
            format!("SELECT {expr} AS v FROM {ROWS}")
        };
        // A condition twice, but in a CASE of numbers once; a truth value of coalesce three times.
        let of_truth = |inner: String| format!("CASE WHEN {inner} THEN y > 2 ELSE y > 3 END");
        let of_numbers = |inner: String| format!("CASE WHEN {inner} THEN y ELSE x END > 1");
        let first = |inner: String| format!("coalesce({inner}, y > 2)");
        let all: [(usize, Call<'_>, bool); 4] =
            [(17, &of_truth, false), (17, &of_numbers, true), (8, &first, true), (11, &first, false)];
        for (depth, call, is_borne) in all {
            assert_eq!(written_out(&plan(&nested(depth, call)).await).is_ok(), is_borne, "{depth}");
        }
    }
}
