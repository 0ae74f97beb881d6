//! Prepared statements: planned once, and run later.
//!
//! Invariants
//! - what held when a plan was made holds when it runs: a statement that may read the clock, draw numbers, or
//!   name a table whose rows are those of the moment keeps no plan
//! - a plan runs once; copies of it may run, any number, where none of its operators keeps anything of a run,
//!   and none of its functions looks at the end of one
//! - a copy opens its files itself, and closes them when it ends

use std::sync::{Arc, Mutex};

use arrow_schema::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::physical_plan::ExecutionPlan;
use gstore_core::locked;

use super::planning::Planned;
use super::scan::RowsExec;

/// Most bytes of the constants of a plan that is kept.
const MOST_CONSTANTS: u64 = 64 << 10;

/// Most columns of all operators of a plan that is kept.
const MOST_COLUMNS: usize = 2048;

/// Operators of the engine that keep nothing of a run but its counters.
const STATELESS: [&str; 6] = [
    "CooperativeExec",
    "FilterExec",
    "GlobalLimitExec",
    "LocalLimitExec",
    "PlaceholderRowExec",
    "ProjectionExec",
];

/// A statement with the values of its parameters, as its session has planned it.
pub struct PreparedStatement {
    schema: SchemaRef,
    plan: StatementPlan,
}

enum StatementPlan {
    /// There is none to be run.
    None,
    /// One that is there until it is run.
    Once(Mutex<Option<Planned>>),
    /// One that never runs itself.
    Copied(Planned),
}

impl PreparedStatement {
    /// A plan that may be kept, if it is `lasting`; `constants` is how many bytes of them it has.
    pub(super) fn new(planned: Planned, lasting: bool, constants: u64) -> Self {
        let schema = planned.plan.schema();
        let is_small = constants <= MOST_CONSTANTS && columns(&planned.plan) <= MOST_COLUMNS;
        let takes_long = planned.budget.as_ref().is_some_and(|budget| budget.takes_long());
        let plan = match lasting && is_small {
            false => StatementPlan::None,
            true if !takes_long && is_stateless(&planned.plan) => StatementPlan::Copied(planned),
            true => StatementPlan::Once(Mutex::new(Some(planned))),
        };
        Self { schema, plan }
    }

    /// The columns that the statement gives.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn plan(&self) -> Option<DfResult<Planned>> {
        match &self.plan {
            StatementPlan::None => None,
            StatementPlan::Once(plan) => locked(plan).take().map(Ok),
            StatementPlan::Copied(Planned { plan, rows, mixed, .. }) => {
                Some(copy_plan(plan).map(|plan| Planned {
                    plan,
                    rows: *rows,
                    mixed: mixed.clone(),
                    budget: None,
                }))
            }
        }
    }
}

/// Columns of all operators; rows in memory stay as long as their plan, so such a plan counts as too wide.
fn columns(plan: &Arc<dyn ExecutionPlan>) -> usize {
    if plan.name() == "DataSourceExec" {
        return usize::MAX;
    }
    let own = plan.schema().fields().len() + 1;
    plan.children().into_iter().map(columns).fold(own, usize::saturating_add)
}

fn is_stateless(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let own = plan.downcast_ref::<RowsExec>();
    let known = own.map_or_else(|| STATELESS.contains(&plan.name()), |rows| rows.unopened().is_some());
    known && plan.children().into_iter().all(is_stateless)
}

/// The plan with operators of its own: each counts what it did for as long as it is there.
fn copy_plan(plan: &Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    Arc::clone(plan)
        .transform_up(|node| {
            let rows = node.downcast_ref::<RowsExec>().and_then(RowsExec::unopened);
            Ok(Transformed::yes(match rows {
                Some(rows) => Arc::new(rows) as Arc<dyn ExecutionPlan>,
                None => node.reset_state()?,
            }))
        })
        .data()
}
