//! Depth of the backward pass that a sink needs.

use super::sink::{Sink, Slot};
use crate::architectures::{LinearId, LinearKind, NormId, NormPlace};
use crate::backend::Backend;

/// How far down a layer has to be differentiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BackwardDepth {
    /// Down projection's factors, and those of the norm behind it.
    Down,
    /// To the gate and up projections' factors.
    GateUp,
    /// To the norm before the MLP, the output projection's factors and those of the norm behind it.
    Output,
    /// To the factors of q, k and v and of their norms.
    Attention,
    /// To the layer's inputs: for the layer below, or for the norm before attention.
    Inputs,
}

/// How far down `layer` is wanted for its own sake.
pub(super) fn wanted_depth<B: Backend>(sink: &dyn Sink<B>, layer: usize) -> Option<BackwardDepth> {
    let linear = LinearKind::ALL.into_iter().map(|kind| {
        let depth = match kind {
            LinearKind::Q | LinearKind::K | LinearKind::V => BackwardDepth::Attention,
            LinearKind::O => BackwardDepth::Output,
            LinearKind::Gate | LinearKind::Up => BackwardDepth::GateUp,
            LinearKind::Down => BackwardDepth::Down,
        };
        (Slot::Linear(LinearId::Layer { layer, kind }), depth)
    });
    let norms = [
        (NormPlace::AfterMlp, BackwardDepth::Down),
        (NormPlace::BeforeMlp, BackwardDepth::Output),
        (NormPlace::AfterAttention, BackwardDepth::Output),
        (NormPlace::Query, BackwardDepth::Attention),
        (NormPlace::Key, BackwardDepth::Attention),
        (NormPlace::BeforeAttention, BackwardDepth::Inputs),
    ]
    .map(|(place, depth)| (Slot::Norm(NormId::Layer { layer, place }), depth));
    linear.chain(norms).filter(|(slot, _)| sink.wants(*slot)).map(|(_, depth)| depth).max()
}

/// The lowest of `layers` layers that must be differentiated.
pub(super) fn lowest_wanted<B: Backend>(sink: &dyn Sink<B>, layers: usize) -> Option<usize> {
    if sink.wants(Slot::Embedding) || sink.wants(Slot::Positions) {
        return Some(0);
    }
    (0..layers).find(|layer| wanted_depth(sink, *layer).is_some())
}
