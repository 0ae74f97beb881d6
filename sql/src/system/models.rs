//! Checkpoints of runs, and models of ensembles.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, UInt64Array};
use gstore_store::{EnsemblePart, Member, RunPart};

use super::batch::{Batch, Null, batch, maybe_text, number, text};

pub(super) fn checkpoints(runs: &[Arc<RunPart>]) -> Batch {
    let all: Vec<_> = runs.iter().flat_map(|r| r.checkpoints.iter().map(move |c| (r, c))).collect();
    let share = |run: &RunPart, weight: Option<f64>| {
        let total: f64 = run.checkpoints.iter().map(|c| c.weight).sum::<Option<f64>>()?;
        weight.map(|w| w / total).filter(|w| w.is_finite())
    };
    batch([
        ("run", text(all.iter().map(|(r, _)| r.name.as_str())), Null::No),
        ("name", text(all.iter().map(|(_, c)| c.name.as_str())), Null::No),
        ("step", Arc::new(all.iter().map(|(_, c)| c.step).collect::<UInt64Array>()), Null::Yes),
        ("weight", Arc::new(all.iter().map(|(_, c)| c.weight).collect::<Float64Array>()), Null::Yes),
        (
            "normalised_weight",
            Arc::new(all.iter().map(|(r, c)| share(r, c.weight)).collect::<Float64Array>()),
            Null::Yes,
        ),
        ("checkpoint_id", text(all.iter().map(|(_, c)| c.checkpoint.to_string())), Null::No),
        ("base", text(all.iter().map(|(_, c)| c.base.as_str())), Null::No),
    ])
}

pub(super) fn members(ensembles: &[Arc<EnsemblePart>], served: bool) -> Batch {
    let all: Vec<_> = ensembles
        .iter()
        .flat_map(|e| e.members.iter().enumerate().map(move |(place, member)| (e, place as u64, member)))
        .collect();
    let float = |of: fn(&Member) -> Option<f64>| -> ArrayRef {
        Arc::new(all.iter().map(|(_, _, m)| of(m)).collect::<Float64Array>())
    };
    let count = |of: fn(&Member) -> Option<u64>| -> ArrayRef {
        Arc::new(all.iter().map(|(_, _, m)| of(m)).collect::<UInt64Array>())
    };
    batch([
        ("ensemble", text(all.iter().map(|(e, ..)| e.name.as_str())), Null::No),
        ("place", number(all.iter().map(|(_, place, _)| *place)), Null::No),
        ("id", text(all.iter().map(|(_, _, m)| m.id.as_str())), Null::No),
        ("theta0", text(all.iter().map(|(_, _, m)| m.group.as_str())), Null::No),
        ("seed", count(|m| m.seed), Null::Yes),
        ("variant", maybe_text(all.iter().map(|(_, _, m)| m.variant.as_deref())), Null::Yes),
        ("rho", float(|m| m.settings.rho), Null::Yes),
        ("gamma", float(|m| m.settings.gamma), Null::Yes),
        ("lr", float(|m| m.settings.lr), Null::Yes),
        ("steps", count(|m| m.settings.steps), Null::Yes),
        ("subset", count(|m| m.subset.as_ref().map(|s| s.size)), Null::Yes),
        (
            "checkpoint_id",
            maybe_text(all.iter().map(|(_, _, m)| m.weights.as_ref().map(|w| w.checkpoint.to_string()))),
            Null::Yes,
        ),
        (
            "folder",
            maybe_text(all.iter().map(|(_, _, m)| {
                let weights = m.weights.as_ref().filter(|_| !served);
                weights.and_then(|weights| weights.folder.clone())
            })),
            Null::Yes,
        ),
    ])
}
