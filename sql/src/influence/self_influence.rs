//! `self_influence(pool, ...)`: the influence of each row on itself.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::error::Result as DfResult;
use gstore_query::influence::{Function, InfluenceSpec, Options, Sim, TargetRef};

use super::columns::{ExtraColumns, InfluenceColumns};
use super::question::RankedRelation;
use super::source::{FunctionCall, resolve};
use super::table::InfluenceTable;
use crate::candidates::Candidates;
use crate::error::SqlError;

/// The table function `self_influence`.
pub(crate) fn self_influence_table(call: &FunctionCall<'_>) -> DfResult<Arc<dyn TableProvider>> {
    let options = call.args.options(Function::SelfInfluence, ["pool"])?;
    let k = options.count("k").map_err(SqlError::option)?;
    let plan = resolve(call.source, &spec(&options)?)?;
    let candidates = Candidates::read(&options, &plan.spec().pools, call.session)?;
    let extra = ExtraColumns { own: true, asked: call.asked, ..ExtraColumns::default() };
    let columns = InfluenceColumns::new(&plan, extra);
    Ok(Arc::new(InfluenceTable::new((plan, candidates), columns, RankedRelation::SelfInfluence { k })))
}

/// The question whose target is the pool itself.
fn spec(options: &Options) -> Result<InfluenceSpec, SqlError> {
    let spec = InfluenceSpec::from_options(options).map_err(SqlError::option)?;
    if options.has("sim") && spec.sim == Sim::Cosine {
        let why =
            "the cosine of a row with itself is 1; self_influence() is a dot product, so leave `sim` out";
        return Err(SqlError::invalid(why.to_owned()).about("sim"));
    }
    let itself = |pool: &String| TargetRef { dataset: pool.clone(), subtask: None };
    Ok(InfluenceSpec { targets: spec.pools.iter().map(itself).collect(), sim: Sim::Dot, ..spec })
}
