//! Questions for scores: what is scored for what, with which curvature.

use std::io::Write;
use std::path::PathBuf;

use gstore_curvature::{Filter, SolveLimits, Strategy};
use gstore_data::SampleSource;
use gstore_ingest::curvature::Measurement;
use gstore_ingest::pipeline::{CheckpointArg, IngestRequest};
use gstore_sql::output::{Format, TableStyle};
use serde::Serialize;

/// Scores that are to be computed.
#[derive(Clone)]
pub struct ScoreRequest {
    /// Name of the factors in the store; none: no curvature, the identity.
    pub factors: Option<String>,
    /// How curvature is approximated; none: as the factors were fitted.
    pub strategy: Option<Strategy>,
    /// The pool, its model and checkpoint, text options, modules, limits; as
    /// [`like_factors`](super::like_factors) finds them.
    pub ingest: IngestRequest,
    /// Batches may have more tokens than those of `ingest`, where queries make that worth it and as many of
    /// them fit in memory.
    pub enlarges_batches: bool,
    /// What rows are scored for.
    pub target: ScoreTarget,
    /// Filters of the curvature's eigenvalues, at least one; all of them take one pass.
    pub filters: Vec<Filter>,
    /// Segments of training, from the first to the last, in place of factors and filters; `ingest` then has
    /// the last checkpoint of the last one, at which queries are measured. Empty: the curvature is that of
    /// one checkpoint.
    pub segments: Vec<ScoreSegment>,
    /// What scores are given of.
    pub form: ScoreForm,
    /// Queries are kept as matrices of this rank.
    pub rank: Option<usize>,
    /// What is rotated into the eigenbasis for each product; none: whichever takes fewer multiplications.
    pub rotate: Option<RotatedSide>,
    /// Queries are solved for with the curvature itself; none: its factors alone are inverted.
    pub solve: Option<ScoreSolve>,
    /// Of each query and damping only so many rows, the highest scores first.
    pub top: Option<usize>,
    /// Use factors of another checkpoint, other data or another encoding.
    pub stale: bool,
    /// Folder of temporary files, which is there: with several passes the sums over those before one.
    pub scratch: PathBuf,
}

/// An iterative solve on top of the factors.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreSolve {
    /// When it ends.
    pub limits: SolveLimits,
    /// Products pass over so many of the rows that were fitted on, drawn by the fit's seed; none: all.
    pub rows: Option<u64>,
    /// The dataset of these rows, where the factors do not say which they were fitted on: all that it has.
    pub dataset: Option<String>,
}

impl ScoreRequest {
    /// Names of the factors, in the order of the segments; none without curvature.
    pub(super) fn names(&self) -> Vec<&str> {
        match &self.segments[..] {
            [] => self.factors.as_deref().into_iter().collect(),
            segments => segments.iter().map(|segment| segment.factors.as_str()).collect(),
        }
    }

    /// What scores are called in a report.
    pub(super) fn title(&self) -> String {
        let names = self.names();
        if names.is_empty() { "identity".to_owned() } else { names.join(", ") }
    }
}

/// A segment of training whose curvature is taken for constant (SOURCE; Bae et al., arXiv 2405.12186).
#[derive(Debug, Clone)]
pub struct ScoreSegment {
    /// Name of its factors in the store.
    pub factors: String,
    /// Its steps and their mean learning rate, as [`Filter::source`].
    pub filter: Filter,
    /// Folder of the model that its checkpoints are of.
    pub model: PathBuf,
    /// Checkpoints over which the gradients of the pool's rows are averaged, at least one.
    pub checkpoints: Vec<CheckpointArg>,
}

/// What rows are scored for.
#[derive(Clone)]
pub enum ScoreTarget {
    /// Samples, and what is measured of them.
    Samples {
        /// Where they are.
        source: SampleSource,
        /// Only the first so many.
        limit: Option<usize>,
        /// What their gradients are of.
        measurement: Measurement,
        /// Their gradients are summed: one query.
        summed: bool,
    },
    /// Each row for itself: what is measured of it, and the gradient of its loss.
    Own {
        /// What one of the two gradients is of.
        measurement: Measurement,
    },
}

impl ScoreTarget {
    /// Whether rows are scored for themselves.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// Whether rows scored for themselves have gradients of something else than the loss as well.
    pub(super) fn measures_rows(&self) -> bool {
        matches!(self, Self::Own { measurement } if *measurement != Measurement::Loss)
    }
}

/// The side of a score that is rotated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RotatedSide {
    /// Queries, into the eigenbasis and back: `<Q_S F(Q_S' G_q Q_A) Q_A', G_r>`.
    Queries,
    /// Rows, and queries one way: `<F(Q_S' G_q Q_A), Q_S' G_r Q_A>`.
    Rows,
}

/// What scores are given of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScoreForm {
    /// Parts of a row that have scores of their own.
    pub per: ScorePer,
    /// Scores are summed over the rows of the pool.
    pub summed: bool,
}

/// Parts of a row that have scores of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScorePer {
    /// None: the row has one.
    #[default]
    Row,
    /// Each module.
    Module,
    /// Each token.
    Token,
}

/// A table of scores: where it goes, and in which format.
pub struct TableOutput<'a> {
    /// Receives it.
    pub out: Box<dyn Write + Send + 'a>,
    /// Its format.
    pub format: Format,
    /// How a table for reading looks.
    pub style: TableStyle,
}

/// Where scores go.
#[derive(Default)]
pub struct ScoreOutput<'a> {
    /// A table.
    pub table: Option<TableOutput<'a>>,
    /// A folder of scores that Kronfluence reads.
    pub folder: Option<PathBuf>,
    /// A report in Markdown: of each query the rows with the highest and the lowest scores, and figures of
    /// all.
    pub report: Option<&'a mut dyn Write>,
}

/// Outputs for which all scores are held until the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldOutputs {
    /// A folder of Kronfluence's.
    pub folder: bool,
    /// A report.
    pub report: bool,
}

impl HeldOutputs {
    /// Whether there is one.
    pub fn any(self) -> bool {
        self.folder || self.report
    }
}

/// What scoring did, or will do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ScoreReport {
    /// The pool.
    pub pool: String,
    /// Its rows.
    pub rows: u64,
    /// Those of them without a scored token: tables and reports leave them out, and in Kronfluence's files
    /// their scores are 0. None in a forecast.
    pub no_scored: Option<u64>,
    /// Queries; none where rows are scored for themselves.
    pub queries: Option<usize>,
    /// Modules.
    pub modules: usize,
    /// How curvature is approximated.
    pub strategy: String,
    /// What is rotated for each product; none where nothing is.
    pub rotated: Option<RotatedSide>,
    /// Filters of eigenvalues, without dampings; of segments each its own.
    pub filters: Vec<String>,
    /// Dampings of those that invert; none is a tenth of each module's mean eigenvalue.
    pub dampings: Vec<Option<f64>>,
    /// The least share of a query's squared length, preconditioned, that matrices of the rank have; of all
    /// queries and filters. None without a rank, and in a forecast.
    pub kept_min: Option<f64>,
    /// The middle one of these shares.
    pub kept_median: Option<f64>,
    /// Dataset of the rows that an iterative solve passes over; none without a solve.
    pub solver_data: Option<String>,
    /// Rows that each of its products passes over; none without a solve.
    pub solver_rows: Option<u64>,
    /// How each query was solved for, in their order; empty without a solve, and in a forecast.
    pub solved: Vec<SolvedQuery>,
    /// Passes over the pool, of all checkpoints.
    pub passes: usize,
    /// Bytes of memory, about.
    pub memory: u64,
    /// Bytes of temporary files, while there are several checkpoints or passes for some layers each.
    pub disk: u64,
    /// Why the factors are stale, where they are and were used all the same.
    pub stale: Option<String>,
    /// Lines of the table.
    pub lines: u64,
}

/// How a query was solved for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SolvedQuery {
    /// Its id.
    pub query: String,
    /// Products with the curvature: passes over its rows.
    pub iterations: usize,
    /// Length of what is left of the query's gradient, as a part of that.
    pub residual: f64,
    /// The same of the factors' own answer.
    pub start: f64,
    /// Why it could not be solved for; it then has no scores.
    pub failed: Option<String>,
}
