//! Limit on the size of predicates once they are pushed down to the tables.
//!
//! A predicate that is pushed below a computed column has the expression of the column in its place: thirty
//! steps that each add a column to itself make a billion of the first. Besides filters, such predicates are
//! made while a statement runs for the keys of joins.
//!
//! Invariants
//! - sizes are arithmetic that stops at the largest number, over a plan as long as its statement
//! - a plan whose predicates name no computed column is limited by its text alone

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::error::SqlError;
use crate::plans::subquery;

/// Most expressions that a plan may come to have beyond those that it has.
const MAX_MORE: u64 = 100_000;

/// The limit on predicates as a rule, to stand before the one that pushes them down: what comes before it
/// makes joins of subqueries and puts limits where they stop predicates.
#[derive(Debug)]
pub(crate) struct PredicateLimit;

impl OptimizerRule for PredicateLimit {
    fn name(&self) -> &str {
        "limit_predicates"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let mut sizes = PlanSizes::default();
        sizes.columns(&plan)?;
        check_expressions(
            sizes.pushed.saturating_sub(sizes.written),
            "where filters and joins have the expressions of the columns that they name",
            "filter by columns of an earlier step, or name a computed column fewer times in the next",
        )?;
        Ok(Transformed::no(plan))
    }
}

/// Refuses a plan that comes to have more expressions than allowed.
pub(super) fn check_expressions(repeated: u64, how: &str, way_out: &str) -> DfResult<()> {
    if repeated <= MAX_MORE {
        return Ok(());
    }
    let number = if repeated > u64::from(u32::MAX) { "too many".to_owned() } else { repeated.to_string() };
    let why = format!(
        "the statement has {number} repeated expressions {how}, more than the {MAX_MORE} allowed; {way_out}"
    );
    Err(SqlError::refused(why).into())
}

/// An input of a node: its columns, and for each how many expressions stand for it further down. Where there
/// is no number it is one.
struct NodeInput<'a> {
    schema: &'a DFSchema,
    weights: &'a [u64],
    is_plain: bool,
}

impl NodeInput<'_> {
    fn weight(&self, column: usize) -> u64 {
        self.weights.get(column).copied().unwrap_or(1)
    }

    /// One for each column.
    fn all(&self) -> Vec<u64> {
        (0..self.schema.fields().len()).map(|column| self.weight(column)).collect()
    }
}

#[derive(Default)]
struct PlanSizes {
    /// Expressions and nodes of the plan.
    written: u64,
    /// Expressions of its predicates at the tables.
    pushed: u64,
}

impl PlanSizes {
    /// The weights of the columns of a plan.
    fn columns(&mut self, plan: &LogicalPlan) -> DfResult<Vec<u64>> {
        self.written = self.written.saturating_add(1);
        let plans = plan.inputs();
        let below: Vec<Vec<u64>> = plans.iter().map(|input| self.columns(input)).collect::<DfResult<_>>()?;
        let inputs: Vec<NodeInput<'_>> = plans
            .iter()
            .zip(&below)
            .map(|(input, weights)| NodeInput {
                schema: input.schema(),
                weights,
                is_plain: weights.iter().all(|weight| *weight == 1),
            })
            .collect();
        let weights = self.node(plan, &inputs)?;
        // No predicate goes below a limit.
        let is_limited = plan.fetch()?.is_some() || plan.skip()?.is_some();
        Ok(if is_limited { Vec::new() } else { weights })
    }

    fn node(&mut self, plan: &LogicalPlan, inputs: &[NodeInput<'_>]) -> DfResult<Vec<u64>> {
        let first = || inputs.first().map(NodeInput::all).unwrap_or_default();
        match plan {
            LogicalPlan::Projection(projection) => self.each(&projection.expr, inputs),
            LogicalPlan::Filter(filter) => {
                self.push(&filter.predicate, inputs)?;
                Ok(first())
            }
            LogicalPlan::Join(join) => {
                for (left, right) in &join.on {
                    self.push(left, inputs)?;
                    self.push(right, inputs)?;
                }
                join.filter.iter().try_for_each(|filter| self.push(filter, inputs))?;
                Ok(join_weights(join.join_type, inputs))
            }
            LogicalPlan::Sort(sort) => {
                for key in &sort.expr {
                    self.weigh(&key.expr, inputs)?;
                }
                Ok(first())
            }
            LogicalPlan::Aggregate(aggregate) => {
                self.each(&aggregate.aggr_expr, inputs)?;
                let groups = grouping_set_to_exprlist(&aggregate.group_expr)?;
                groups.into_iter().map(|group| self.weigh(group, inputs)).collect()
            }
            LogicalPlan::Window(window) => {
                self.each(&window.window_expr, inputs)?;
                Ok(first())
            }
            LogicalPlan::Distinct(Distinct::On(distinct)) => {
                self.each(&distinct.on_expr, inputs)?;
                self.each(&distinct.select_expr, inputs)
            }
            LogicalPlan::Union(union) => Ok((0..union.schema.fields().len())
                .map(|column| {
                    inputs.iter().fold(0, |sum: u64, input| sum.saturating_add(input.weight(column)))
                })
                .collect()),
            LogicalPlan::Unnest(unnest) => {
                let weight = |column: &usize| inputs.first().map_or(1, |input| input.weight(*column));
                Ok(unnest.dependency_indices.iter().map(weight).collect())
            }
            LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Subquery(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Distinct(Distinct::All(_)) => Ok(first()),
            _ => Ok(Vec::new()),
        }
    }

    fn each(&mut self, exprs: &[Expr], inputs: &[NodeInput<'_>]) -> DfResult<Vec<u64>> {
        exprs.iter().map(|expr| self.weigh(expr, inputs)).collect()
    }

    fn push(&mut self, predicate: &Expr, inputs: &[NodeInput<'_>]) -> DfResult<()> {
        let weight = self.weigh(predicate, inputs)?;
        self.pushed = self.pushed.saturating_add(weight);
        Ok(())
    }

    /// What stands for an expression further down.
    fn weigh(&mut self, expr: &Expr, inputs: &[NodeInput<'_>]) -> DfResult<u64> {
        let mut weight = 0u64;
        expr.apply(|part| {
            self.written = self.written.saturating_add(1);
            let own = match part {
                Expr::Alias(_) => 0,
                Expr::Column(column) => column_weight(column, inputs),
                other => match subquery(other) {
                    Some(of) => self.inside(&of.subquery)?,
                    None => 1,
                },
            };
            weight = weight.saturating_add(own);
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(weight)
    }

    /// What stands for a subquery: all that it has.
    fn inside(&mut self, plan: &LogicalPlan) -> DfResult<u64> {
        let before = self.written;
        let first = self.columns(plan)?.first().copied().unwrap_or(1);
        Ok(first.saturating_add(self.written.saturating_sub(before)))
    }
}

fn column_weight(column: &Column, inputs: &[NodeInput<'_>]) -> u64 {
    let found = |input: &NodeInput<'_>| input.schema.maybe_index_of_column(column).map(|at| input.weight(at));
    inputs.iter().filter(|input| !input.is_plain).filter_map(found).max().unwrap_or(1)
}

fn join_weights(join: JoinType, inputs: &[NodeInput<'_>]) -> Vec<u64> {
    let sides = match join {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => inputs.get(..1),
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => inputs.get(1..),
        _ => Some(inputs),
    };
    sides.unwrap_or_default().iter().flat_map(NodeInput::all).collect()
}

#[cfg(test)]
mod tests;
