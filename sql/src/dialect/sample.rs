//! `USING SAMPLE` and `TABLESAMPLE`: a part of the rows, the same each time.
//!
//! Which rows those are follows from their values and from the number after REPEATABLE, so a sample does not
//! depend on threads, on the machine, or on when it is taken. The rows of a table with numbers (`row`) are
//! told apart by these, so that nothing else is read of them.

mod clause;

use std::sync::Arc;

use arrow_schema::{Field, Fields};
use datafusion::catalog::TableProvider;
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{TableFactor, TableSample, TableSampleKind, TableSampleUnit, Value};

pub(super) use self::clause::tokens;
use crate::error::SqlError;
use crate::expanded::number_of;

/// Whether a table has a row for each sample, or for each of a ranking.
type IsOfSamples<'a> = &'a dyn Fn(&dyn TableProvider) -> bool;

/// The relation that a sample is of, planned, with the sample taken; the relation itself where it is none.
pub(crate) fn sampled(
    mut relation: TableFactor,
    cx: &mut dyn RelationPlannerContext,
    is_of_samples: IsOfSamples<'_>,
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
    let plan = part_of(plan, &sample, is_of_samples)?;
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
}

fn part_of(plan: LogicalPlan, sample: &TableSample, is_of_samples: IsOfSamples<'_>) -> DfResult<LogicalPlan> {
    let wrong = || SqlError::invalid("write a sample as TABLESAMPLE (10 ROWS) or (10 PERCENT)".to_owned());
    let quantity = sample.quantity.as_ref().ok_or_else(wrong)?;
    let amount: f64 = number_of(&quantity.value).and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
    let seed: u64 = match sample.seed.as_ref().map(|seed| &seed.value.value) {
        Some(Value::Number(digits, _)) => digits.parse().map_err(|_| wrong())?,
        Some(_) => return Err(wrong().into()),
        None => 0,
    };
    let values = telling_apart(&plan, is_of_samples);
    let key = gstore_functions::hash().call(values.iter().cloned().chain([lit(seed)]).collect());
    let plan = LogicalPlanBuilder::from(plan);
    match quantity.unit {
        Some(TableSampleUnit::Percent) if amount >= 100.0 => plan.build(),
        Some(TableSampleUnit::Percent) => {
            // A number below 2^64 for each row, so this part of them is below this bound.
            let bound = (amount / 100.0 * u64::MAX as f64) as u64;
            plan.filter(key.lt(lit(bound)))?.build()
        }
        _ => {
            // Of rows with the same number the values decide which come first.
            let order = [key].into_iter().chain(values).map(|value| value.sort(true, false));
            plan.sort(order)?.limit(0, Some((amount as usize).min(MOST_ROWS)))?.build()
        }
    }
}

/// Rows of a sample at most: the engine adds to the number in signed arithmetic.
const MOST_ROWS: usize = usize::MAX >> 2;

/// Columns that together tell the rows of samples and of rankings apart, as far as there are such.
const NUMBERS: [&str; 4] = ["pool", "target", "row", "pos"];

/// The columns that tell the rows of a relation apart: all that have a value, where it is not known that
/// fewer do.
fn telling_apart(plan: &LogicalPlan, is_of_samples: IsOfSamples<'_>) -> Vec<Expr> {
    let is_numbered = is_numbered(plan, is_of_samples);
    let columns = plan.schema().iter().filter(|(_, field)| match is_numbered {
        true => is_number(field),
        false => !field.data_type().is_nested(),
    });
    columns.map(|column| Expr::Column(column.into())).collect()
}

fn is_number(column: &Field) -> bool {
    NUMBERS.contains(&column.name().as_str())
}

/// Whether the rows of a relation are samples, or rows of a ranking, each once at most.
fn is_numbered(plan: &LogicalPlan, is_of_samples: IsOfSamples<'_>) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => {
            source_as_provider(&scan.source).is_ok_and(|table| is_of_samples(&*table))
        }
        LogicalPlan::Projection(projection) => {
            let count = |fields: &Fields| fields.iter().filter(|field| is_number(field)).count();
            let (own, all) = (projection.schema.fields(), projection.input.schema().fields());
            // What is called so is what it was called before.
            let is_own = |(field, expr): (&Arc<Field>, &Expr)| {
                !is_number(field)
                    || matches!(expr.clone().unalias(), Expr::Column(column) if column.name() == field.name())
            };
            count(own) == count(all)
                && own.iter().zip(&projection.expr).all(is_own)
                && is_numbered(&projection.input, is_of_samples)
        }
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_) => plan.inputs().iter().all(|input| is_numbered(input, is_of_samples)),
        _ => false,
    }
}
