//! Source of a table function, and its question over it.

use std::sync::Arc;

use datafusion::catalog::TableFunctionArgs;
use gstore_query::influence::{Encoder, InfluenceSpec, Prepared};
use gstore_query::{QueryError, SideOf};
use gstore_store::{LookupError, Snapshot};

use crate::error::SqlError;
use crate::virtuals::NamedVirtuals;

/// What a table function reads.
#[derive(Debug, Clone)]
pub(crate) struct FunctionSource {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Who computes samples that are given as text.
    pub(crate) encoder: Option<Arc<dyn Encoder>>,
}

/// The virtual columns that the statement of a call names.
pub(super) fn named_virtuals(args: &TableFunctionArgs) -> NamedVirtuals {
    args.session()
        .config()
        .get_extension::<NamedVirtuals>()
        .map_or_else(NamedVirtuals::default, |asked| *asked)
}

/// Resolves the question; an unknown name is blamed on the argument that has it.
pub(super) fn resolve(source: &FunctionSource, spec: &InfluenceSpec) -> Result<Prepared, SqlError> {
    let plan = Prepared::with_encoder(&source.snapshot, spec, source.encoder.clone());
    plan.map_err(|error| argument_error(spec, error))
}

/// The error with the argument that it is about.
pub(super) fn argument_error(spec: &InfluenceSpec, error: QueryError) -> SqlError {
    let argument = match &error {
        QueryError::Lookup(LookupError::Unknown { what, name, .. }) => match *what {
            "dataset" if spec.pools.contains(name) => Some("pool"),
            "dataset" | "subtask" => Some("target"),
            "checkpoint" => Some("checkpoints"),
            "ensemble" => Some("ensemble"),
            "signal" => Some("signal"),
            "group" => Some("groups"),
            "run" => Some("run"),
            "feature" => Some("features"),
            "feature kind" => Some("kind"),
            _ => None,
        },
        QueryError::Artifact(_) | QueryError::Curvature(_) => Some("precondition"),
        QueryError::NoFeature { side: SideOf::Pool, .. } => Some("pool"),
        QueryError::NoFeature { side: SideOf::Target, .. } => Some("target"),
        _ => None,
    };
    SqlError::query(error).about(argument)
}
