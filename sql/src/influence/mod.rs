//! `influence(pool, target, ...)`, `self_influence(pool, ...)` and `excluded(pool, target, ...)`: the scoring form as relations.
//! `nearest(pool, ...)` is the same for one vector, with the help of graphs.
//!
//! The question is resolved when the statement is planned; rows are scored when the result is read.

mod columns;
mod each;
mod excluded;
mod exec;
mod explained;
mod given;
mod job;
mod joined;
mod neighbours;
mod options;
mod own;
mod table;
mod values;

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::Result as DfResult;
use gstore_query::influence::{Diversity, Encoder, InfluencePlan, InfluenceSpec, Mode, TargetRef};
use gstore_query::{QueryError, SideOf};
use gstore_store::{LookupError, Snapshot};

use self::columns::{Besides, InfluenceColumns};
use self::each::EachRows;
use self::excluded::ExcludedRows;
pub(crate) use self::neighbours::{NEAREST_OPTIONS, NearestFunction};
use self::options::{each_options, mode, pairs, rules};
pub(crate) use self::own::{SELF_OPTIONS, SelfInfluenceFunction};
use self::table::InfluenceTable;
use super::args::{self, Arguments};
use super::error::SqlError;
use super::leaf::RowsTable;

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
    "prompt",
    "completion",
    "messages",
    "text",
    "exclude_target",
    "mode",
    "miss",
    "tolerance",
    "certified",
    "in_target",
    "explain",
    "quota",
    "quota_by",
    "distinct",
    "round_robin",
    "each",
    "order",
    "k",
];

/// Options of `excluded()`: the same without those of what is shown and how many, which come last. The mode changes nothing there, but a question
/// may be copied from `influence()` as it is.
pub(crate) const EXCLUDED_OPTIONS: &[&str] = INFLUENCE_OPTIONS.split_at(INFLUENCE_OPTIONS.len() - 9).0;

/// The table function `influence`.
#[derive(Debug)]
pub(crate) struct InfluenceFunction(pub(crate) Source);

/// The table function `excluded`.
#[derive(Debug)]
pub(crate) struct ExcludedFunction(pub(crate) Source);

/// What a table function reads.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Who computes samples that are given as text.
    pub(crate) encoder: Option<Arc<dyn Encoder>>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "snapshot {}", self.snapshot.number())
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
        if rules != Diversity::default() && spec.mode != Mode::Exact {
            let why = "quota, distinct and round_robin are applied to all scores; leave the mode sketch out";
            return Err(SqlError::invalid(why.to_owned()).about("mode").into());
        }
        let besides = Besides {
            in_target: args.boolean("in_target")?.unwrap_or(!spec.given.is_empty()),
            explanation: args.boolean("explain")?.unwrap_or(false),
            ..Besides::default()
        };
        let each = each_options(&args, k, &rules, besides)?;
        let plan = resolve(&self.0, &spec)?;
        plan.check_rules(&rules).map_err(|error| {
            let named = if args.option("quota_by").is_some() { "quota_by" } else { "quota" };
            SqlError::query(error).about(named)
        })?;
        let columns = InfluenceColumns::new(&plan, Besides { each: each.is_some(), ..besides });
        Ok(match each {
            Some(options) => Arc::new(RowsTable(Arc::new(EachRows::new(plan, columns, options)))),
            None => Arc::new(InfluenceTable::new(plan, columns, k, rules, false)),
        })
    }
}

impl TableFunctionImpl for ExcludedFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let args = Arguments::read("excluded", args.exprs())?;
        args.check_names(EXCLUDED_OPTIONS)?;
        let plan = resolve(&self.0, &spec(&args)?)?;
        Ok(Arc::new(RowsTable(Arc::new(ExcludedRows::new(plan)))))
    }
}

/// Resolves the question; an unknown name is blamed on the argument that has it.
fn resolve(source: &Source, spec: &InfluenceSpec) -> Result<InfluencePlan, SqlError> {
    let plan = InfluencePlan::with_encoder(&source.snapshot, spec, source.encoder.clone());
    plan.map_err(|error| blamed(spec, error))
}

/// The error with the argument that it is about.
fn blamed(spec: &InfluenceSpec, error: QueryError) -> SqlError {
    let argument = match &error {
        QueryError::Lookup(LookupError::Unknown { what, name, .. }) => match *what {
            "dataset" if spec.pools.contains(name) => Some("pool"),
            "dataset" | "subtask" => Some("target"),
            "checkpoint" => Some("checkpoints"),
            "run" => Some("run"),
            "feature" => Some("features"),
            _ => None,
        },
        QueryError::NoFeature { side: SideOf::Pool, .. } => Some("pool"),
        QueryError::NoFeature { side: SideOf::Target, .. } => Some("target"),
        _ => None,
    };
    SqlError::query(error).about(argument)
}

/// The question that the arguments ask.
fn spec(args: &Arguments) -> Result<InfluenceSpec, SqlError> {
    let given = given::records(args)?;
    let (pool, targets) = match given.is_empty() {
        true => {
            let [pool, target] = args.positional(["pool", "target"])?;
            (pool, args::texts("target", target)?.iter().map(|t| TargetRef::parse(t)).collect())
        }
        // A target beside them stays an argument too many, or is refused with the question.
        false if args.option("target").is_some() => {
            return Err(SqlError::invalid("the target is a dataset or given as text, not both".to_string())
                .about("target"));
        }
        false => {
            let [pool] = args.positional(["pool"])?;
            (pool, Vec::new())
        }
    };
    let spec = InfluenceSpec {
        pools: args::texts("pool", pool)?,
        targets,
        given,
        exclude_target: args.boolean("exclude_target")?.unwrap_or(false),
        per_token: args.boolean("per_token")?.unwrap_or(false),
        ..InfluenceSpec::default()
    };
    let mut spec = pairs(args, spec)?;
    set(args, "within", &mut spec.within)?;
    set(args, "across", &mut spec.across)?;
    set(args, "fold", &mut spec.fold)?;
    set(args, "by", &mut spec.by)?;
    spec.mode = mode(args)?;
    Ok(spec)
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
