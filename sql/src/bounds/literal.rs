//! Limits on long constants, which the engine repeats for each row of a batch in most places.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::MAX_REPEATED;
use super::function::BoundedFunction;
use super::growth::{self, Growth};
use super::sizes::scalar_bytes;
use crate::error::SqlError;

/// Most bytes of a constant that may be repeated for each row.
const MAX_LITERAL: u64 = 32 << 10;
/// Most bytes of a constant that is put between the texts of rows.
const MAX_DELIMITER: u64 = 4 << 10;

/// Refuses long constants in an optimised plan, except where they are not repeated for each row: in
/// comparisons and in functions that have limits. As columns of their own they are counted while the
/// statement runs.
pub(crate) fn check(plan: &LogicalPlan) -> DfResult<()> {
    plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::Values(_)) {
            return Ok(TreeNodeRecursion::Continue);
        }
        let columns = matches!(node, LogicalPlan::Projection(_));
        node.apply_expressions(|expr| {
            let mut expr = expr;
            while let Expr::Alias(alias) = expr {
                expr = &alias.expr;
            }
            short(expr, if columns { u64::MAX } else { MAX_LITERAL })?;
            Ok(TreeNodeRecursion::Continue)
        })
    })
    .map(|_| ())
}

/// Refuses an expression that is a constant of more bytes than `most`, or has a long one inside.
fn short(expr: &Expr, most: u64) -> DfResult<()> {
    let inside = match expr {
        Expr::Literal(value, _) => {
            return match scalar_bytes(value) {
                bytes if bytes > most => {
                    let why = format!(
                        "a constant of {bytes} bytes would be repeated for each row; at most {most} are here"
                    );
                    Err(SqlError::refused(why).into())
                }
                _ => Ok(()),
            };
        }
        Expr::InList(list) => {
            short(&list.expr, MAX_LITERAL)?;
            return list.list.iter().try_for_each(|value| short(value, u64::MAX));
        }
        Expr::BinaryExpr(BinaryExpr { op, .. }) if compares(*op) => u64::MAX,
        Expr::Like(_) => u64::MAX,
        Expr::ScalarFunction(call) if takes_long(call) => u64::MAX,
        Expr::AggregateFunction(call) if call.func.name() == "string_agg" => {
            call.params.args.iter().skip(1).try_for_each(|delimiter| short(delimiter, MAX_DELIMITER))?;
            MAX_LITERAL
        }
        Expr::WindowFunction(call) if call.fun.name() == "string_agg" => {
            call.params.args.iter().skip(1).try_for_each(|delimiter| short(delimiter, MAX_DELIMITER))?;
            MAX_LITERAL
        }
        _ => MAX_LITERAL,
    };
    expr.apply_children(|child| short(child, inside).map(|()| TreeNodeRecursion::Continue)).map(|_| ())
}

/// Whether a function takes a constant as it is; one that compares pairs does not.
fn takes_long(call: &ScalarFunction) -> bool {
    call.func.inner().is::<BoundedFunction>() && growth::of(call.func.name()) != Some(Growth::Pairs)
}

/// Operators that take a constant as it is.
fn compares(op: Operator) -> bool {
    use Operator as O;
    let ordered = matches!(op, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq);
    ordered || matches!(op, O::IsDistinctFrom | O::IsNotDistinctFrom)
}

/// The plan with long constants among its columns counted for the rows of each batch.
pub(crate) fn count_constants(plan: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(projection) = node.downcast_ref::<ProjectionExec>() else {
            return Ok(Transformed::no(node));
        };
        let literal = |column: &ProjectionExpr| column.expr.downcast_ref::<Literal>().cloned();
        let long = projection.expr().iter().filter_map(literal).map(|literal| scalar_bytes(literal.value()));
        let bytes = long.fold(0u64, |sum, bytes| sum.saturating_add(bytes));
        if bytes <= MAX_LITERAL {
            return Ok(Transformed::no(node));
        }
        let columns = projection.expr().iter().map(|column| match literal(column) {
            Some(literal) => {
                let expr = Arc::new(BoundedLiteral { literal, bytes }) as Arc<dyn PhysicalExpr>;
                ProjectionExpr { expr, alias: column.alias.clone() }
            }
            None => column.clone(),
        });
        let columns: Vec<_> = columns.collect();
        let counted = ProjectionExec::try_new(columns, Arc::clone(projection.input()))?;
        Ok(Transformed::yes(Arc::new(counted) as Arc<dyn ExecutionPlan>))
    })
    .data()
}

/// A constant that is refused for a batch of too many rows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct BoundedLiteral {
    literal: Literal,
    /// Of all constants among the columns.
    bytes: u64,
}

impl fmt::Display for BoundedLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.literal, f)
    }
}

impl PhysicalExpr for BoundedLiteral {
    fn return_field(&self, schema: &Schema) -> DfResult<FieldRef> {
        self.literal.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        let (rows, bytes) = (batch.num_rows(), self.bytes);
        if bytes.saturating_mul(rows as u64) > MAX_REPEATED {
            let why = format!("constants of {bytes} bytes would be repeated for {rows} rows at a time");
            return Err(SqlError::refused(why).hint("select them in a statement of their own").into());
        }
        self.literal.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DfResult<Arc<dyn PhysicalExpr>> {
        Ok(self)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.literal.fmt_sql(f)
    }
}
