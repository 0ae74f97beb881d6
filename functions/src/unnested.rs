//! Rows that `unnest` makes of one: a column that had each value once, such as that of a GROUP BY, has it
//! several times then.
//!
//! The engine takes it for a key above `unnest` as well, and leaves out columns of DISTINCT, GROUP BY and
//! ORDER BY that a key decides. So keys go into `unnest` through a function that gives back its argument: a
//! schema has no keys among what is computed, however often it is made again.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNodeRecursion};
use datafusion::common::utils::take_function_args;
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, Projection, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Unnest,
};
use datafusion::optimizer::AnalyzerRule;

use crate::signatures;

/// The function that gives back a column that is no key any more.
pub const KEPT: &str = "kept";

/// Takes the keys from the rows that `unnest` makes.
#[derive(Debug)]
pub struct UnnestedKeys;

impl AnalyzerRule for UnnestedKeys {
    fn name(&self) -> &str {
        "unnested_keys"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        without_unnested_keys(plan)
    }
}

/// The same of a part of a plan before that is planned: a GROUP BY is of all that the keys among its columns
/// decide, and the order of a window by a key has no peers.
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

fn has_keys(schema: &DFSchema) -> bool {
    schema.functional_dependencies().iter().next().is_some()
}

/// Whether rows go into `unnest` with columns that are keys, or that the optimizer makes keys of, as it makes
/// groups of DISTINCT.
fn repeats_keys(lists: &Unnest) -> bool {
    let is_kept = |expr: &Expr| matches!(expr, Expr::Alias(of) if matches!(&*of.expr, Expr::ScalarFunction(call) if call.func.inner().is::<Kept>()));
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

    fn signature(&self) -> &Signature {
        signatures::one()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let [of] = take_function_args(self.name(), types)?;
        Ok(of.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let [of] = take_function_args(self.name(), args.arg_fields)?;
        Ok(Arc::clone(of))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [of] = take_function_args(self.name(), args.args)?;
        Ok(of)
    }
}
