//! `influence(pool, target, ...)` and `excluded(pool, target, ...)`: the scoring form as relations.
//!
//! The question is resolved when the statement is planned; rows are scored when the result is read.

mod columns;
mod excluded;
mod exec;
mod explained;
mod job;
mod joined;
mod table;
mod values;

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::Result as DfResult;
use gstore_store::{LookupError, Snapshot};

use self::columns::InfluenceColumns;
use self::excluded::ExcludedRows;
use self::table::InfluenceTable;
use super::args::{self, Arguments};
use super::error::SqlError;
use super::leaf::RowsTable;
use crate::QueryError;
use crate::influence::{Diversity, InfluencePlan, InfluenceSpec, Quota, TargetRef};

/// Options of `influence()`; the two arguments may be given by name as well.
pub(crate) const INFLUENCE_OPTIONS: &[&str] = &[
    "pool",
    "target",
    "checkpoints",
    "weights",
    "run",
    "within",
    "across",
    "fold",
    "sim",
    "kind",
    "pool_kind",
    "target_kind",
    "features",
    "missing",
    "partial",
    "by",
    "modules",
    "per_token",
    "explain",
    "quota",
    "quota_by",
    "distinct",
    "round_robin",
    "k",
];

/// Options of `excluded()`: the same without those of what is shown and how many, which come last.
pub(crate) const EXCLUDED_OPTIONS: &[&str] = INFLUENCE_OPTIONS.split_at(INFLUENCE_OPTIONS.len() - 6).0;

/// The table function `influence`.
#[derive(Debug)]
pub(crate) struct InfluenceFunction(pub(crate) Source);

/// The table function `excluded`.
#[derive(Debug)]
pub(crate) struct ExcludedFunction(pub(crate) Source);

/// What a table function reads.
#[derive(Clone)]
pub(crate) struct Source(pub(crate) Arc<Snapshot>);

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "snapshot {}", self.0.number())
    }
}

impl TableFunctionImpl for InfluenceFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let args = Arguments::read("influence", args.exprs())?;
        args.check_names(INFLUENCE_OPTIONS)?;
        let spec = spec(&args)?;
        let k = args.count("k")?;
        let rules = rules(&args)?;
        if rules != Diversity::default() && k.is_none() {
            return Err(SqlError::invalid(
                "quota, distinct and round_robin choose the rows of an answer of a given length; say how long with k => n".to_owned(),
            )
            .into());
        }
        let explain = args.boolean("explain")?.unwrap_or(false);
        let plan = resolve(&self.0.0, &spec)?;
        let columns = InfluenceColumns::new(&plan, explain);
        Ok(Arc::new(InfluenceTable::new(plan, columns, k, rules)))
    }
}

impl TableFunctionImpl for ExcludedFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let args = Arguments::read("excluded", args.exprs())?;
        args.check_names(EXCLUDED_OPTIONS)?;
        let plan = resolve(&self.0.0, &spec(&args)?)?;
        Ok(Arc::new(RowsTable(Arc::new(ExcludedRows::new(plan)))))
    }
}

/// Resolves the question; an unknown name is blamed on the argument that has it.
fn resolve(snapshot: &Arc<Snapshot>, spec: &InfluenceSpec) -> Result<InfluencePlan, SqlError> {
    InfluencePlan::new(snapshot, spec).map_err(|error| {
        let argument = match &error {
            QueryError::Lookup(LookupError::Unknown { what, name, .. }) => match *what {
                "dataset" if spec.pools.contains(name) => Some("pool"),
                "dataset" | "subtask" => Some("target"),
                "checkpoint" => Some("checkpoints"),
                "run" => Some("run"),
                "feature" => Some("features"),
                _ => None,
            },
            QueryError::NoFeature { dataset, .. } if spec.pools.contains(dataset) => Some("pool"),
            QueryError::NoFeature { .. } => Some("target"),
            _ => None,
        };
        SqlError::query(error).about(argument)
    })
}

/// The question that the arguments ask.
fn spec(args: &Arguments) -> Result<InfluenceSpec, SqlError> {
    let [pool, target] = args.positional(["pool", "target"])?;
    let mut spec = InfluenceSpec {
        pools: args::texts("pool", pool)?,
        targets: args::texts("target", target)?.iter().map(|t| TargetRef::parse(t)).collect(),
        run: args.text("run")?,
        checkpoints: args.texts("checkpoints")?,
        weights: args.numbers("weights")?,
        pool_kind: args.text("pool_kind")?.or(args.text("kind")?),
        target_kind: args.text("target_kind")?,
        features: args.texts("features")?.unwrap_or_default(),
        partial: args.boolean("partial")?.unwrap_or(false),
        per_token: args.boolean("per_token")?.unwrap_or(false),
        ..InfluenceSpec::default()
    };
    set(args, "within", &mut spec.within)?;
    set(args, "across", &mut spec.across)?;
    set(args, "fold", &mut spec.fold)?;
    set(args, "sim", &mut spec.sim)?;
    set(args, "missing", &mut spec.missing)?;
    set(args, "by", &mut spec.by)?;
    if let Some(globs) = args.texts("modules")? {
        spec.modules = Some(globs.join(", ").parse().map_err(|e| SqlError::query(e).about("modules"))?);
    }
    Ok(spec)
}

/// The rules that the arguments name.
fn rules(args: &Arguments) -> Result<Diversity, SqlError> {
    let quota = match args.texts("quota")? {
        Some(limits) => {
            let quota: Quota = limits.join(",").parse().map_err(|e| SqlError::query(e).about("quota"))?;
            Some(match args.text("quota_by")? {
                Some(column) => quota.by(column),
                None => quota,
            })
        }
        None => None,
    };
    let round_robin = match args.text("round_robin")? {
        Some(word) => Some(word.parse().map_err(|e| SqlError::query(e).about("round_robin"))?),
        None => None,
    };
    let distinct = match args.numbers("distinct")?.as_deref() {
        None => None,
        Some([limit]) if (-1.0..=1.0).contains(limit) => Some(*limit),
        Some(_) => {
            return Err(
                SqlError::invalid("`distinct` is one cosine, between -1 and 1".to_owned()).about("distinct")
            );
        }
    };
    Ok(Diversity { quota, distinct, round_robin })
}

fn set<T: std::str::FromStr<Err = QueryError>>(
    args: &Arguments,
    name: &'static str,
    term: &mut T,
) -> Result<(), SqlError> {
    if let Some(word) = args.text(name)? {
        *term = word.parse().map_err(|e| SqlError::query(e).about(name))?;
    }
    Ok(())
}
