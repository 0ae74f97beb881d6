//! One decoder layer backward.

use std::ops::Range;

use super::depth::BackwardDepth;
use super::dropout::{DropoutSite, RowDropout, dropped, of_weights};
use super::forward::RowPlans;
use super::layer::{QueryRows, SavedKeys, SavedMlp, SavedNorm, SavedQueries};
use super::model::{Layer, Model};
use super::sink::{LinearFactors, Sink, Slot};
use crate::architectures::{LinearId, LinearKind, Mlp, NormId, NormPlace, Residual};
use crate::backend::{Attention, AttentionDropout, Backend, BackendError, NormFactors};

/// The sink as one layer sees it.
struct LayerSink<'a, B: Backend> {
    backend: &'a B,
    layer: usize,
    weights: &'a Layer<B>,
    sink: &'a mut dyn Sink<B>,
}

impl<B: Backend> LayerSink<'_, B> {
    /// Hands on the wanted maps among those that share the inputs `x`.
    fn linear(
        &mut self,
        x: &B::Tensor,
        grads: &[(LinearKind, &B::Tensor)],
        (spans, dropout): (&[Range<usize>], Option<RowDropout<'_>>),
    ) -> Result<(), BackendError> {
        let mut shared = Vec::with_capacity(grads.len());
        for (kind, grad) in grads {
            let id = LinearId::Layer { layer: self.layer, kind: *kind };
            if !self.sink.wants(Slot::Linear(id)) {
                continue;
            }
            let own = match self.weights.maps.get(kind) {
                Some(map) => map.dropped_inputs(self.backend, x, dropout)?,
                None => None,
            };
            match own {
                Some(x) => {
                    let grads = &[(id, *grad)];
                    self.sink.linear(self.backend, &LinearFactors { x: &x, grads, spans })?;
                }
                None => shared.push((id, *grad)),
            }
        }
        if shared.is_empty() {
            return Ok(());
        }
        self.sink.linear(self.backend, &LinearFactors { x, grads: &shared, spans })
    }
}

/// A norm's gradient on its way down.
struct NormStep<'a, B: Backend> {
    layer: &'a Layer<B>,
    place: NormPlace,
    kept: &'a Option<SavedNorm<B>>,
    spans: &'a [Range<usize>],
}

/// Gradients of attention's branch and of the residual stream.
type BranchGradients<B> = (<B as Backend>::Tensor, <B as Backend>::Tensor);

impl<B: Backend> Model<B> {
    /// `grad` through a norm: to the sink if wanted, and as the gradient of the norm's inputs, added to
    /// `acc`. Without that norm `grad` itself, added to `acc`.
    fn norm_step(
        &self,
        step: NormStep<'_, B>,
        grad: B::Tensor,
        acc: Option<B::Tensor>,
        sink: &mut LayerSink<'_, B>,
    ) -> Result<B::Tensor, BackendError> {
        let b = &self.backend;
        let (Some(kept), Some(weights)) = (step.kept, step.layer.norms.get(&step.place)) else {
            return match acc {
                Some(acc) => b.add(acc, &grad),
                None => Ok(grad),
            };
        };
        let id = NormId::Layer { layer: sink.layer, place: step.place };
        let factors = NormFactors { grad: &grad, x: &kept.x, stats: &kept.stats, form: self.norm_form() };
        if sink.sink.wants(Slot::Norm(id)) {
            sink.sink.norm(b, id, &factors, step.spans)?;
        }
        b.norm_backward(&factors, weights, acc)
    }

    /// `keys` and `tail` are what the layer saved; `dx`: gradient of its outputs at its query rows. Returns
    /// the gradient of its inputs at all rows, if `depth` asks for it. `spans` are those of the query rows
    /// and of all rows.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn layer_backward(
        &self,
        index: usize,
        (keys, tail): (&SavedKeys<B>, &SavedQueries<B>),
        dx: B::Tensor,
        all: &RowPlans<B>,
        query: &QueryRows<'_, B>,
        (spans, key_spans): (&[Range<usize>], &[Range<usize>]),
        depth: BackwardDepth,
        sink: &mut dyn Sink<B>,
    ) -> Result<Option<B::Tensor>, BackendError> {
        let (b, layer) = (&self.backend, &self.layers[index]);
        let sink = &mut LayerSink { backend: b, layer: index, weights: layer, sink };
        let [own, every] = query.dropout;
        let SavedKeys { before, inputs, key_norm, k, v } = keys;
        let step = |place, kept, spans| NormStep { layer, place, kept, spans };

        let Some((dattended, dresidual)) =
            self.mlp_backward(layer, &tail.mlp, dx, (spans, own), depth, sink)?
        else {
            return Ok(None);
        };
        let after = step(NormPlace::AfterAttention, &tail.after_attention, spans);
        let dattended = dropped(b, own, DropoutSite::Attention, dattended)?;
        let dout = self.norm_step(after, dattended, None, sink)?;
        sink.linear(&tail.attention, &[(LinearKind::O, &dout)], (spans, own))?;
        if depth <= BackwardDepth::Output {
            return Ok(None);
        }
        let grad = layer.map(LinearKind::O)?.backward_inside(b, &dout, own)?;
        drop(dout);
        let SavedQueries { q, attention, log_sum, .. } = tail;
        let weights = of_weights(own);
        let dropout = weights.as_ref().map(|(rate, keys)| AttentionDropout { rate: *rate, keys });
        let of = Attention { q, k, v, form: layer.attention, plan: query.plan, dropout };
        let [dq, dk, dv] = b.attention_backward(&of, &grad, attention, log_sum)?;
        let dq = self.turn(dq, query.angles, true)?;
        let dq = self.norm_step(step(NormPlace::Query, &tail.query_norm, spans), dq, None, sink)?;
        let dk = self.turn(dk, all.angles.as_ref(), true)?;
        let dk = self.norm_step(step(NormPlace::Key, key_norm, key_spans), dk, None, sink)?;
        let (of_q, of_k, of_v) = ((LinearKind::Q, &dq), (LinearKind::K, &dk), (LinearKind::V, &dv));
        match query.subset {
            None => sink.linear(inputs, &[of_q, of_k, of_v], (key_spans, every))?,
            Some(_) => {
                sink.linear(&tail.inputs, &[of_q], (spans, own))?;
                sink.linear(inputs, &[of_k, of_v], (key_spans, every))?;
            }
        }
        if depth <= BackwardDepth::Attention {
            return Ok(None);
        }

        let dinputs = layer.map(LinearKind::K)?.backward(b, &dk, None, every)?;
        let dinputs = layer.map(LinearKind::V)?.backward(b, &dv, Some(dinputs), every)?;
        let before = step(NormPlace::BeforeAttention, before, key_spans);
        Ok(Some(match query.subset {
            None => {
                let dinputs = layer.map(LinearKind::Q)?.backward(b, &dq, Some(dinputs), every)?;
                self.norm_step(before, dinputs, Some(dresidual), sink)?
            }
            Some(rows) => {
                let dinputs =
                    b.scatter_add(dinputs, rows, &layer.map(LinearKind::Q)?.backward(b, &dq, None, own)?)?;
                b.scatter_add(self.norm_step(before, dinputs, None, sink)?, rows, &dresidual)?
            }
        }))
    }

    /// Backward of the MLP: the gradients of attention's branch and of the residual stream at the layer's
    /// inputs, both at the query rows.
    fn mlp_backward(
        &self,
        layer: &Layer<B>,
        saved: &SavedMlp<B>,
        dx: B::Tensor,
        (spans, dropout): (&[Range<usize>], Option<RowDropout<'_>>),
        depth: BackwardDepth,
        sink: &mut LayerSink<'_, B>,
    ) -> Result<Option<BranchGradients<B>>, BackendError> {
        let b = &self.backend;
        let step = |place, kept| NormStep { layer, place, kept, spans };
        let dbranch = dropped(b, dropout, DropoutSite::Mlp, dx.clone())?;
        let ddown = self.norm_step(step(NormPlace::AfterMlp, &saved.after), dbranch, None, sink)?;
        sink.linear(&saved.product, &[(LinearKind::Down, &ddown)], (spans, dropout))?;
        if depth <= BackwardDepth::Down {
            return Ok(None);
        }
        let dproduct = layer.map(LinearKind::Down)?.backward_inside(b, &ddown, dropout)?;
        // `ddown` may share `dx`'s memory. It is dropped here so that the sum below can reuse that memory.
        drop(ddown);
        let dmlp = match (self.decoder.mlp, &saved.gate) {
            (Mlp::Gated(act), Some(gate)) => {
                let [dgate, dup] = b.gated_backward(act, &dproduct, gate, &saved.up)?;
                sink.linear(
                    &saved.inputs,
                    &[(LinearKind::Gate, &dgate), (LinearKind::Up, &dup)],
                    (spans, dropout),
                )?;
                if depth <= BackwardDepth::GateUp {
                    return Ok(None);
                }
                let dmlp = layer.map(LinearKind::Gate)?.backward(b, &dgate, None, dropout)?;
                layer.map(LinearKind::Up)?.backward(b, &dup, Some(dmlp), dropout)?
            }
            (Mlp::Gated(act) | Mlp::Plain(act), _) => {
                let dup = b.activate_backward(act, dproduct, &saved.up)?;
                sink.linear(&saved.inputs, &[(LinearKind::Up, &dup)], (spans, dropout))?;
                if depth <= BackwardDepth::GateUp {
                    return Ok(None);
                }
                layer.map(LinearKind::Up)?.backward(b, &dup, None, dropout)?
            }
        };
        let before = step(NormPlace::BeforeMlp, &saved.before);
        Ok(Some(match self.decoder.residual {
            Residual::Sequential => {
                let dx2 = self.norm_step(before, dmlp, Some(dx), sink)?;
                (dx2.clone(), dx2)
            }
            Residual::Parallel => {
                let through_mlp = self.norm_step(before, dmlp, None, sink)?;
                let dresidual = b.add(through_mlp, &dx)?;
                (dx, dresidual)
            }
        }))
    }
}
