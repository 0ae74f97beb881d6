//! The backward pass: from the losses down to the lowest layer whose weight gradients are wanted.

use std::ops::Range;

use super::backend::{AttentionPlan, Backend, BackendError, HeadOutput};
use super::forward::{Forward, LastRows, Saved};
use super::llama::{Layer, Llama};
use super::sink::Sink;
use crate::checkpoint::{LinearId, LinearKind};

/// How far down a layer has to be differentiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    /// Down projection's factors only.
    Down,
    /// To the gate and up projections' factors.
    GateUp,
    /// To the output projection's factors.
    Output,
    /// To the factors of q, k and v.
    Attention,
    /// To the layer's inputs, for the layer below.
    Inputs,
}

/// The query rows of a layer: their own row numbers if they are a subset, and the samples they belong to.
struct QueryRows<'a> {
    subset: Option<&'a [u32]>,
    plan: AttentionPlan,
    spans: &'a [Range<usize>],
}

impl<B: Backend> Llama<B> {
    /// The lowest layer with factors that the sink wants.
    pub fn lowest_wanted(&self, sink: &dyn Sink<B>) -> Option<usize> {
        (0..self.layers.len()).find(|layer| wanted_depth(sink, *layer).is_some())
    }

    /// Cross-entropy of each scored row, in the order of `layout.scored_rows`.
    pub fn losses(&self, forward: &Forward<B>) -> Result<Vec<f32>, BackendError> {
        let hidden = self.scored_hidden(forward)?;
        Ok(self.backend.head(&self.head, &hidden, &forward.layout.targets, None, None)?.losses)
    }

    /// Losses as [`Llama::losses`], and the factors of every wanted layer to the sink. The forward pass must have kept the layers from
    /// the lowest wanted one on, and the batch must have a scored row.
    pub fn backward(
        &self,
        mut forward: Forward<B>,
        sink: &mut dyn Sink<B>,
    ) -> Result<Vec<f32>, BackendError> {
        let b = &self.backend;
        let hidden = self.scored_hidden(&forward)?;
        let HeadOutput { losses, grad } = self.head_backward(&forward, &hidden, sink)?;
        let (Some(grad), Some(lowest)) = (grad, self.lowest_wanted(sink)) else { return Ok(losses) };
        if lowest < forward.first_saved {
            return Err(BackendError("the forward pass did not keep the layers to differentiate".into()));
        }
        let layout = &forward.layout;
        // At unscored rows the gradient of the last layer's outputs is zero, so only scored rows go on.
        let (x, r) = match forward.last_rows {
            LastRows::Scored => (forward.x.clone(), forward.r.clone()),
            LastRows::All => {
                (b.gather(&forward.x, &layout.scored_rows)?, b.gather(&forward.r, &layout.scored_rows)?)
            }
        };
        let mut dx = b.rms_norm_backward(&grad, &x, &r, &self.norm, None)?;
        for index in (lowest..self.layers.len()).rev() {
            let Some(mut saved) = forward.saved.pop() else { break };
            let rows = if index + 1 == self.layers.len() {
                if forward.last_rows == LastRows::All {
                    saved.tail = saved.tail.gather(b, &layout.scored_rows)?;
                }
                QueryRows {
                    subset: Some(&layout.scored_rows),
                    plan: layout.scored_plan(),
                    spans: &layout.scored_spans,
                }
            } else {
                QueryRows { subset: None, plan: layout.full_plan(), spans: &layout.spans }
            };
            let depth = if index > lowest { Some(Depth::Inputs) } else { wanted_depth(sink, index) };
            let Some(depth) = depth else { break };
            let key_rows = (&layout.spans[..], &layout.positions[..]);
            match self.layer_backward(index, saved, dx, &rows, key_rows, depth, sink)? {
                Some(next) => dx = next,
                None => break,
            }
        }
        Ok(losses)
    }

    fn scored_hidden(&self, forward: &Forward<B>) -> Result<B::Tensor, BackendError> {
        match forward.last_rows {
            LastRows::Scored => Ok(forward.hidden.clone()),
            LastRows::All => self.backend.gather(&forward.hidden, &forward.layout.scored_rows),
        }
    }

    fn head_backward(
        &self,
        forward: &Forward<B>,
        hidden: &B::Tensor,
        sink: &mut dyn Sink<B>,
    ) -> Result<HeadOutput<B::Tensor>, BackendError> {
        let b = &self.backend;
        let layout = &forward.layout;
        let wants_head = sink.wants(LinearId::Head);
        let mut tap = |rows: Range<usize>, x: &B::Tensor, grad: &B::Tensor| {
            let within = |span: &Range<usize>| {
                let start = span.start.clamp(rows.start, rows.end) - rows.start;
                let end = span.end.clamp(rows.start, rows.end) - rows.start;
                start..end
            };
            let spans: Vec<_> = layout.scored_spans.iter().map(within).collect();
            sink.take(b, x, &[(LinearId::Head, grad)], &spans)
        };
        b.head(&self.head, hidden, &layout.targets, Some(&layout.weights), wants_head.then_some(&mut tap))
    }

    /// `dx`: gradient of the layer's outputs at its query rows. Returns the gradient of its inputs at all rows, if `depth` asks for it.
    #[allow(clippy::too_many_arguments)]
    fn layer_backward(
        &self,
        index: usize,
        saved: Saved<B>,
        dx: B::Tensor,
        rows: &QueryRows<'_>,
        (key_spans, key_positions): (&[Range<usize>], &[u32]),
        depth: Depth,
        sink: &mut dyn Sink<B>,
    ) -> Result<Option<B::Tensor>, BackendError> {
        let b = &self.backend;
        let Some(layer) = self.layers.get(index) else { return Ok(None) };
        let Saved { x, r1, xn1, k, v, tail } = saved;
        let id = |kind| LinearId::Layer { layer: index, kind };
        let mut give = |x: &B::Tensor, grads: &[(LinearKind, &B::Tensor)], spans: &[Range<usize>]| {
            let wanted: Vec<_> = grads
                .iter()
                .map(|(kind, grad)| (id(*kind), *grad))
                .filter(|(id, _)| sink.wants(*id))
                .collect();
            if wanted.is_empty() { Ok(()) } else { sink.take(b, x, &wanted, spans) }
        };

        give(&tail.product, &[(LinearKind::Down, &dx)], rows.spans)?;
        if depth <= Depth::Down {
            return Ok(None);
        }
        let dproduct = b.linear_backward(&layer.down, &dx, None)?;
        let [dgate, dup] = b.swiglu_backward(&dproduct, &tail.gate, &tail.up)?;
        give(&tail.xn2, &[(LinearKind::Gate, &dgate), (LinearKind::Up, &dup)], rows.spans)?;
        if depth <= Depth::GateUp {
            return Ok(None);
        }
        let dxn2 = b.linear_backward(&layer.gate, &dgate, None)?;
        let dxn2 = b.linear_backward(&layer.up, &dup, Some(dxn2))?;
        let dx2 = b.rms_norm_backward(&dxn2, &tail.x2, &tail.r2, &layer.norm2, Some(dx))?;

        give(&tail.attention, &[(LinearKind::O, &dx2)], rows.spans)?;
        if depth <= Depth::Output {
            return Ok(None);
        }
        let dattention = b.linear_backward(&layer.o, &dx2, None)?;
        let (heads, plan) = (self.heads(), &rows.plan);
        let [dq, dk, dv] =
            b.attention_backward(&dattention, &tail.q, &k, &v, &tail.attention, &tail.log_sum, heads, plan)?;
        let angles = self.angles(key_positions)?;
        let dk = b.rope(dk, &angles.cos, &angles.sin, true)?;
        let dq = match rows.subset {
            None => b.rope(dq, &angles.cos, &angles.sin, true)?,
            Some(_) => {
                let angles = self.angles(&plan.positions)?;
                b.rope(dq, &angles.cos, &angles.sin, true)?
            }
        };
        match rows.subset {
            None => {
                give(&xn1, &[(LinearKind::Q, &dq), (LinearKind::K, &dk), (LinearKind::V, &dv)], key_spans)?
            }
            Some(_) => {
                give(&tail.xn1, &[(LinearKind::Q, &dq)], rows.spans)?;
                give(&xn1, &[(LinearKind::K, &dk), (LinearKind::V, &dv)], key_spans)?;
            }
        }
        if depth <= Depth::Attention {
            return Ok(None);
        }
        self.input_grad(layer, [&dq, &dk, &dv], (&x, &r1), dx2, rows.subset).map(Some)
    }

    /// Gradient of a layer's inputs from those of q, k and v and of the residual stream.
    fn input_grad(
        &self,
        layer: &Layer<B>,
        [dq, dk, dv]: [&B::Tensor; 3],
        (x, r1): (&B::Tensor, &B::Tensor),
        dx2: B::Tensor,
        subset: Option<&[u32]>,
    ) -> Result<B::Tensor, BackendError> {
        let b = &self.backend;
        let dxn = b.linear_backward(&layer.k, dk, None)?;
        let dxn = b.linear_backward(&layer.v, dv, Some(dxn))?;
        match subset {
            None => {
                let dxn = b.linear_backward(&layer.q, dq, Some(dxn))?;
                b.rms_norm_backward(&dxn, x, r1, &layer.norm1, Some(dx2))
            }
            Some(rows) => {
                let dxn = b.scatter_add(dxn, rows, &b.linear_backward(&layer.q, dq, None)?)?;
                let dx = b.rms_norm_backward(&dxn, x, r1, &layer.norm1, None)?;
                b.scatter_add(dx, rows, &dx2)
            }
        }
    }
}

/// How far down `layer` is wanted for its own sake.
fn wanted_depth<B: Backend>(sink: &dyn Sink<B>, layer: usize) -> Option<Depth> {
    let depth_of = |kind| match kind {
        LinearKind::Q | LinearKind::K | LinearKind::V => Depth::Attention,
        LinearKind::O => Depth::Output,
        LinearKind::Gate | LinearKind::Up => Depth::GateUp,
        LinearKind::Down => Depth::Down,
    };
    let wanted =
        LinearKind::ALL.into_iter().filter(|kind| sink.wants(LinearId::Layer { layer, kind: *kind }));
    wanted.map(depth_of).max()
}
