//! Gradient layout: the place at which each tracked tensor's gradient is formed.
//!
//! For a gradient of each sample, tensors are formed group by group: those of one decoder layer, and those
//! that belong to none. Only the buffers of one group of layers exist at a time, so memory does not grow with
//! the depth of the model.

use std::collections::BTreeMap;

use crate::architectures::{Decoder, LinearId, NormId, Param, TensorRole, WeightSlice};
use crate::params::{TensorSpec, total_len};
use crate::passes::Slot;

/// A tensor within the buffer of its group.
#[derive(Debug, Clone)]
pub struct TensorSlice {
    /// Which of the tracked tensors.
    pub tensor: usize,
    /// Where it starts in a sample's buffer.
    pub offset: usize,
    /// Number of values.
    pub len: usize,
    /// For fused rows that do not lie one after the other: where each formed row of `width` values belongs.
    pub order: Option<RowOrder>,
}

/// Rows that are formed piece by piece and belong elsewhere.
#[derive(Debug, Clone)]
pub struct RowOrder {
    /// Where each formed row belongs.
    pub rows: Vec<usize>,
    /// Values of a row.
    pub width: usize,
}

impl RowOrder {
    /// None if the pieces are in order already.
    pub fn of(pieces: &[WeightSlice], width: usize) -> Option<RowOrder> {
        let rows: Vec<usize> = pieces.iter().flat_map(|piece| piece.rows.iter()).collect();
        let in_order = rows.iter().enumerate().all(|(i, row)| i == *row);
        (!in_order).then_some(RowOrder { rows, width })
    }

    /// Puts formed rows where they belong.
    pub fn apply(&self, formed: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.resize(formed.len(), 0.0);
        for (values, row) in formed.chunks_exact(self.width).zip(&self.rows) {
            out[row * self.width..(row + 1) * self.width].copy_from_slice(values);
        }
    }
}

/// Where the factors of a slot are added up.
#[derive(Debug, Clone, Copy, Default)]
pub struct SlotOffsets {
    /// The group: 0 for tensors of no layer, else the layer plus one.
    pub group: usize,
    /// Start of the weight's part.
    pub weight: Option<usize>,
    /// Start of the bias's part.
    pub bias: Option<usize>,
}

/// The tracked tensors of a decoder, by group and by slot.
#[derive(Debug, Clone, Default)]
pub struct GradLayout {
    /// For each group its tensors.
    pub groups: Vec<Vec<TensorSlice>>,
    /// Length of a sample's buffer in each group.
    pub widths: Vec<usize>,
    /// Where each slot's factors go.
    pub targets: BTreeMap<Slot, SlotOffsets>,
}

impl GradLayout {
    /// `tracked`: indices into `decoder.params`; tensors are numbered in that order, and only those that
    /// `formed` accepts are formed.
    pub fn new(decoder: &Decoder, tracked: &[usize], formed: impl Fn(usize) -> bool) -> GradLayout {
        let mut layout = GradLayout {
            groups: vec![Vec::new(); decoder.layers + 1],
            widths: vec![0; decoder.layers + 1],
            targets: BTreeMap::new(),
        };
        for (tensor, param) in tracked.iter().enumerate().filter(|(tensor, _)| formed(*tensor)) {
            if let Some(param) = decoder.params.get(*param) {
                layout.add(decoder, tensor, param);
            }
        }
        layout
    }

    /// Width of the norm whose weight or bias goes to a target.
    pub(crate) fn norm_width(&self, target: &SlotOffsets) -> usize {
        let start = target.weight.or(target.bias);
        let places = &self.groups[target.group];
        places.iter().find(|place| Some(place.offset) == start).map_or(0, |place| place.len)
    }

    fn add(&mut self, decoder: &Decoder, tensor: usize, param: &Param) {
        let group = group_of(&param.role);
        let offset = self.widths[group];
        let len: usize = param.shape.iter().product();
        self.widths[group] += len;
        let order = match &param.role {
            TensorRole::Weight(pieces) => RowOrder::of(pieces, param.shape[1]),
            TensorRole::Bias(pieces) => RowOrder::of(pieces, 1),
            _ => None,
        };
        self.groups[group].push(TensorSlice { tensor, offset, len, order });
        let mut target = |slot, weight: Option<usize>, bias: Option<usize>| {
            let target = self.targets.entry(slot).or_insert(SlotOffsets { group, ..SlotOffsets::default() });
            target.weight = target.weight.or(weight);
            target.bias = target.bias.or(bias);
        };
        match &param.role {
            TensorRole::Embedding => {
                target(Slot::Embedding, Some(offset), None);
                if decoder.tied {
                    target(Slot::Linear(LinearId::Head), Some(offset), None);
                }
            }
            TensorRole::Positions => target(Slot::Positions, Some(offset), None),
            TensorRole::Weight(pieces) => each_piece(pieces, offset, param.shape[1], |slot, at| {
                target(slot, Some(at), None);
            }),
            TensorRole::Bias(pieces) => {
                each_piece(pieces, offset, 1, |slot, at| target(slot, None, Some(at)))
            }
            TensorRole::NormWeight(id) => target(Slot::Norm(*id), Some(offset), None),
            TensorRole::NormBias(id) => target(Slot::Norm(*id), None, Some(offset)),
        }
    }
}

/// Pieces follow each other in the order in which they are listed.
fn each_piece(pieces: &[WeightSlice], offset: usize, width: usize, mut f: impl FnMut(Slot, usize)) {
    let mut at = offset;
    for piece in pieces {
        f(Slot::Linear(piece.linear), at);
        at += piece.rows.len() * width;
    }
}

/// The group of a tensor: 0 without a layer, else the layer plus one.
fn group_of(role: &TensorRole) -> usize {
    let of_linear = |pieces: &[WeightSlice]| match pieces.first().map(|p| p.linear) {
        Some(LinearId::Layer { layer, .. }) => layer + 1,
        _ => 0,
    };
    match role {
        TensorRole::Weight(pieces) | TensorRole::Bias(pieces) => of_linear(pieces),
        TensorRole::NormWeight(NormId::Layer { layer, .. })
        | TensorRole::NormBias(NormId::Layer { layer, .. }) => layer + 1,
        _ => 0,
    }
}

/// Values of a sample's gradient that exist at the same time: all of an adapter's tensors, else, of those
/// that `formed` accepts, the tensors of no layer and those of the widest one.
pub fn gradient_width(
    decoder: &Decoder,
    tracked: &[usize],
    tensors: &[TensorSpec],
    formed: impl Fn(usize) -> bool,
) -> usize {
    if tracked.is_empty() {
        return total_len(tensors);
    }
    let widths = GradLayout::new(decoder, tracked, formed).widths;
    widths.first().copied().unwrap_or(0) + widths.iter().skip(1).max().copied().unwrap_or(0)
}
