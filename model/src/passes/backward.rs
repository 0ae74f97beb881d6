//! The backward pass: from the losses down to the lowest slot whose weight gradients are wanted.

use std::ops::Range;
use std::sync::Arc;

use super::depth::{BackwardDepth, lowest_wanted, wanted_depth};
use super::dropout::{DropoutSite, dropped};
use super::forward::{Forward, LastRows, LayerActivations, RowPlans};
use super::head::HeadLoss;
use super::layer::{QueryRows, SavedLayer};
use super::layout::Layout;
use super::model::Model;
use super::perturbed::StartingPoint;
use super::sink::{Sink, Slot, TableFactors};
use super::tangent::Direction;
use crate::architectures::NormId;
use crate::backend::{Backend, BackendError, HeadOutput, NormFactors, Objective};

impl<B: Backend> Model<B> {
    /// The lowest layer that must be kept for the sink.
    pub fn lowest_wanted(&self, sink: &dyn Sink<B>) -> Option<usize> {
        lowest_wanted(sink, self.layers.len())
    }

    /// Loss of each scored row, in the order of `layout.scored_rows`.
    pub fn losses(
        &self,
        forward: &Forward<B>,
        objective: Objective<'_, B::Tensor>,
    ) -> Result<Vec<f32>, BackendError> {
        Ok(self.scores(forward, objective, false)?.losses)
    }

    /// Losses as [`Model::losses`], and the entropy of each row's distribution in nats, of the same logits.
    pub fn losses_and_entropies(
        &self,
        forward: &Forward<B>,
        objective: Objective<'_, B::Tensor>,
    ) -> Result<(Vec<f32>, Vec<f32>), BackendError> {
        let HeadOutput { losses, entropies, .. } = self.scores(forward, objective, true)?;
        Ok((losses, entropies))
    }

    fn scores(
        &self,
        forward: &Forward<B>,
        objective: Objective<'_, B::Tensor>,
        entropies: bool,
    ) -> Result<HeadOutput<B::Tensor>, BackendError> {
        let hidden = self.scored_hidden(forward)?;
        let task = self.task(&forward.layout, None, objective, entropies);
        self.backend.head(&self.head, &hidden, &task, None)
    }

    /// Losses as [`Model::losses`], and the factors of every wanted slot to the sink. The forward pass must
    /// have kept the layers from the lowest wanted one on, and the batch must have a scored row.
    pub fn backward(
        &self,
        forward: Forward<B>,
        objective: Objective<'_, B::Tensor>,
        sink: &mut dyn Sink<B>,
    ) -> Result<Vec<f32>, BackendError> {
        self.backward_of(forward, &HeadLoss::Of(objective), sink)
    }

    /// Perturbed loss of each scored row, in the order of `layout.scored_rows`.
    ///
    /// # Errors
    /// Hidden states or factors of other rows than the batch has.
    pub fn perturbed_losses(
        &self,
        forward: &Forward<B>,
        from: &StartingPoint<'_, B>,
    ) -> Result<Vec<f32>, BackendError> {
        let hidden = self.scored_hidden(forward)?;
        from.check(forward)?;
        let loss = HeadLoss::Perturbed(from);
        let output = self.head_by_pieces(&forward.layout, &hidden, &loss, (None, false), None)?;
        Ok(output.losses)
    }

    /// Losses as [`Model::perturbed_losses`], and the factors of every wanted slot to the sink, as
    /// [`Model::backward`] does.
    ///
    /// # Errors
    /// As both.
    pub fn backward_perturbed(
        &self,
        forward: Forward<B>,
        from: &StartingPoint<'_, B>,
        sink: &mut dyn Sink<B>,
    ) -> Result<Vec<f32>, BackendError> {
        from.check(&forward)?;
        self.backward_of(forward, &HeadLoss::Perturbed(from), sink)
    }

    /// The product of a batch's Gauss-Newton matrix with a direction: its factors go to the sink, as those of
    /// a gradient do in [`Model::backward`]. The matrix is `sum_t w_t J_t' (diag p_t - p_t p_t') J_t` over
    /// scored rows t with their weights, where J_t is the Jacobian of the row's logits and p_t their softmax:
    /// that is also the Fisher matrix of the cross-entropy. Returns half the quadratic form of each row,
    /// without weights.
    ///
    /// # Errors
    /// As [`Model::backward`], and a direction that moves layers that the forward pass did not keep.
    pub fn gauss_newton(
        &self,
        forward: Forward<B>,
        along: &Direction<B>,
        sink: &mut dyn Sink<B>,
    ) -> Result<Vec<f32>, BackendError> {
        let moved = self.moved_head(&forward, along)?;
        self.backward_of(forward, &HeadLoss::Along(&moved), sink)
    }

    fn backward_of(
        &self,
        mut forward: Forward<B>,
        loss: &HeadLoss<'_, B>,
        sink: &mut dyn Sink<B>,
    ) -> Result<Vec<f32>, BackendError> {
        let b = &self.backend;
        let hidden = self.scored_hidden(&forward)?;
        let HeadOutput { losses, grad, .. } = self.head_backward(&forward.layout, &hidden, loss, sink)?;
        let lowest = self.lowest_wanted(sink);
        let wants_norm = sink.wants(Slot::Norm(NormId::Final));
        let Some(grad) = grad.filter(|_| lowest.is_some() || wants_norm) else {
            sink.finished(b, None)?;
            return Ok(losses);
        };
        // At unscored rows the gradient of the last layer's outputs is zero, so only scored rows go on,
        // unless the sink wants all of them.
        let layout = &forward.layout;
        let (x, stats) = match forward.last_rows {
            LastRows::Scored => (forward.x.clone(), forward.stats.clone()),
            LastRows::All => {
                (b.gather(&forward.x, &layout.scored_rows)?, b.gather(&forward.stats, &layout.scored_rows)?)
            }
        };
        let factors = NormFactors { grad: &grad, x: &x, stats: &stats, form: self.norm_form() };
        if wants_norm {
            sink.norm(b, NormId::Final, &factors, &layout.scored_spans)?;
        }
        let Some(lowest) = lowest else {
            sink.finished(b, None)?;
            return Ok(losses);
        };
        if lowest < forward.first_kept {
            return Err(BackendError::new("the forward pass did not keep the layers to differentiate"));
        }
        if sink.every_row() && forward.last_rows == LastRows::Scored {
            return Err(BackendError::new("the forward pass left out rows of the last layer"));
        }
        let dx = b.norm_backward(&factors, &self.norm, None)?;
        drop((grad, x, stats, hidden));
        self.layers_backward(&mut forward, lowest, dx, sink)?;
        sink.finished(b, None)?;
        Ok(losses)
    }

    fn layers_backward(
        &self,
        forward: &mut Forward<B>,
        lowest: usize,
        mut dx: B::Tensor,
        sink: &mut dyn Sink<B>,
    ) -> Result<(), BackendError> {
        let b = &self.backend;
        let layout = &forward.layout;
        let narrow = !sink.every_row();
        if !narrow {
            let (rows, width) = (layout.rows(), self.decoder.hidden_size);
            dx = b.scatter_add(b.tensor(vec![0.0; rows * width], rows, width)?, &layout.scored_rows, &dx)?;
        }
        let rows = RowPlans::new(self, layout, narrow)?;
        for index in (lowest..self.layers.len()).rev() {
            let last = index + 1 == self.layers.len();
            let query = rows.of_layer((index, last), layout);
            let kept = forward.kept.pop().ok_or_else(|| BackendError::new("a layer was not kept"))?;
            let saved = self.saved(index, kept, &rows, &query)?;
            // A full last layer was kept by a pass that also made embeddings.
            let fewer = match last && narrow && b.size(&saved.tail.q).0 != layout.scored_rows.len() {
                true => Some(saved.tail.gather(b, &layout.scored_rows)?),
                false => None,
            };
            let saved_at = (&saved.keys, fewer.as_ref().unwrap_or(&saved.tail));
            let below = index > lowest || wants_tables(sink);
            let depth = if below { Some(BackwardDepth::Inputs) } else { wanted_depth(sink, index) };
            let Some(depth) = depth else { return Ok(()) };
            let spans = if last && narrow { &layout.scored_spans } else { &layout.spans };
            let next =
                self.layer_backward(index, saved_at, dx, &rows, &query, (spans, &layout.spans), depth, sink)?;
            sink.finished(b, Some(index))?;
            match next {
                Some(next) => dx = next,
                None => return Ok(()),
            }
        }
        self.tables_backward(layout, &dx, sink)
    }

    /// What a layer saved, which it computes again where its inputs alone were kept.
    pub(super) fn saved(
        &self,
        index: usize,
        kept: LayerActivations<B>,
        rows: &RowPlans<B>,
        query: &QueryRows<'_, B>,
    ) -> Result<Arc<SavedLayer<B>>, BackendError> {
        match kept {
            LayerActivations::All(saved) => Ok(saved),
            LayerActivations::Inputs(x) => {
                Ok(Arc::new(self.layer_forward(index, &x, rows.angles.as_ref(), query)?.1))
            }
        }
    }

    fn tables_backward(
        &self,
        layout: &Layout,
        dx: &B::Tensor,
        sink: &mut dyn Sink<B>,
    ) -> Result<(), BackendError> {
        let dropout = layout.dropout.as_ref().map(|dropout| dropout.of(&dropout.keys, 0));
        let dx = &dropped(&self.backend, dropout, DropoutSite::Embedding, dx.clone())?;
        if sink.wants(Slot::Embedding) {
            let (slot, scale) = (Slot::Embedding, self.decoder.embedding_scale);
            match TrainedPositions::of(layout, self.decoder.padding_row) {
                None => {
                    let (ids, spans) = (&layout.ids, &layout.spans);
                    sink.table(&self.backend, &TableFactors { slot, ids, grad: dx, scale, spans })?;
                }
                Some(trained) if trained.rows.is_empty() => {}
                Some(TrainedPositions { rows, ids, spans }) => {
                    let (ids, grad, spans) = (&ids, &self.backend.gather(dx, &rows)?, &spans);
                    sink.table(&self.backend, &TableFactors { slot, ids, grad, scale, spans })?;
                }
            }
        }
        if sink.wants(Slot::Positions) {
            let (slot, ids, spans) = (Slot::Positions, &layout.positions, &layout.spans);
            sink.table(&self.backend, &TableFactors { slot, ids, grad: dx, scale: 1.0, spans })?;
        }
        Ok(())
    }
}

/// The positions of a batch whose rows of the embedding are trained, and the tokens there.
#[derive(Debug, PartialEq, Eq)]
struct TrainedPositions {
    rows: Vec<u32>,
    ids: Vec<u32>,
    /// Those of each sample.
    spans: Vec<Range<usize>>,
}

impl TrainedPositions {
    /// `None` where those are all.
    fn of(layout: &Layout, padding_row: Option<u32>) -> Option<Self> {
        let padding = padding_row.filter(|id| layout.ids.contains(id))?;
        let mut trained = Self { rows: Vec::new(), ids: Vec::new(), spans: Vec::new() };
        for span in &layout.spans {
            let start = trained.rows.len();
            for row in span.clone().filter(|row| layout.ids[*row] != padding) {
                trained.rows.push(row as u32);
                trained.ids.push(layout.ids[row]);
            }
            trained.spans.push(start..trained.rows.len());
        }
        Some(trained)
    }
}

fn wants_tables<B: Backend>(sink: &dyn Sink<B>) -> bool {
    sink.wants(Slot::Embedding) || sink.wants(Slot::Positions)
}
