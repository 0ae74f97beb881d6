//! `self_influence(pool, ...)`: the influence of each row on itself.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::Result as DfResult;
use gstore_query::influence::{Diversity, InfluenceSpec, Sim, TargetRef};

use super::columns::{Besides, InfluenceColumns};
use super::options::pairs;
use super::table::InfluenceTable;
use super::{Source, resolve};
use crate::args::{self, Arguments};
use crate::error::SqlError;

/// Options of `self_influence()`; the argument may be given by name as well.
pub(crate) const SELF_OPTIONS: &[&str] = &[
    "pool",
    "checkpoints",
    "weights",
    "run",
    "sim",
    "kind",
    "pool_kind",
    "target_kind",
    "features",
    "missing",
    "partial",
    "modules",
    "k",
];

/// The table function `self_influence`.
#[derive(Debug)]
pub(crate) struct SelfInfluenceFunction(pub(crate) Source);

impl TableFunctionImpl for SelfInfluenceFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let args = Arguments::read("self_influence", args.exprs())?;
        args.check_names(SELF_OPTIONS)?;
        let spec = spec(&args)?;
        let k = args.count("k")?;
        let plan = resolve(&self.0, &spec)?;
        let columns = InfluenceColumns::new(&plan, Besides { own: true, ..Besides::default() });
        Ok(Arc::new(InfluenceTable::new(plan, columns, k, Diversity::default(), true)))
    }
}

/// The question whose target is the pool itself.
fn spec(args: &Arguments) -> Result<InfluenceSpec, SqlError> {
    let [pool] = args.positional(["pool"])?;
    let pools = args::texts("pool", pool)?;
    let spec = InfluenceSpec {
        targets: pools.iter().map(|pool| TargetRef { dataset: pool.clone(), subtask: None }).collect(),
        pools,
        sim: Sim::Dot,
        ..InfluenceSpec::default()
    };
    let spec = pairs(args, spec)?;
    if spec.sim == Sim::Cosine {
        let why =
            "the cosine of a row with itself is 1; self_influence() is a dot product, so leave `sim` out";
        return Err(SqlError::invalid(why.to_owned()).about("sim"));
    }
    Ok(spec)
}
