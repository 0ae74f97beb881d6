//! Check of the conditions of rankings (`where`) when their statement is planned: they are planned as well,
//! in sessions of their own, so that what is wrong with one is said before a row is read.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;

use super::calls::place_of_condition;
use super::candidates::Candidates;
use super::error::SqlError;
use super::influence::candidates_of;
use super::walk::inner;

/// Plans the conditions of all rankings of a statement with this plan, each of them once.
///
/// # Errors
/// A condition that cannot be planned.
pub(super) async fn check(plan: &LogicalPlan, statement: &mut Statement) -> Result<(), SqlError> {
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
    for candidates in all {
        let place = |sql| place_of_condition(sql, candidates.condition());
        let checked = candidates.check().await;
        checked.map_err(|error| error.at(inner(statement).and_then(|sql| place(sql))))?;
    }
    Ok(())
}
