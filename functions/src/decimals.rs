//! Decimals beside floating-point numbers as such numbers, as in DuckDB: in comparisons, `IN`, `CASE`,
//! `coalesce` and its like, lists, joins by `USING` and `UNION`.
//!
//! The engine makes decimals of both, with 15 digits behind the point or with 7: 1e-20 would be 0 there, and
//! NaN, the infinities and large numbers have no decimal.
//!
//! Invariants
//! - a node is looked at after those below it, so that their columns have the types that they will have
//! - a statement without decimals stays as it is, and so does one with a recursive query, whose rows keep the
//!   types that they were planned with

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{Cast, InSubquery, SetComparison, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::expr_schema::cast_subquery;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Subquery, Union, cast};

use super::compared::sides;
use super::whole::type_of;

/// Functions whose arguments have one type, which is that of the result or of its elements.
const ALIKE: [&str; 6] = ["coalesce", "greatest", "least", "make_array", "nullif", "nvl"];

/// The statement with such numbers in the place of decimals.
pub fn decimals_as_floats(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    match has_decimals(&plan)? {
        true => plan.transform_up_with_subqueries(of_node).data(),
        false => Ok(plan),
    }
}

/// Whether a statement has decimals, and no recursive query.
fn has_decimals(plan: &LogicalPlan) -> DfResult<bool> {
    let (mut found, mut is_recursive) = (false, false);
    plan.apply_with_subqueries(|node| {
        is_recursive = is_recursive || matches!(node, LogicalPlan::RecursiveQuery(_));
        found = found || node.schema().fields().iter().any(|field| field.data_type().is_decimal());
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                found = found || gives_decimals(part);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found && !is_recursive)
}

fn gives_decimals(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. }) => {
            field.data_type().is_decimal()
        }
        Expr::Literal(value, _) => value.data_type().is_decimal(),
        _ => false,
    }
}

fn of_node(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    // The types of written rows are fixed.
    if matches!(node, LogicalPlan::Values(_)) {
        return Ok(Transformed::no(node));
    }
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let changed = expr.transform_up(|part| of_expr(part, &schema))?;
        Ok(changed.update_data(|expr| name.restore(expr)))
    })?
    .map_data(of_inputs)?
    .map_data(|node| node.recompute_schema())
}

fn of_expr(mut expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let mut changed = agree_in(sides(&mut expr), schema) | agree_in(results(&mut expr), schema);
    if let Expr::InSubquery(InSubquery { expr: of, subquery, .. })
    | Expr::SetComparison(SetComparison { expr: of, subquery, .. }) = &mut expr
    {
        changed |= agree_with_rows(of, subquery, schema)?;
    }
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// What of an expression has the type of its result.
fn results(expr: &mut Expr) -> Vec<&mut Expr> {
    match expr {
        Expr::Case(case) => {
            let then = case.when_then_expr.iter_mut().map(|(_, then)| &mut **then);
            then.chain(case.else_expr.iter_mut().map(|other| &mut **other)).collect()
        }
        Expr::ScalarFunction(call) if ALIKE.contains(&call.func.name()) => call.args.iter_mut().collect(),
        _ => Vec::new(),
    }
}

fn agree_in(sides: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    let types: Vec<_> = sides.iter().map(|side| type_of(side, schema)).collect();
    agree(sides, &types)
}

/// Makes floating-point numbers of exact ones if one of the sides, which have these types, is such a number;
/// says whether there were any.
fn agree(sides: Vec<&mut Expr>, types: &[Option<DataType>]) -> bool {
    let Some(float) = float_of(types.iter().flatten()) else { return false };
    let mut changed = false;
    for (side, of) in sides.into_iter().zip(types) {
        if of.as_ref().is_some_and(is_exact) {
            *side = cast(std::mem::take(side), float.clone());
            changed = true;
        }
    }
    changed
}

/// The same of a value that is compared with the rows of a subquery.
fn agree_with_rows(of: &mut Expr, subquery: &mut Subquery, schema: &DFSchema) -> DfResult<bool> {
    let rows = subquery.subquery.schema().fields().first().map(|field| field.data_type().clone());
    let types = [type_of(of, schema), rows];
    let Some(float) = float_of(types.iter().flatten()) else { return Ok(false) };
    let [value, rows] = types.map(|of| of.as_ref().is_some_and(is_exact));
    if value {
        *of = cast(std::mem::take(of), float);
    } else if rows {
        *subquery = cast_subquery(subquery.clone(), &float)?;
    }
    Ok(value || rows)
}

/// The type of floating-point numbers that holds all such numbers of these types, if there are any.
fn float_of<'a>(types: impl Iterator<Item = &'a DataType>) -> Option<DataType> {
    let doubles = types.filter(|of| of.is_floating()).map(|of| *of == DataType::Float64);
    let is_double = doubles.reduce(|any, is_double| any || is_double)?;
    Some(if is_double { DataType::Float64 } else { DataType::Float32 })
}

/// Whether numbers of a type become floating-point numbers beside one: whole ones do so with the engine too.
fn is_exact(of: &DataType) -> bool {
    of.is_decimal() || of.is_integer()
}

/// The same where rows of two inputs meet.
fn of_inputs(node: LogicalPlan) -> DfResult<LogicalPlan> {
    match node {
        LogicalPlan::Join(mut join) => {
            for (left, right) in &mut join.on {
                let types = [type_of(left, join.left.schema()), type_of(right, join.right.schema())];
                agree(vec![left, right], &types);
            }
            Ok(LogicalPlan::Join(join))
        }
        LogicalPlan::Union(union) => of_union(union),
        other => Ok(other),
    }
}

fn of_union(union: Union) -> DfResult<LogicalPlan> {
    let columns = union.schema.fields().len();
    if union.inputs.iter().any(|input| input.schema().fields().len() != columns) {
        return Ok(LogicalPlan::Union(union));
    }
    let types_of = |column: usize| -> Vec<&DataType> {
        union.inputs.iter().map(|input| input.schema().field(column).data_type()).collect()
    };
    let float = |column| {
        let types = types_of(column);
        float_of(types.iter().copied()).filter(|_| types.iter().any(|of| is_exact(of)))
    };
    let floats: Vec<Option<DataType>> = (0..columns).map(float).collect();
    // That of the first input, until the engine finds one that suits all.
    let has_other = |column| types_of(column).first() != Some(&union.schema.field(column).data_type());
    if floats.iter().all(Option::is_none) && !(0..columns).any(has_other) {
        return Ok(LogicalPlan::Union(union));
    }
    let inputs =
        union.inputs.iter().map(|input| with_floats(input, &floats)).collect::<DfResult<Vec<_>>>()?;
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}

/// Rows whose exact numbers have these types where there is one.
fn with_floats(input: &Arc<LogicalPlan>, floats: &[Option<DataType>]) -> DfResult<Arc<LogicalPlan>> {
    let mut changed = false;
    let columns = input.schema().iter().zip(floats).map(|((table, field), float)| {
        let column = Expr::from((table, field));
        match float {
            Some(float) if is_exact(field.data_type()) => {
                changed = true;
                cast(column, float.clone()).alias_qualified(table.cloned(), field.name())
            }
            _ => column,
        }
    });
    let columns: Vec<Expr> = columns.collect();
    Ok(match changed {
        true => Arc::new(LogicalPlan::Projection(Projection::try_new(columns, Arc::clone(input))?)),
        false => Arc::clone(input),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    const ROWS: &str =
        "(SELECT CAST(0.5 AS DOUBLE) AS x, CAST(1 AS DECIMAL(3, 1)) AS d, CAST(1 AS REAL) AS r, 1 AS n) AS t";

    async fn planned(sql: &str) -> LogicalPlan {
        let plan = SessionContext::new().state().create_logical_plan(sql).await.unwrap();
        decimals_as_floats(plan).unwrap()
    }

    #[tokio::test]
    async fn decimals_beside_floats_are_floats() {
        for (condition, expected) in [
            ("x > d", "t.x > CAST(t.d AS Float64)"),
            ("r = d", "t.r = CAST(t.d AS Float32)"),
            ("n > d", "t.n > t.d"),
            ("d BETWEEN x AND d", "CAST(t.d AS Float64) BETWEEN t.x AND CAST(t.d AS Float64)"),
            ("n IN (d, x)", "CAST(t.n AS Float64) IN ([CAST(t.d AS Float64), t.x])"),
            ("coalesce(d, x) > d", "coalesce(CAST(t.d AS Float64), t.x) > CAST(t.d AS Float64)"),
            ("CASE WHEN n > 1 THEN n ELSE x END < d", " END < CAST(t.d AS Float64)"),
        ] {
            let plan = planned(&format!("SELECT 1 FROM {ROWS} WHERE {condition}")).await.to_string();
            assert!(plan.contains(expected), "{condition}: {plan}");
        }
        let sql = format!("SELECT 1 FROM (SELECT coalesce(x, d) AS y, d FROM {ROWS}) AS u WHERE y > d");
        let plan = planned(&sql).await.to_string();
        assert!(plan.contains("u.y > CAST(u.d AS Float64)"), "{plan}");
    }

    #[tokio::test]
    async fn rows_of_a_union_are_floats_if_some_are() {
        for (sql, expected) in [
            (format!("SELECT d FROM {ROWS} UNION ALL SELECT x FROM {ROWS}"), DataType::Float64),
            (format!("SELECT n FROM {ROWS} UNION SELECT x FROM {ROWS} WHERE d > 0"), DataType::Float64),
            (format!("SELECT d FROM {ROWS} UNION ALL SELECT d FROM {ROWS}"), DataType::Decimal128(3, 1)),
        ] {
            let plan = planned(&sql).await;
            assert_eq!(*plan.schema().field(0).data_type(), expected, "{plan}");
        }
    }
}
