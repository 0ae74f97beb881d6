//! Rows that `unnest` makes of one repeat its other columns: one that had each value once, such as that of a
//! GROUP BY, may then have it several times.
//!
//! The engine takes it for a key above `unnest` as well, and leaves out columns of DISTINCT, GROUP BY and
//! ORDER BY that a key decides. So keys go into `unnest` through a function that gives back its argument: a
//! schema has no keys among what is computed, however often it is made again.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::utils::take_function_args;
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, Projection, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Unnest,
};

use crate::forward::of_its_type;
use crate::signatures;

/// The function that gives back a column that is no key any more.
pub const KEPT: &str = "kept";

/// A plan whose `unnest` gives no keys. Of a subquery it is to be known before what is around it is planned:
/// there a GROUP BY takes in all that a key among its columns decides, and a window that is ordered by a key
/// has no peers.
pub fn without_unnested_keys(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut is_found = false;
    plan.apply_with_subqueries(|node| {
        is_found = is_found || matches!(node, LogicalPlan::Unnest(lists) if repeats_keys(lists));
        Ok(if is_found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !is_found {
        return Ok(plan);
    }
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Unnest(lists) if repeats_keys(&lists) => of_columns(lists).map(Transformed::yes),
        // What is above has the keys of before.
        node if has_keys(node.schema()) => node.recompute_schema().map(Transformed::yes),
        node => Ok(Transformed::no(node)),
    });
    plan.data()
}

/// The same condition on plain columns, as a table knows those that bound its rows.
pub fn with_plain_columns(condition: Expr) -> DfResult<Expr> {
    let plain = condition.transform_up(|part| match part {
        Expr::ScalarFunction(call) if keeps(&call) => {
            let [of] = take_function_args(KEPT, call.args)?;
            Ok(Transformed::yes(of))
        }
        other => Ok(Transformed::no(other)),
    });
    plain.data()
}

fn keeps(call: &ScalarFunction) -> bool {
    call.func.inner().is::<Kept>()
}

fn has_keys(schema: &DFSchema) -> bool {
    !schema.functional_dependencies().is_empty()
}

/// Whether rows go into `unnest` with columns that are keys, or that the optimizer makes keys of, as it makes
/// groups of DISTINCT.
fn repeats_keys(lists: &Unnest) -> bool {
    let is_kept = |expr: &Expr| match expr {
        Expr::Alias(of) => matches!(&*of.expr, Expr::ScalarFunction(call) if keeps(call)),
        _ => false,
    };
    match &*lists.input {
        LogicalPlan::Projection(of) if of.expr.iter().any(is_kept) => false,
        input => has_keys(input.schema()) || is_distinct(input),
    }
}

fn is_distinct(rows: &LogicalPlan) -> bool {
    rows.exists(|node| Ok(matches!(node, LogicalPlan::Distinct(_)))).unwrap_or(true)
}

/// The same `unnest` of rows without keys.
fn of_columns(lists: Unnest) -> DfResult<LogicalPlan> {
    let schema = Arc::clone(lists.input.schema());
    let dependencies = schema.functional_dependencies().iter();
    let mut keys: HashSet<usize> = dependencies.flat_map(|of| of.source_indices.iter().copied()).collect();
    if is_distinct(&lists.input) {
        keys.extend(0..schema.fields().len());
    }
    let columns = schema.iter().enumerate().map(|(place, (table, field))| {
        let column = Expr::Column(Column::from((table, field)));
        match keys.contains(&place) {
            true => ScalarUDF::from(Kept).call(vec![column]).alias_qualified(table.cloned(), field.name()),
            false => column,
        }
    });
    let rows = LogicalPlan::Projection(Projection::try_new(columns.collect(), lists.input)?);
    Ok(LogicalPlan::Unnest(Unnest::try_new(Arc::new(rows), lists.exec_columns, lists.options)?))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Kept;

impl ScalarUDFImpl for Kept {
    fn name(&self) -> &str {
        KEPT
    }

    of_its_type!();

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [of] = take_function_args(self.name(), args.args)?;
        Ok(of)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::session_state::SessionStateBuilder;
    use datafusion::logical_expr::{col, lit};
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn rows(sql: &str) -> usize {
        let state = SessionStateBuilder::new().with_default_features();
        let state = state.with_analyzer_rule(Arc::new(crate::TypedPlans)).build();
        let context = SessionContext::new_with_state(state);
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        batches.iter().map(|batch| batch.num_rows()).sum()
    }

    #[tokio::test]
    async fn rows_of_one_key_are_told_apart() {
        let grouped = "(SELECT a FROM (VALUES (1), (2), (2)) AS t(a) GROUP BY a) AS g";
        assert_eq!(rows(&format!("SELECT DISTINCT a, unnest([1, 2, 1]) AS x FROM {grouped}")).await, 4);
        let unnested = format!("SELECT a, unnest([1, 2, 1]) AS x FROM {grouped}");
        assert_eq!(rows(&format!("SELECT a, x FROM ({unnested}) AS u GROUP BY a, x")).await, 4);
        assert_eq!(rows(&format!("SELECT DISTINCT a FROM ({unnested}) AS u")).await, 2);
    }

    #[test]
    fn conditions_are_on_plain_columns() {
        let kept = |of: Expr| ScalarUDF::from(Kept).call(vec![of]);
        let condition = kept(kept(col("a"))).gt(lit(1)).and(col("b"));
        assert_eq!(with_plain_columns(condition).unwrap(), col("a").gt(lit(1)).and(col("b")));
    }
}
