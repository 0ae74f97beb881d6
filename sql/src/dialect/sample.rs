//! `USING SAMPLE` and `TABLESAMPLE`: a part of the rows, the same each time.
//!
//! Which rows those are follows from their values (from `row` and `pos` where a table has them) and from the
//! number after REPEATABLE, so a sample does not depend on threads, on the machine, or on when it is taken.

mod clause;

use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{TableFactor, TableSample, TableSampleKind, TableSampleUnit, Value};

pub(super) use self::clause::tokens;
use crate::error::SqlError;
use crate::expanded::number_of;

/// The relation that a sample is of, planned, with the sample taken; the relation itself where it is none.
pub(crate) fn sampled(
    mut relation: TableFactor,
    cx: &mut dyn RelationPlannerContext,
) -> DfResult<RelationPlanning> {
    let sample = match &mut relation {
        TableFactor::Table { sample, .. } | TableFactor::Derived { sample, .. } => sample.take(),
        _ => None,
    };
    let Some(TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) = sample
    else {
        return Ok(RelationPlanning::Original(Box::new(relation)));
    };
    let plan = cx.plan(relation)?;
    let plan = part_of(plan, &sample)?;
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
}

fn part_of(plan: LogicalPlan, sample: &TableSample) -> DfResult<LogicalPlan> {
    let wrong = || SqlError::invalid("write a sample as TABLESAMPLE (10 ROWS) or (10 PERCENT)".to_owned());
    let quantity = sample.quantity.as_ref().ok_or_else(wrong)?;
    let amount: f64 = number_of(&quantity.value).and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
    let seed: u64 = match sample.seed.as_ref().map(|seed| &seed.value.value) {
        Some(Value::Number(digits, _)) => digits.parse().map_err(|_| wrong())?,
        Some(_) => return Err(wrong().into()),
        None => 0,
    };
    let key = key(&plan, seed);
    let plan = LogicalPlanBuilder::from(plan);
    match quantity.unit {
        Some(TableSampleUnit::Percent) if amount >= 100.0 => plan.build(),
        Some(TableSampleUnit::Percent) => {
            // A number below 2^64 for each row, so this part of them is below this bound.
            let bound = (amount / 100.0 * u64::MAX as f64) as u64;
            plan.filter(key.lt(lit(bound)))?.build()
        }
        _ => plan.sort([key.sort(true, false)])?.limit(0, Some(amount as usize))?.build(),
    }
}

/// A number for each row that depends on its values alone.
fn key(plan: &LogicalPlan, seed: u64) -> Expr {
    let columns = || plan.schema().iter().map(|(table, field)| (Expr::Column((table, field).into()), field));
    let named = columns().filter(|(_, field)| ["pool", "row", "pos"].contains(&field.name().as_str()));
    let has_row = columns().any(|(_, field)| field.name() == "row");
    let mut values: Vec<Expr> = match has_row {
        true => named.map(|(column, _)| column).collect(),
        false => columns().filter(|(_, f)| !f.data_type().is_nested()).map(|(column, _)| column).collect(),
    };
    values.push(lit(seed));
    gstore_functions::hash().call(values)
}
