//! Influence: the score of every pool row for a target, by one scoring form.
//!
//! [`InfluenceSpec`] says what is asked, [`Plan`] what its names are in a snapshot, [`Prepared`] answers it:
//! from every row, or by a sketch that leaves rows out.
//!
//! Invariants
//! - what is scored is a sample, or (where a question says so) each scored token of one by itself;
//!   both by the same form
//! - a score is a function of the stored bytes and the question: its bits do not depend on threads, blocks,
//!   segments, the filter or other pools
//! - a row that is excluded, and a score that is not finite, never enters a ranking
//! - memory does not grow with the number of rows
//!
//! Rooms, in the order in which a question goes through them; each uses those before it
//! - `spec`: the question as it is asked
//! - `plan`: its names resolved against a snapshot
//! - `prepare`: readers and query vectors, loaded once
//! - `scan`: windows of rows, scored exactly
//! - `rank`: the first k rows, by whichever way reads least
//! - `methods`: scores in row order, self-influence, covariances of losses, neighbours, tiles of a matrix
//! - `explain`: where a score comes from

mod explain;
mod methods;
mod plan;
mod prepare;
mod rank;
mod result;
mod scan;
mod sides;
mod spec;

pub use gstore_curvature::Inversion;

pub use explain::models::{BehindEstimate, RowEstimate};
pub use explain::pair::{Pair, PairCheckpoint, PairModule};
pub use explain::{RowExplanation, TargetNames};
pub use methods::tiles::{Tile, TileWorker, Tiles};
pub use plan::Plan;
pub use plan::checkpoints::PlanCheckpoint;
pub use plan::conversation::{note_of_queries, note_of_shapes, note_of_target};
pub use plan::covariance::PlanModels;
pub use plan::named::{named_kind, names_for, names_of};
pub use plan::precondition::PlanPrecondition;
pub use plan::resolve::{check_targets, named_targets};
pub use plan::side::PlanSide;
pub use plan::vector::{AtHandVector, NO_DOT};
pub use prepare::Prepared;
pub use prepare::encoder::{EncodeRequest, Encoder, TokenRequest};
pub use prepare::overlap::rows_in_targets;
pub use prepare::target_rows::TargetRow;
pub use prepare::target_samples::TargetSamples;
pub use rank::collect::{Collector, ranking_bytes, small_bytes};
pub use rank::diverse::{Diversity, Quota, SelectRequest, Selection};
pub use rank::each::{EachRanking, EachRequest, Rankings};
pub use rank::top::{resolve_share, resolve_top};
pub use result::{
    DiskSummary, EXACT, ExcludedCounts, ExcludedRow, NO_SUBTASK, PlaneSummary, Ranking, Reason, ScanSummary,
    Scored,
};
pub use scan::filter::{RowFilter, RowMask};
pub use scan::terms::Terms;
pub(crate) use scan::windows::MOST_SAMPLES;
pub use spec::mode::{Mode, Plane, SketchMode};
pub use spec::modules::ModuleWeights;
pub use spec::options::{COVARIANCE_OPTIONS, Function, OPTIONS, OptionInfo, PAIR_OPTIONS, Takes};
pub use spec::values::{OptionError, Options, no_solver};
pub use spec::{
    Across, Each, Fold, GIVEN, InfluenceSpec, Method, Missing, Order, Sim, SubtaskBy, TargetRef, Within,
};
