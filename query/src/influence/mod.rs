//! Influence: the score of every pool row for a target, by one scoring form.
//!
//! [`InfluenceSpec`] says what is asked, [`InfluencePlan`] resolves it against a snapshot and answers it: from every row, or by a
//! sketch that leaves rows out.
//!
//! Invariants
//! - what is scored is a sample, or (where a question says so) each scored token of one by itself; both by the same form
//! - a score is a function of the stored bytes and the question: its bits do not depend on threads, blocks, segments, the filter
//!   or other pools
//! - a row that is excluded, and a score that is not finite, never enters a ranking
//! - memory does not grow with the number of rows

mod answer;
mod cascade;
mod checkpoints;
mod collect;
mod diverse;
mod each;
mod encoder;
mod explain;
mod explanation;
mod filter;
mod matrix;
mod members;
mod mode;
mod modules;
mod neighbours;
mod overlap;
mod own;
mod pair;
mod plan;
mod ready;
mod resolve;
mod result;
mod samples;
mod scan;
mod shortlist;
mod skip;
mod slots;
mod spec;
mod stream;
mod summary;
mod target;
mod terms;
mod tiles;
mod top;
pub(crate) mod values;
mod windows;

pub use checkpoints::PlanCheckpoint;
pub use collect::{Collector, small_bytes};
pub use diverse::{Diversity, Quota, SelectRequest, Selection};
pub use each::{EachRanking, EachRequest, Rankings};
pub use encoder::{EncodeFeature, EncodeRequest, EncodedSamples, Encoder, EncoderError};
pub use explain::{Explain, ExplainCheckpoint};
pub use explanation::{RowExplanation, TargetNames};
pub use filter::{RowFilter, RowMask};
pub use matrix::Matrix;
pub use members::TargetRow;
pub use mode::{Mode, Plane, SketchMode};
pub use modules::ModuleWeights;
pub use neighbours::AtHandVector;
pub use pair::{Pair, PairCheckpoint, PairModule};
pub use plan::{InfluencePlan, PlanSide};
pub use result::{Excluded, ExcludedCounts, NO_SUBTASK, PlaneSummary, Ranking, Reason, ScanSummary, Scored};
pub use samples::TargetSamples;
pub use spec::{Across, Each, Fold, GIVEN, InfluenceSpec, Missing, Order, Sim, SubtaskBy, TargetRef, Within};
pub use summary::EXACT;
pub use terms::Terms;
pub use tiles::{Tile, TileWorker, Tiles};
pub use top::resolve_top;
pub(crate) use windows::MOST_SAMPLES;
