//! Types of `UNION` and `CASE`, which are those that all their branches have together.
//!
//! The engine takes them for those of the first branch until it analyses the plan. Before that, literals are
//! put into the types of what they are compared with, and `DESCRIBE` and `SUMMARIZE` tell types.
//!
//! Invariants
//! - the types are those that the engine's analysis comes to, and names of columns stay
//! - a plan in which no such type changes stays as it is; all types of texts count as one

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::type_coercion::other::get_coerce_type_for_case_expression;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Case, Expr, ExprSchemable, LogicalPlan, Projection, Union};
use gstore_functions::type_name as name;

use super::bounds::check_part_count;
use super::error::SqlError;
use super::outer_types;
use super::plans::{change_named, node_has_expr};

/// Gives `UNION` and `CASE` these types, and columns above them theirs.
///
/// # Errors
/// A `UNION` of columns whose types have no common one.
pub(crate) fn resolve(mut plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let mut changed = false;
    loop {
        plan = plan.transform_up_with_subqueries(|node| typed(node, &mut changed))?.data;
        if !changed {
            return Ok(plan);
        }
        // A subquery has noted types of columns around it, and its own columns may be computed of these.
        let outer = plan.transform_down_with_subqueries(outer_types::of_node)?;
        plan = outer.data;
        if !outer.transformed {
            return Ok(plan);
        }
    }
}

/// A node whose inputs have their types already; `changed` from the first one on whose types are others now.
fn typed(node: LogicalPlan, changed: &mut bool) -> DfResult<Transformed<LogicalPlan>> {
    let typed = match node {
        LogicalPlan::Union(of) => of_union(of)?,
        node => of_cases(node)?,
    };
    *changed |= typed.transformed;
    let node = if *changed { typed.data.recompute_schema()? } else { typed.data };
    Ok(Transformed::new_transformed(node, *changed))
}

/// The branches keep their own types: the engine's analysis casts them.
fn of_union(of: Union) -> DfResult<Transformed<LogicalPlan>> {
    let branches: Vec<DFSchemaRef> = of.inputs.iter().map(columns).collect();
    let mut changed = false;
    let mut fields = Vec::with_capacity(of.schema.fields().len());
    for (place, (table, field)) in of.schema.iter().enumerate() {
        let types = branches.iter().filter_map(|branch| branch.fields().get(place));
        let types: Vec<&DataType> = types.map(|field| field.data_type()).collect();
        let common = union_type(&types, place)?.filter(|common| differ(field.data_type(), common));
        changed |= common.is_some();
        let field = match common {
            Some(common) => Arc::new(field.as_ref().clone().with_data_type(common)),
            None => Arc::clone(field),
        };
        fields.push((table.cloned(), field));
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Union(of)));
    }
    let schema = Arc::new(DFSchema::new_with_metadata(fields, of.schema.metadata().clone())?);
    Ok(Transformed::yes(LogicalPlan::Union(Union { inputs: of.inputs, schema })))
}

/// The columns of a branch. Each branch of `UNION BY NAME` says that it has those of the whole.
fn columns(branch: &Arc<LogicalPlan>) -> DFSchemaRef {
    let own = match &**branch {
        LogicalPlan::Projection(of) => Projection::try_new(of.expr.clone(), Arc::clone(&of.input)).ok(),
        _ => None,
    };
    own.map_or_else(|| Arc::clone(branch.schema()), |own| own.schema)
}

/// The type that the columns of these types in one place of the branches have together.
fn union_type(types: &[&DataType], place: usize) -> DfResult<Option<DataType>> {
    types.iter().try_for_each(|ty| check_part_count(ty))?;
    let Some((first, rest)) = types.split_first() else { return Ok(None) };
    let mut common = (*first).clone();
    for other in rest {
        common = type_union_coercion(&common, other).ok_or_else(|| refusal(place, &common, other))?;
    }
    Ok(Some(common))
}

fn refusal(place: usize, one: &DataType, other: &DataType) -> DataFusionError {
    let (number, one, other) = (place + 1, name(one), name(other));
    let why = format!("column {number} of UNION is {one} in one SELECT, and {other} in another");
    SqlError::invalid(why).hint("cast both to one type, as in x::VARCHAR").into()
}

/// Whether a type is another one, but for the ways in which texts are held.
fn differ(one: &DataType, other: &DataType) -> bool {
    one != other && !(one.is_string() && other.is_string())
}

fn of_cases(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let is_case = |part: &Expr| matches!(part, Expr::Case(_));
    if !node_has_expr(&node, is_case)? {
        return Ok(Transformed::no(node));
    }
    let schema = merge_schema(&node.inputs());
    change_named(node, is_case, |expr| expr.transform_up(|part| of_case(part, &schema)))
}

/// A CASE with casts of its branches, as the engine's analysis puts them there.
fn of_case(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let Expr::Case(mut case) = expr else { return Ok(Transformed::no(expr)) };
    let Some(common) = case_type(&case, schema)? else { return Ok(Transformed::no(Expr::Case(case))) };
    let branches = case.when_then_expr.iter_mut().map(|(_, then)| then);
    for branch in branches.chain(case.else_expr.as_mut()) {
        let value = std::mem::take(&mut **branch);
        **branch = value.cast_to(&common, schema)?;
    }
    Ok(Transformed::yes(Expr::Case(case)))
}

/// The type that the branches of a CASE have together, if it is not that of the first that is not NULL, which
/// the engine takes it to be. Branches without a common type are left to the engine to refuse.
fn case_type(case: &Case, schema: &DFSchema) -> DfResult<Option<DataType>> {
    let thens = case.when_then_expr.iter().map(|(_, then)| then.get_type(schema));
    let thens: DfResult<Vec<DataType>> = thens.collect();
    let otherwise = case.else_expr.as_ref().map(|value| value.get_type(schema)).transpose();
    let (Ok(thens), Ok(otherwise)) = (thens, otherwise) else { return Ok(None) };
    thens.iter().chain(&otherwise).try_for_each(check_part_count)?;
    let Some(taken) = thens.iter().chain(&otherwise).find(|ty| !ty.is_null()) else { return Ok(None) };
    let common = get_coerce_type_for_case_expression(&thens, otherwise.as_ref());
    Ok(common.filter(|common| differ(taken, common)))
}
