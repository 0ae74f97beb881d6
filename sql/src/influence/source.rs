//! Calls of table functions, what they read, and their questions over it.

use std::sync::Arc;

use datafusion::catalog::Session;
use gstore_query::ann::Graphs;
use gstore_query::influence::{Encoder, InfluenceSpec, Prepared};
use gstore_query::{QueryError, SideOf};
use gstore_store::{LookupError, Snapshot};

use crate::args::Arguments;
use crate::error::SqlError;
use crate::virtuals::NamedVirtuals;

/// What a table function reads.
#[derive(Debug, Clone)]
pub(crate) struct FunctionSource {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Who computes samples that are given as text.
    pub(crate) encoder: Option<Arc<dyn Encoder>>,
    /// Those that a statement of the session opened.
    pub(crate) graphs: Arc<Graphs>,
}

/// A call of a table function.
pub(crate) struct FunctionCall<'a> {
    pub(crate) source: &'a FunctionSource,
    /// What its statement is planned in.
    pub(crate) session: &'a dyn Session,
    pub(crate) args: Arguments,
    /// The virtual columns that its statement names.
    pub(crate) asked: NamedVirtuals,
}

/// Resolves the question; an unknown name is blamed on the argument that has it.
pub(super) fn resolve(source: &FunctionSource, spec: &InfluenceSpec) -> Result<Prepared, SqlError> {
    let plan = Prepared::with_encoder(&source.snapshot, spec, source.encoder.clone());
    plan.map_err(|error| argument_error(spec, error))
}

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
    SqlError::from(error).about(argument)
}
