//! Optimizer of a saved state, told by what the state keeps.

use gstore_core::named;

use super::state;
use crate::files::TorchArchive;
use crate::files::pickle::PickleValue;

/// An optimizer with which a training may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavedOptimizer {
    /// AdamW, or Adam, which keeps the same.
    AdamW,
    /// SGD with momentum.
    MomentumSgd,
    /// SGD without momentum, which keeps nothing.
    PlainSgd,
    /// One with which no training goes on, such as Adafactor.
    Other,
}

/// What Adafactor, RMSprop and NAdam keep, which also keep values under names of Adam's or of SGD's.
const OF_OTHERS: [&str; 3] = ["RMS", "square_avg", "mu_product"];

impl SavedOptimizer {
    /// That of a state: by what it keeps of its tensors, and where that is nothing by the settings of its
    /// groups. `None` where nothing is kept, and no setting tells it.
    pub fn of(archive: &TorchArchive) -> Option<SavedOptimizer> {
        let Ok(entries) = state::entries(archive) else { return Some(SavedOptimizer::Other) };
        let is_kept = |key: &str| {
            entries.iter().any(|(_, kept)| !matches!(kept.get(key), None | Some(PickleValue::None)))
        };
        let has_both = is_kept("momentum_buffer") && is_kept("exp_avg");
        if has_both || OF_OTHERS.into_iter().any(is_kept) {
            Some(SavedOptimizer::Other)
        } else if is_kept("momentum_buffer") {
            Some(SavedOptimizer::MomentumSgd)
        } else if is_kept("exp_avg") && is_kept("exp_avg_sq") {
            Some(SavedOptimizer::AdamW)
        } else if is_plain_sgd(archive) {
            Some(SavedOptimizer::PlainSgd)
        } else {
            let is_empty = |kept: &PickleValue| kept.entries().is_some_and(<[_]>::is_empty);
            (!entries.iter().all(|(_, kept)| is_empty(kept))).then_some(SavedOptimizer::Other)
        }
    }
}

/// Whether the groups have a setting that only SGD has, and no momentum.
fn is_plain_sgd(archive: &TorchArchive) -> bool {
    state::settings(archive).iter().any(|group| group.get("nesterov").is_some())
        && state::group_values(archive, "momentum").iter().all(|momentum| *momentum == 0.0)
}

/// Whether the optimizer of a state went up the gradient, for some of the tensors at least: what it keeps is
/// of the negated gradient.
pub fn is_maximizing(archive: &TorchArchive) -> bool {
    state::is_set(archive, "maximize")
}

// As messages have it.
named!(SavedOptimizer {
    AdamW = "AdamW",
    MomentumSgd = "SGD with momentum",
    PlainSgd = "SGD without momentum",
    Other = "one that is not understood here",
});
