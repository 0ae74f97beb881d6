//! The head in the passes: losses of the scored rows, and the gradient of their hidden states.

use std::ops::Range;

use super::forward::{Forward, LastRows};
use super::layout::Layout;
use super::model::Model;
use super::perturbed::StartingPoint;
use super::sink::{LinearFactors, Sink, Slot};
use super::tangent::HeadTangent;
use crate::architectures::LinearId;
use crate::backend::{Backend, BackendError, HEAD_ROWS, HeadOutput, HeadTap, HeadTask, Objective};

pub(super) enum HeadLoss<'a, B: Backend> {
    /// Those of an objective.
    Of(Objective<'a, B::Tensor>),
    /// Perturbed ones.
    Perturbed(&'a StartingPoint<'a, B>),
    /// The curvature along a direction of the weights.
    Along(&'a HeadTangent<'a, B>),
}

impl<B: Backend> Model<B> {
    pub(super) fn scored_hidden(&self, forward: &Forward<B>) -> Result<B::Tensor, BackendError> {
        match forward.last_rows {
            LastRows::Scored => Ok(forward.hidden.clone()),
            LastRows::All => self.backend.gather(&forward.hidden, &forward.layout.scored_rows),
        }
    }

    pub(super) fn task<'a>(
        &self,
        layout: &'a Layout,
        weights: Option<&'a [f32]>,
        objective: Objective<'a, B::Tensor>,
        entropies: bool,
    ) -> HeadTask<'a, B::Tensor> {
        let softcap = self.decoder.logit_softcap;
        HeadTask { targets: &layout.targets, weights, softcap, objective, entropies }
    }

    pub(super) fn head_backward(
        &self,
        layout: &Layout,
        hidden: &B::Tensor,
        loss: &HeadLoss<'_, B>,
        sink: &mut dyn Sink<B>,
    ) -> Result<HeadOutput<B::Tensor>, BackendError> {
        let (weights, entropies) = (Some(&layout.weights[..]), sink.entropies().is_some());
        let mut output = match (loss, sink.wants(Slot::Linear(LinearId::Head))) {
            (HeadLoss::Of(objective), false) => {
                let task = self.task(layout, weights, *objective, entropies);
                self.backend.head(&self.head, hidden, &task, None)?
            }
            (loss, true) => {
                self.head_by_pieces(layout, hidden, loss, (weights, entropies), Some(&mut *sink))?
            }
            (loss, false) => self.head_by_pieces(layout, hidden, loss, (weights, entropies), None)?,
        };
        if let Some(to) = sink.entropies() {
            *to = std::mem::take(&mut output.entropies);
        }
        Ok(output)
    }

    /// The head over pieces of the batch, with entropies if they are wanted; a sink gets the factors of the
    /// head's own gradient.
    pub(super) fn head_by_pieces(
        &self,
        layout: &Layout,
        hidden: &B::Tensor,
        loss: &HeadLoss<'_, B>,
        (weights, wants_entropies): (Option<&[f32]>, bool),
        mut sink: Option<&mut dyn Sink<B>>,
    ) -> Result<HeadOutput<B::Tensor>, BackendError> {
        let b = &self.backend;
        let (rows, width) = b.size(hidden);
        let (mut losses, mut entropies) = (Vec::with_capacity(rows), Vec::new());
        let mut grad = match weights {
            Some(_) => Some(b.tensor(vec![0.0; rows * width], rows, width)?),
            None => None,
        };
        for piece in head_pieces(&layout.scored_spans) {
            let rows: Vec<u32> = piece.clone().map(|row| row as u32).collect();
            let x = b.gather(hidden, &rows)?;
            let other;
            let objective = match loss {
                HeadLoss::Of(objective @ (Objective::CrossEntropy { .. } | Objective::Margin)) => *objective,
                HeadLoss::Of(Objective::Kl { reference }) => {
                    other = b.gather(reference, &rows)?;
                    Objective::Kl { reference: &other }
                }
                HeadLoss::Of(Objective::Perturbed { start, factors }) => {
                    other = b.gather(start, &rows)?;
                    Objective::Perturbed { start: &other, factors: &factors[piece.clone()] }
                }
                HeadLoss::Of(Objective::GaussNewton { tangent }) => {
                    other = b.gather(tangent, &rows)?;
                    Objective::GaussNewton { tangent: &other }
                }
                HeadLoss::Along(moved) => {
                    other = self.moved_logits(moved, &x, &b.gather(&moved.hidden, &rows)?)?;
                    Objective::GaussNewton { tangent: &other }
                }
                HeadLoss::Perturbed(from) => {
                    other = from.logits(&rows)?;
                    Objective::Perturbed { start: &other, factors: &from.factors[piece.clone()] }
                }
            };
            let has_sink = sink.is_some();
            let mut tap = |chunk: Range<usize>, x: &B::Tensor, grad: &B::Tensor| {
                let (first, end) = (piece.start + chunk.start, piece.start + chunk.end);
                let within = |row: usize| row.clamp(first, end) - first;
                let Some(sink) = &mut sink else { return Ok(()) };
                let spans = layout.scored_spans.iter().map(|span| within(span.start)..within(span.end));
                let spans = &spans.collect::<Vec<_>>();
                sink.linear(b, &LinearFactors { x, grads: &[(LinearId::Head, grad)], spans })
            };
            let tap: Option<HeadTap<'_, B::Tensor>> = if has_sink { Some(&mut tap) } else { None };
            let task = HeadTask {
                targets: &layout.targets[piece.clone()],
                weights: weights.map(|weights| &weights[piece.clone()]),
                softcap: self.decoder.logit_softcap,
                objective,
                entropies: wants_entropies,
            };
            let output = b.head(&self.head, &x, &task, tap)?;
            losses.extend(output.losses);
            entropies.extend(output.entropies);
            grad = match (grad, output.grad) {
                (Some(grad), Some(part)) => Some(b.scatter_add(grad, &rows, &part)?),
                (grad, _) => grad,
            };
        }
        Ok(HeadOutput { losses, entropies, grad })
    }
}

/// Scored rows that go through the head together when its own gradient is wanted or logits are compared with
/// others, at most [`HEAD_ROWS`].
///
/// Its gradient is summed piece by piece, so a sample is cut at the same of its rows whatever it is packed
/// with: at multiples of [`HEAD_ROWS`] from its start.
fn head_pieces(spans: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    for span in spans {
        for start in span.clone().step_by(HEAD_ROWS) {
            let end = span.end.min(start + HEAD_ROWS);
            match pieces.last_mut() {
                Some(last) if end - last.start <= HEAD_ROWS => last.end = end,
                _ => pieces.push(start..end),
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_cut_at_their_own_rows() {
        let spans = [0..100, 100..100, 100..120, 120..400, 400..410];
        assert_eq!(head_pieces(&spans), [0..120, 120..248, 248..376, 376..410]);
        assert_eq!(head_pieces(&[0..280]), [0..128, 128..256, 256..280]);
        assert!(head_pieces(&[0..0]).is_empty());
    }
}
