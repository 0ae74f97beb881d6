//! `EXCEPT ALL` and `INTERSECT ALL` by the number of equal rows, as the SQL standard has them.
//!
//! The engine plans both as joins that keep a row, or drop it, however many of its copies the other side has.
//! Here equal rows are numbered on both sides, and each is joined with the one that has its number: of three
//! copies on the left and two on the right, `EXCEPT ALL` leaves one, `INTERSECT ALL` two.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::error::Result as DfResult;
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::{Distinct, Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder};

/// The columns with the numbers of equal rows, of both sides.
const LEFT: &str = "copy on the left";
const RIGHT: &str = "copy on the right";

/// The plan with copies counted; it must be as the engine has planned the statement, before any of its rules.
pub(super) fn count_copies(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(join_counts).data()
}

fn join_counts(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    Ok(match plan {
        LogicalPlan::Join(join) if is_of_all(&join) => Transformed::yes(by_number(join)?),
        other => Transformed::no(other),
    })
}

/// Whether a join stands for one of the two: no other of a statement has nulls that are equal. Rows on the
/// left that are distinct anyway need no numbers; so it is without `ALL`.
fn is_of_all(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !join.null_aware
        && !matches!(*join.left, LogicalPlan::Distinct(Distinct::All(_)))
}

fn by_number(join: Join) -> DfResult<LogicalPlan> {
    let columns: Vec<Expr> = join.left.schema().columns().into_iter().map(Expr::Column).collect();
    let mut on = join.on;
    let (left, right): (Vec<Expr>, Vec<Expr>) = on.iter().cloned().unzip();
    let left = number_rows(&join.left, left, LEFT)?;
    let right = number_rows(&join.right, right, RIGHT)?;
    let number = |name: &str| Expr::Column(Column::from_name(name));
    on.push((number(LEFT), number(RIGHT)));
    let (of, constraint, nulls) = (join.join_type, join.join_constraint, join.null_equality);
    let join = Join::try_new(Arc::new(left), Arc::new(right), on, None, of, constraint, nulls, false)?;
    LogicalPlanBuilder::from(LogicalPlan::Join(join)).project(columns)?.build()
}

/// The rows with the number of each among those that are equal to it.
fn number_rows(rows: &Arc<LogicalPlan>, keys: Vec<Expr>, name: &str) -> DfResult<LogicalPlan> {
    let number = row_number().partition_by(keys).build()?;
    let plan = LogicalPlanBuilder::from(Arc::clone(rows)).window([number])?.build()?;
    let mut columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let number = columns.pop().map(|number| number.alias(name));
    columns.extend(number);
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

#[cfg(test)]
mod tests {
    use arrow_array::RecordBatch;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use datafusion::prelude::SessionContext;

    use super::*;

    /// Rows of one column of numbers, where null is 0.
    async fn rows(sql: &str) -> Vec<i64> {
        let context = SessionContext::new();
        let plan = count_copies(context.state().create_logical_plan(sql).await.unwrap()).unwrap();
        let batches = context.execute_logical_plan(plan).await.unwrap().collect().await.unwrap();
        let of_batch = |batch: &RecordBatch| {
            let values = batch.column(0).as_primitive::<Int64Type>();
            values.iter().map(Option::unwrap_or_default).collect::<Vec<i64>>()
        };
        let mut rows: Vec<i64> = batches.iter().flat_map(of_batch).collect();
        rows.sort_unstable();
        rows
    }

    #[tokio::test]
    async fn copies_are_counted() {
        let left = "SELECT x FROM (VALUES (1), (1), (1), (2), (2), (NULL), (NULL), (4)) AS l(x)";
        let right = "SELECT y FROM (VALUES (1), (1), (2), (2), (2), (NULL), (3)) AS r(y)";
        for (operator, expected) in [
            ("EXCEPT ALL", vec![0, 1, 4]),
            ("INTERSECT ALL", vec![0, 1, 1, 2, 2]),
            ("EXCEPT", vec![4]),
            ("INTERSECT", vec![0, 1, 2]),
        ] {
            assert_eq!(rows(&format!("{left} {operator} {right}")).await, expected, "{operator}");
            let inside =
                format!("SELECT count(*) FROM (VALUES (1)) AS t(a) WHERE 4 IN ({left} {operator} {right})");
            let is_there = i64::from(operator.starts_with("EXCEPT"));
            assert_eq!(rows(&inside).await, [is_there], "{operator}");
        }
        // The same table on both sides, twice.
        let same = "WITH t AS (SELECT * FROM (VALUES (1, 1.5), (1, 1.5), (2, 2.5)) AS v(a, b)) \
                    SELECT a FROM (SELECT * FROM t EXCEPT ALL SELECT * FROM t WHERE a = 2 EXCEPT ALL SELECT 1, 1.5)";
        assert_eq!(rows(same).await, [1]);
    }
}
