//! `x IN (SELECT y ..)` by `EXISTS`, where the engine's join does not count NULLs as SQL does: it looks for
//! them in all rows of a subquery that names columns around it, and beside `OR`, for an `x` without columns
//! and within other expressions nowhere.
//!
//! Invariants
//! - `NOT IN` leaves a row out where `y` equals `x` in a row of the subquery, or where either is NULL there
//! - as a value the comparison is NULL where no `y` equals `x`, and either is NULL in a row of the subquery
//! - `x = ANY (SELECT y ..)` and its like are refused in aggregates and windows, whose columns the engine
//!   loses by them
//! - a comparison that is not of this kind keeps the engine's join, which has no need to look at pairs of
//!   rows

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, ScalarValue, TableReference};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::expr::{BinaryExpr, Exists, InSubquery, SetComparison};
use datafusion::logical_expr::{
    Distinct, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Subquery,
    SubqueryAlias, lit, when,
};

use super::error::SqlError;
use super::plans::{change_named, subquery};
use super::wording::{AGGREGATED, IN_ROWS, JOINED, NO_VALUE};

/// The name of a subquery's rows: no table has it.
const NAME: &str = "the column";

/// Most of these comparisons within one another.
const DEPTH: usize = 3;

/// Puts such comparisons in conditions and in SELECT into other words.
pub(super) fn resolve(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_down_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) if has_in(&filter.predicate) => {
            let predicate = put(filter.predicate, filter.input.schema(), false)?;
            Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
        }
        LogicalPlan::Projection(of) => {
            let schema = Arc::clone(of.input.schema());
            change_named(LogicalPlan::Projection(of), is_in, |expr| {
                values(expr, &schema).map(Transformed::yes)
            })
        }
        LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => {
            node.apply_expressions(|expr| expr.apply(not_compared))?;
            Ok(Transformed::no(node))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn not_compared(part: &Expr) -> DfResult<TreeNodeRecursion> {
    let Expr::SetComparison(SetComparison { op, quantifier, .. }) = part else {
        return Ok(TreeNodeRecursion::Continue);
    };
    let error = SqlError::invalid(format!("{op} {quantifier} (SELECT ..){NO_VALUE}"));
    Err(error.hint(AGGREGATED).into())
}

fn has_in(condition: &Expr) -> bool {
    condition.exists(|part| Ok(is_in(part))).unwrap_or(false)
}

fn is_in(expr: &Expr) -> bool {
    matches!(expr, Expr::InSubquery(_))
}

/// A condition on rows of this schema with such comparisons in other words; `beside_or`: whether it stands
/// beside others of which one is enough.
fn put(condition: Expr, schema: &DFSchema, beside_or: bool) -> DfResult<Expr> {
    Ok(match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if matches!(op, Operator::And | Operator::Or) => {
            let beside_or = beside_or || op == Operator::Or;
            let (left, right) = (put(*left, schema, beside_or)?, put(*right, schema, beside_or)?);
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
        }
        Expr::Not(inner) if has_in(&inner) => match *inner {
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                put(Expr::InSubquery(InSubquery::new(expr, subquery, !negated)), schema, beside_or)?
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right })
                if matches!(op, Operator::And | Operator::Or) =>
            {
                let op = if op == Operator::And { Operator::Or } else { Operator::And };
                let (left, right) = (Box::new(Expr::Not(left)), Box::new(Expr::Not(right)));
                put(Expr::BinaryExpr(BinaryExpr::new(left, op, right)), schema, beside_or)?
            }
            other => Expr::Not(Box::new(values(other, schema)?)),
        },
        // Here, too, NULL is as good as false.
        Expr::IsTrue(inner) => Expr::IsTrue(Box::new(put(*inner, schema, true)?)),
        Expr::IsNotTrue(inner) => Expr::IsNotTrue(Box::new(put(*inner, schema, true)?)),
        Expr::InSubquery(within) if within.negated => not_in(within, schema, beside_or)?,
        Expr::InSubquery(within) => Expr::InSubquery(within),
        other => values(other, schema)?,
    })
}

/// An expression with values in the place of such comparisons.
fn values(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    expr.transform_up(|part| {
        let Expr::InSubquery(within) = part else { return Ok(Transformed::no(part)) };
        value(within, schema).map(Transformed::yes)
    })
    .data()
}

/// True where a row of the subquery has the value, NULL where one may have it, and false elsewhere.
fn value(within: InSubquery, schema: &DFSchema) -> DfResult<Expr> {
    let Some(of) = Comparison::of(&within, schema)? else { return Err(no_value()) };
    let found = of.exists(of.column.clone().eq(of.value.clone()), &within, false)?;
    let mut unknown = None;
    if of.null_column {
        unknown = Some(of.exists(of.column.clone().is_null(), &within, false)?);
    }
    if of.null_value {
        let compared = within.expr.clone().is_null().and(of.exists(lit(true), &within, false)?);
        unknown = Some(unknown.map_or(compared.clone(), |null| null.or(compared)));
    }
    let value = match unknown {
        None => found,
        Some(unknown) => {
            when(found, lit(true)).when(unknown, lit(ScalarValue::Boolean(None))).otherwise(lit(false))?
        }
    };
    Ok(if within.negated { Expr::Not(Box::new(value)) } else { value })
}

fn not_in(within: InSubquery, schema: &DFSchema, beside_or: bool) -> DfResult<Expr> {
    let is_constant = within.expr.column_refs().is_empty();
    let is_correlated = !within.subquery.outer_ref_columns.is_empty();
    let may_be_null = null_column(&within) || null_value(&within, schema);
    if !is_correlated && !((beside_or || is_constant) && may_be_null) {
        return Ok(Expr::InSubquery(within));
    }
    let Some(of) = Comparison::of(&within, schema)? else {
        // Of a subquery that names columns around it the engine says why it cannot be.
        return if is_correlated { Ok(Expr::InSubquery(within)) } else { Err(no_value()) };
    };
    // Apart from one another, so that those that are equal are found by their hashes.
    let mut none = of.exists(of.column.clone().eq(of.value.clone()), &within, true)?;
    if of.null_column {
        none = none.and(of.exists(of.column.clone().is_null(), &within, true)?);
    }
    if of.null_value {
        none = none.and(within.expr.clone().is_not_null().or(of.exists(lit(true), &within, true)?));
    }
    Ok(none)
}

/// Refuses a subquery with too many of these in one another: each may be there three times, and three times as
/// often at each level.
fn check_depth(within: &InSubquery) -> DfResult<()> {
    match depth(&within.subquery.subquery)? < DEPTH {
        true => Ok(()),
        false => {
            let why = format!(
                "more than {DEPTH} {IN_ROWS} within one another, next to OR or within other expressions"
            );
            Err(SqlError::invalid(why).hint("write the innermost in WITH, and SEMI JOIN or ANTI JOIN").into())
        }
    }
}

/// How many conditions on rows of subqueries are within one another.
fn depth(plan: &LogicalPlan) -> DfResult<usize> {
    let mut most = 0;
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Some(of) = subquery(part) {
                    let is_one = matches!(part, Expr::InSubquery(_) | Expr::SetComparison(_));
                    most = most.max(usize::from(is_one) + depth(&of.subquery)?);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(most)
}

fn null_column(within: &InSubquery) -> bool {
    within.subquery.subquery.schema().fields().first().is_none_or(|column| column.is_nullable())
}

fn null_value(within: &InSubquery, schema: &DFSchema) -> bool {
    within.expr.nullable(schema).unwrap_or(true)
}

/// The two sides of a comparison, as the subquery names them.
struct Comparison {
    column: Expr,
    null_column: bool,
    value: Expr,
    null_value: bool,
    /// The SELECT of the column.
    of: Projection,
}

impl Comparison {
    /// `None` where the subquery or the value is not one of which the engine makes a join. The value of a
    /// subquery without a row is nullable by `no_row`.
    fn of(within: &InSubquery, schema: &DFSchema) -> DfResult<Option<Self>> {
        let Some(value) = around(&within.expr, schema) else { return Ok(None) };
        let subquery = &within.subquery.subquery;
        let of_rows = match within.subquery.outer_ref_columns.is_empty() {
            true => Some(named(subquery)?),
            false => plain(subquery).filter(|(_, of)| is_apart(&within.expr, of)),
        };
        let Some((column, of)) = of_rows else { return Ok(None) };
        check_depth(within)?;
        let (null_column, null_value) = (null_column(within), null_value(within, schema));
        Ok(Some(Self { column, null_column, value, null_value, of }))
    }

    /// Whether the subquery has a row for which a condition is true, or has none.
    fn exists(&self, condition: Expr, within: &InSubquery, negated: bool) -> DfResult<Expr> {
        // Its column may also name columns around it, which the engine knows in the condition alone. One that
        // names no other is a mistake, of which the engine says so.
        let has_own = self.column.column_refs().is_empty();
        let rows_have = if has_own { self.of.expr.clone() } else { vec![lit(1_i64).alias(NAME)] };
        let (condition, input) = match &*self.of.input {
            LogicalPlan::Filter(filter) => {
                (filter.predicate.clone().and(condition), Arc::clone(&filter.input))
            }
            _ => (condition, Arc::clone(&self.of.input)),
        };
        let rows = LogicalPlan::Filter(Filter::try_new(condition, input)?);
        let mut plan = LogicalPlan::Projection(Projection::try_new(rows_have, Arc::new(rows))?);
        let outer_ref_columns = plan.all_out_ref_exprs();
        if outer_ref_columns.is_empty() {
            plan = LogicalPlanBuilder::from(plan).limit(0, Some(1))?.build()?;
        }
        let spans = within.subquery.spans.clone();
        let rows = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans };
        Ok(Expr::Exists(Exists::new(rows, negated)))
    }
}

fn no_value() -> DataFusionError {
    let error = SqlError::invalid(format!("{IN_ROWS}{NO_VALUE}"));
    error.hint(JOINED).into()
}

/// The only column of a subquery, as one of a table of its own, and a SELECT of it.
fn named(subquery: &Arc<LogicalPlan>) -> DfResult<(Expr, Projection)> {
    let rows =
        LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::clone(subquery), TableReference::bare(NAME))?);
    let column = Expr::Column(Column::from(rows.schema().qualified_field(0)));
    Ok((column.clone(), Projection::try_new(vec![column], Arc::new(rows))?))
}

/// Whether a subquery has none of the columns of a value around it: the engine would take the one for the
/// other.
fn is_apart(value: &Expr, of: &Projection) -> bool {
    value.column_refs().into_iter().all(|column| !of.input.schema().has_column(column))
}

/// The column of a subquery of rows of tables, neither grouped nor limited, and the SELECT that it is of.
fn plain(subquery: &LogicalPlan) -> Option<(Expr, Projection)> {
    match subquery {
        LogicalPlan::Distinct(Distinct::All(input)) => plain(input),
        LogicalPlan::Projection(of) => {
            let rows = match &*of.input {
                LogicalPlan::Filter(filter) => &*filter.input,
                other => other,
            };
            let is_plain = matches!(
                rows,
                LogicalPlan::TableScan(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Join(_)
            );
            let [column] = of.expr.as_slice() else { return None };
            is_plain.then(|| (column.clone().unalias(), of.clone()))
        }
        _ => None,
    }
}

/// A value of the statement around a subquery, as the subquery names it; none of what names columns further
/// out.
fn around(value: &Expr, schema: &DFSchema) -> Option<Expr> {
    let is_further = |part: &Expr| {
        Ok(match part {
            Expr::ScalarSubquery(subquery) => !subquery.outer_ref_columns.is_empty(),
            Expr::OuterReferenceColumn(..) => true,
            other => subquery(other).is_some(),
        })
    };
    if value.exists(is_further).ok()? {
        return None;
    }
    let outer = value.clone().transform(|part| {
        Ok(match part {
            Expr::Column(column) => {
                let field = Arc::clone(schema.field_from_column(&column)?);
                Transformed::yes(Expr::OuterReferenceColumn(field, column))
            }
            other => Transformed::no(other),
        })
    });
    outer.data().ok()
}
