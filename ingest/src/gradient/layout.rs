//! Where the gradient of each tracked tensor is formed.
//!
//! Tensors are formed group by group: those of one decoder layer, and those that belong to none. Only the buffers of one group of layers
//! exist at a time, so memory does not grow with the depth of the model.

use std::collections::BTreeMap;

use gstore_model::Slot;
use gstore_model::architectures::{Decoder, NormId, Param, Piece, Role};
use gstore_model::params::{TensorSpec, total_len};

/// A tensor within the buffer of its group.
#[derive(Debug, Clone)]
pub struct Place {
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
    pub rows: Vec<usize>,
    pub width: usize,
}

impl RowOrder {
    /// None if the pieces are in order already.
    pub fn of(pieces: &[Piece], width: usize) -> Option<RowOrder> {
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
pub(super) struct Target {
    /// The group: 0 for tensors of no layer, else the layer plus one.
    pub group: usize,
    /// Start of the weight's part.
    pub weight: Option<usize>,
    /// Start of the bias's part.
    pub bias: Option<usize>,
}

/// The tracked tensors of a decoder, by group and by slot.
#[derive(Debug, Clone, Default)]
pub(super) struct GradLayout {
    /// For each group its tensors.
    pub groups: Vec<Vec<Place>>,
    /// Length of a sample's buffer in each group.
    pub widths: Vec<usize>,
    /// Where each slot's factors go.
    pub targets: BTreeMap<Slot, Target>,
}

impl GradLayout {
    /// `tracked`: indices into `decoder.params`; tensors are numbered in that order, and only those that `formed` accepts are formed.
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

    fn add(&mut self, decoder: &Decoder, tensor: usize, param: &Param) {
        let group = group_of(&param.role);
        let offset = self.widths[group];
        let len: usize = param.shape.iter().product();
        self.widths[group] += len;
        let order = match &param.role {
            Role::Weight(pieces) => RowOrder::of(pieces, param.shape[1]),
            Role::Bias(pieces) => RowOrder::of(pieces, 1),
            _ => None,
        };
        self.groups[group].push(Place { tensor, offset, len, order });
        let mut target = |slot, weight: Option<usize>, bias: Option<usize>| {
            let target = self.targets.entry(slot).or_insert(Target { group, ..Target::default() });
            target.weight = target.weight.or(weight);
            target.bias = target.bias.or(bias);
        };
        match &param.role {
            Role::Embedding => {
                target(Slot::Embedding, Some(offset), None);
                if decoder.tied {
                    target(Slot::Linear(gstore_model::architectures::LinearId::Head), Some(offset), None);
                }
            }
            Role::Positions => target(Slot::Positions, Some(offset), None),
            Role::Weight(pieces) => each_piece(pieces, offset, param.shape[1], |slot, at| {
                target(slot, Some(at), None);
            }),
            Role::Bias(pieces) => each_piece(pieces, offset, 1, |slot, at| target(slot, None, Some(at))),
            Role::NormWeight(id) => target(Slot::Norm(*id), Some(offset), None),
            Role::NormBias(id) => target(Slot::Norm(*id), None, Some(offset)),
        }
    }
}

/// Pieces follow each other in the order in which they are listed.
fn each_piece(pieces: &[Piece], offset: usize, width: usize, mut f: impl FnMut(Slot, usize)) {
    let mut at = offset;
    for piece in pieces {
        f(Slot::Linear(piece.linear), at);
        at += piece.rows.len() * width;
    }
}

/// The group of a tensor: 0 without a layer, else the layer plus one.
pub(super) fn group_of(role: &Role) -> usize {
    use gstore_model::architectures::LinearId;
    let of_linear = |pieces: &[Piece]| match pieces.first().map(|p| p.linear) {
        Some(LinearId::Layer { layer, .. }) => layer + 1,
        _ => 0,
    };
    match role {
        Role::Weight(pieces) | Role::Bias(pieces) => of_linear(pieces),
        Role::NormWeight(NormId::Layer { layer, .. }) | Role::NormBias(NormId::Layer { layer, .. }) => {
            layer + 1
        }
        _ => 0,
    }
}

/// Values of a sample's gradient that exist at the same time: all of an adapter's tensors, else, of those that `formed` accepts, the
/// tensors of no layer and those of the widest one.
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
