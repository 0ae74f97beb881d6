//! Scores of training rows compared with retraining: LDS, leave-one-out, removal curves, flipped labels.
//!
//! [`Truth`] is what retrained models say: of a [`TruthFolder`], which is filled run by run, of an ensemble
//! ([`Truth::of_ensemble`]), or of tables ([`read_tables`]). [`Scores`] are those of any method, read one by
//! one ([`ScoresBuilder`], [`read_scores`]). [`lds()`], [`leave_out`], [`removal_curves`] and
//! [`flip_detection`] compare both.

mod flips;
mod folder;
mod ids;
mod lds;
mod loo;
mod outcome;
mod read;
mod removal;
mod removed;
mod roc;
mod scores;
mod subsets;
mod sums;
mod table;
mod truth;

pub use flips::{Flips, Suspicious, flip_detection};
pub use folder::{PendingRun, QueryLoss, Recipe, TruthFolder, TruthPlan, TruthTexts, artifacts_naming};
pub use ids::Ids;
pub use lds::lds;
pub use loo::leave_out;
pub use outcome::{AttributionOutcome, Comparison};
pub use read::{add_matrix, files_of_scores, read_scores};
pub use removal::removal_curves;
pub use removed::removal_methods;
pub use scores::{MissingScores, Scores, ScoresBuilder, Unknown};
pub use subsets::{Removals, Subset, SubsetKind, leave_groups_out, leave_one_out, random_subsets, removals};
pub use table::read_tables;
pub use truth::{Needed, Signal, Truth};
