//! Check of the conditions of rankings (`where`) when their statement is planned: they are planned as well,
//! in sessions of their own, so that what is wrong with one is said before a row is read.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;

use super::bounds::Budget;
use super::calls::place_of_condition;
use super::candidates::{Candidates, FindWork};
use super::error::SqlError;
use super::influence::candidates_of;
use super::walk::inner;

/// Plans the conditions of all rankings of a statement with this plan, each of them once, in the memory of the
/// statement and until that ends.
///
/// # Errors
/// A condition that cannot be planned.
pub(super) async fn check(
    state: &SessionState,
    plan: &LogicalPlan,
    statement: &mut Statement,
) -> Result<(), SqlError> {
    let mut all: Vec<Candidates> = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(table) = source_as_provider(&scan.source)
            && let Some(found) = candidates_of(&*table)
            && !all.iter().any(|known| known.are(found))
        {
            all.push(found.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let env = state.config().get_extension::<RuntimeEnv>();
    let memory = Arc::clone(&env.as_ref().unwrap_or_else(|| state.runtime_env()).memory_pool);
    let work = FindWork { memory, threads: 1, notes: None };
    let cancel = state.config().get_extension::<Budget>().and_then(|budget| budget.cancel());
    let cancel = cancel.unwrap_or_default();
    for candidates in all {
        let place = |sql| place_of_condition(sql, candidates.condition());
        let checked = candidates.check(&work, &cancel).await;
        checked.map_err(|error| error.at(inner(statement).and_then(|sql| place(sql))))?;
    }
    Ok(())
}
