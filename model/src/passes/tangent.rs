//! The tangent pass: how hidden states and logits move along a direction of the weights, and the product of
//! the Gauss-Newton matrix with it.
//!
//! Each operation has the tangent of its outputs from those of its inputs, over what the forward pass saved.
//! Elementwise functions and norms without their weights have symmetric Jacobians: their backward is their
//! tangent.

use std::collections::BTreeMap;

use super::forward::{Forward, LastRows, RowPlans};
use super::layer::{QueryRows, SavedLayer, SavedNorm};
use super::model::{Layer, Model};
use crate::architectures::{LinearId, LinearKind, Mlp, NormPlace, Residual};
use crate::backend::{
    Attention, Backend, BackendError, ColumnMap, LinearWeights, NormFactors, NormWeights, check,
};

/// A direction in the space of weights: how the weight and the bias of linear maps move. All else stands
/// still.
pub struct Direction<B: Backend> {
    maps: BTreeMap<LinearId, B::Linear>,
}

impl<B: Backend> Direction<B> {
    /// Of these maps, each in the sizes of the model's.
    ///
    /// # Errors
    /// Weights that the backend cannot take.
    pub fn new(
        backend: &B,
        maps: impl IntoIterator<Item = (LinearId, LinearWeights)>,
    ) -> Result<Direction<B>, BackendError> {
        let packed = maps.into_iter().map(|(id, weights)| Ok((id, backend.pack(weights)?)));
        Ok(Direction { maps: packed.collect::<Result<_, BackendError>>()? })
    }

    /// The lowest layer that moves.
    fn lowest(&self) -> Option<usize> {
        let layers = self.maps.keys().filter_map(|id| match id {
            LinearId::Layer { layer, .. } => Some(*layer),
            LinearId::Head => None,
        });
        layers.min()
    }
}

/// How the head and its inputs move.
pub(super) struct HeadTangent<'a, B: Backend> {
    /// Tangent of its inputs at the scored rows.
    pub hidden: B::Tensor,
    along: Option<&'a B::Linear>,
}

/// A layer and how its maps move.
struct LayerTangent<'a, B: Backend> {
    model: &'a Model<B>,
    layer: &'a Layer<B>,
    index: usize,
    along: &'a Direction<B>,
}

impl<B: Backend> LayerTangent<'_, B> {
    /// The tangent of a map's outputs, of whose inputs `dx` is the tangent: `W dx + dW x + db`.
    fn map(&self, kind: LinearKind, x: &B::Tensor, dx: &B::Tensor) -> Result<B::Tensor, BackendError> {
        let b = &self.model.backend;
        let through = self.layer.map(kind)?.tangent(b, dx)?;
        match self.along.maps.get(&LinearId::Layer { layer: self.index, kind }) {
            Some(moved) => b.linear(moved, x, Some(&through)),
            None => Ok(through),
        }
    }

    /// Through a norm of the layer, if it has it.
    fn norm(
        &self,
        place: NormPlace,
        kept: &Option<SavedNorm<B>>,
        dx: B::Tensor,
    ) -> Result<B::Tensor, BackendError> {
        match (kept, self.layer.norms.get(&place)) {
            (Some(SavedNorm { x, stats }), Some(weights)) => {
                self.model.norm_tangent(weights, [x, stats], &dx)
            }
            _ => Ok(dx),
        }
    }

    /// The tangent of the layer's outputs at its query rows, of that of its inputs at all rows.
    fn outputs(
        &self,
        saved: &SavedLayer<B>,
        dx: B::Tensor,
        all: &RowPlans<B>,
        query: &QueryRows<'_, B>,
    ) -> Result<B::Tensor, BackendError> {
        let (b, SavedLayer { keys, tail }) = (&self.model.backend, saved);
        let dinputs = self.norm(NormPlace::BeforeAttention, &keys.before, dx.clone())?;
        let dk = self.map(LinearKind::K, &keys.inputs, &dinputs)?;
        let dk = self.norm(NormPlace::Key, &keys.key_norm, dk)?;
        let dk = self.model.turn(dk, all.angles.as_ref(), false)?;
        let dv = self.map(LinearKind::V, &keys.inputs, &dinputs)?;
        let (dx, dinputs) = match query.subset {
            Some(rows) => (b.gather(&dx, rows)?, b.gather(&dinputs, rows)?),
            None => (dx, dinputs),
        };
        let dq = self.map(LinearKind::Q, &tail.inputs, &dinputs)?;
        let dq = self.norm(NormPlace::Query, &tail.query_norm, dq)?;
        let dq = self.model.turn(dq, query.angles, false)?;
        let (form, plan) = (self.layer.attention, query.plan);
        let of = Attention { q: &tail.q, k: &keys.k, v: &keys.v, form, plan, dropout: None };
        let attended = b.attention_tangent(&of, [&dq, &dk, &dv], &tail.log_sum)?;
        let branch = self.map(LinearKind::O, &tail.attention, &attended)?;
        let branch = self.norm(NormPlace::AfterAttention, &tail.after_attention, branch)?;
        let dx2 = b.add(branch, &dx)?;
        let source = match self.model.decoder.residual {
            Residual::Sequential => dx2.clone(),
            Residual::Parallel => dx,
        };
        b.add(self.mlp(saved, source)?, &dx2)
    }

    /// What the MLP adds to the residual stream.
    fn mlp(&self, saved: &SavedLayer<B>, dx: B::Tensor) -> Result<B::Tensor, BackendError> {
        let (b, mlp) = (&self.model.backend, &saved.tail.mlp);
        let dinputs = self.norm(NormPlace::BeforeMlp, &mlp.before, dx)?;
        let dup = self.map(LinearKind::Up, &mlp.inputs, &dinputs)?;
        let dproduct = match (self.model.decoder.mlp, &mlp.gate) {
            (Mlp::Gated(act), Some(gate)) => {
                let dgate = self.map(LinearKind::Gate, &mlp.inputs, &dinputs)?;
                let [through_gate, _] = b.gated_backward(act, &dgate, gate, &mlp.up)?;
                let [_, through_up] = b.gated_backward(act, &dup, gate, &mlp.up)?;
                b.add(through_gate, &through_up)?
            }
            (Mlp::Gated(act) | Mlp::Plain(act), _) => b.activate_backward(act, dup, &mlp.up)?,
        };
        let branch = self.map(LinearKind::Down, &mlp.product, &dproduct)?;
        self.norm(NormPlace::AfterMlp, &mlp.after, branch)
    }
}

impl<B: Backend> Model<B> {
    /// The tangent of the logits of the scored rows, row-major on the host; for tests and short prompts.
    ///
    /// # Errors
    /// A direction that moves layers that the forward pass did not keep.
    pub fn logits_tangent(
        &self,
        forward: &Forward<B>,
        along: &Direction<B>,
    ) -> Result<Vec<f32>, BackendError> {
        let (hidden, moved) = (self.scored_hidden(forward)?, self.moved_head(forward, along)?);
        let mut tangent = self.backend.to_host(&self.moved_logits(&moved, &hidden, &moved.hidden)?)?;
        if let Some(cap) = self.decoder.logit_softcap {
            let capped = self.logits(&hidden)?;
            tangent.iter_mut().zip(capped).for_each(|(t, z)| *t *= 1.0 - (z / cap) * (z / cap));
        }
        Ok(tangent)
    }

    /// The tangent of logits before a cap, of head inputs `x` with the tangent `dx`.
    pub(super) fn moved_logits(
        &self,
        moved: &HeadTangent<'_, B>,
        x: &B::Tensor,
        dx: &B::Tensor,
    ) -> Result<B::Tensor, BackendError> {
        let through = self.backend.linear_tangent(&self.head, dx, None)?;
        match moved.along {
            Some(along) => self.backend.linear(along, x, Some(&through)),
            None => Ok(through),
        }
    }

    pub(super) fn moved_head<'a>(
        &self,
        forward: &Forward<B>,
        along: &'a Direction<B>,
    ) -> Result<HeadTangent<'a, B>, BackendError> {
        let hidden = self.tangent(forward, along)?;
        let hidden = match forward.last_rows {
            LastRows::Scored => hidden,
            LastRows::All => self.backend.gather(&hidden, &forward.layout.scored_rows)?,
        };
        Ok(HeadTangent { hidden, along: along.maps.get(&LinearId::Head) })
    }

    /// The tangent of the final norm's outputs, at the rows that the forward pass has of them.
    fn tangent(&self, forward: &Forward<B>, along: &Direction<B>) -> Result<B::Tensor, BackendError> {
        let (b, layout) = (&self.backend, &forward.layout);
        check(layout.dropout.is_none(), || "a pass with dropout has no tangent".to_owned())?;
        let (count, width) = (self.layers.len(), self.decoder.hidden_size);
        let lowest = along.lowest().unwrap_or(count);
        check(
            lowest >= forward.first_kept.min(count)
                && forward.first_kept.min(count) + forward.kept.len() == count,
            || "the forward pass did not keep the layers that move".to_owned(),
        )?;
        let rows = RowPlans::new(self, layout, forward.last_rows == LastRows::Scored)?;
        let at = if lowest < count { layout.rows() } else { b.size(&forward.x).0 };
        let mut dx = b.tensor(vec![0.0; at * width], at, width)?;
        for (index, layer) in self.layers.iter().enumerate().skip(lowest) {
            let query = rows.of_layer((index, index + 1 == count), layout);
            let kept = forward.kept[index - forward.first_kept].clone();
            let saved = self.saved(index, kept, &rows, &query)?;
            dx = LayerTangent { model: self, layer, index, along }.outputs(&saved, dx, &rows, &query)?;
        }
        self.norm_tangent(&self.norm, [&forward.x, &forward.stats], &dx)
    }

    /// Through a norm of inputs `x`: without its weight the Jacobian is symmetric.
    fn norm_tangent(
        &self,
        weights: &NormWeights<B::Tensor>,
        [x, stats]: [&B::Tensor; 2],
        dx: &B::Tensor,
    ) -> Result<B::Tensor, BackendError> {
        let b = &self.backend;
        let (width, cols) = (b.size(&weights.weight).1, b.size(x).1);
        let ones = NormWeights { weight: b.tensor(vec![1.0; width], 1, width)?, bias: None };
        let factors = NormFactors { grad: dx, x, stats, form: self.norm_form() };
        let moved = b.norm_backward(&factors, &ones, None)?;
        let weight = b.to_host(&weights.weight)?;
        let scaled = (0..cols as u32).zip(weight.into_iter().cycle());
        let entries = scaled.map(|(at, weight)| (at, at, weight)).collect();
        b.map_columns(&moved, &ColumnMap { input: cols, out: cols, entries, constant: None })
    }
}
