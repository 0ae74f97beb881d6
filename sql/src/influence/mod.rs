//! `influence(pool, target, ...)` and its relatives as relations.
//!
//! `daunce(pool, target, ...)` is the same question with covariances of losses for products of vectors.
//! `self_influence(pool, ...)` and `excluded(pool, target, ...)` have the same scoring form;
//! `nearest(pool, ...)` is the same for one vector, with the help of graphs.
//!
//! The question is resolved when the statement is planned; rows are scored when the result is read.

mod columns;
mod each;
mod excluded;
mod exec;
mod explained;
mod job;
mod joined;
mod nearest;
mod question;
mod search;
mod self_influence;
mod source;
mod table;
mod values;

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::error::Result as DfResult;
use gstore_query::influence::{Diversity, Function, InfluenceSpec, Mode, Options, Order};

use self::columns::{ExtraColumns, InfluenceColumns};
use self::each::{EachOptions, EachRows};
use self::excluded::ExcludedRows;
pub(crate) use self::nearest::nearest_table;
use self::question::RankedRelation;
pub(crate) use self::self_influence::self_influence_table;
use self::source::resolve;
pub(crate) use self::source::{FunctionCall, FunctionSource};
pub(crate) use self::table::InfluenceTable;
use super::args::Arguments;
use super::candidates::Candidates;
use super::error::SqlError;
use super::scan::RowsTable;

/// Whether a table has a row for each sample, or for each of a ranking, with its number and its record.
pub(crate) fn is_of_samples(table: &dyn TableProvider) -> bool {
    table.is::<InfluenceTable>() || table.downcast_ref::<RowsTable>().is_some_and(|rows| rows.0.has_records())
}

/// The rows that a table may rank, where an option chooses them.
pub(crate) fn candidates_of(table: &dyn TableProvider) -> Option<&Candidates> {
    match table.downcast_ref::<InfluenceTable>() {
        Some(ranked) => ranked.candidates(),
        None => table.downcast_ref::<RowsTable>()?.0.candidates(),
    }
}

/// The table function `influence`.
pub(crate) fn influence_table(call: &FunctionCall<'_>) -> DfResult<Arc<dyn TableProvider>> {
    ranked_table(call, options(&call.args, Function::Influence)?)
}

/// The table function `daunce`.
pub(crate) fn daunce_table(call: &FunctionCall<'_>) -> DfResult<Arc<dyn TableProvider>> {
    ranked_table(call, call.args.options(Function::Daunce, ["pool", "target"])?)
}

/// Scores of a pool for a target, by whichever method the options ask for.
fn ranked_table(call: &FunctionCall<'_>, options: Options) -> DfResult<Arc<dyn TableProvider>> {
    let spec = InfluenceSpec::from_options(&options).map_err(SqlError::option)?;
    let k = options.count("k").map_err(SqlError::option)?;
    let rules = Diversity::from_options(&options).map_err(SqlError::option)?;
    if rules != Diversity::default() && k.is_none() {
        return Err(SqlError::invalid(
            "quota, distinct and round_robin choose the rows of an answer of a given length; say how long with k => n".to_owned(),
        )
        .into());
    }
    if rules != Diversity::default() && spec.mode != Mode::Exact {
        let why = "quota, distinct and round_robin are applied to all scores; leave the mode sketch out";
        return Err(SqlError::invalid(why.to_owned()).about("mode").into());
    }
    let flag = |name| options.flag(name).map_err(SqlError::option);
    let besides = ExtraColumns {
        in_target: flag("in_target")?.unwrap_or(!spec.given.is_empty()),
        explanation: flag("explain")?.unwrap_or(false),
        asked: call.asked,
        ..ExtraColumns::default()
    };
    let each = EachOptions::read(&options, k, &rules, besides)?;
    let order = options.word("order").map_err(SqlError::option)?;
    let plan = resolve(call.source, &spec)?;
    let candidates = Candidates::read(&options, &plan.spec().pools, call.session)?;
    plan.check_rules(&rules).map_err(|error| {
        let named = if options.has("quota_by") { "quota_by" } else { "quota" };
        SqlError::from(error).about(named)
    })?;
    let columns = InfluenceColumns::new(&plan, ExtraColumns { each: each.is_some(), ..besides });
    let relation = match k {
        Some(k) => RankedRelation::Best { k, rules, order: order.unwrap_or(Order::Best) },
        None => RankedRelation::All,
    };
    Ok(match each {
        Some(options) => Arc::new(RowsTable(Arc::new(EachRows::new((plan, candidates), columns, options)))),
        None => Arc::new(InfluenceTable::new((plan, candidates), columns, relation)),
    })
}

/// The table function `excluded`.
pub(crate) fn excluded_table(call: &FunctionCall<'_>) -> DfResult<Arc<dyn TableProvider>> {
    let options = options(&call.args, Function::Excluded)?;
    let spec = InfluenceSpec::from_options(&options).map_err(SqlError::option)?;
    Ok(Arc::new(RowsTable(Arc::new(ExcludedRows::new(resolve(call.source, &spec)?)))))
}

/// The options of a call about a target, which is a dataset or given as text.
fn options(args: &Arguments, function: Function) -> Result<Options, SqlError> {
    match ["prompt", "completion", "messages", "text"].into_iter().find(|name| args.has(name)) {
        Some(name) if args.count() == 2 => Err(SqlError::invalid(format!(
            "`{name}` takes the place of the target: leave one of the two out"
        ))),
        Some(_) => args.options(function, ["pool"]),
        None => args.options(function, ["pool", "target"]),
    }
}
