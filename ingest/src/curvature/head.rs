//! Factors of the head, put together from the pieces of the batch in which the head is differentiated.

use std::ops::Range;

use gstore_model::{Backend, BackendError, Forward, LastRows, Model};

/// The head's inputs, and the gradients of its outputs as far as they are known.
///
/// Memory: a row of the vocabulary for each row of the batch.
pub(super) struct HeadRows<B: Backend> {
    x: B::Tensor,
    grad: Option<B::Tensor>,
    /// Which of the rows are scored, in the order of the pieces.
    scored: Vec<u32>,
    /// Scored rows that came.
    next: usize,
    spans: Vec<Range<usize>>,
}

/// Inputs, gradients of the outputs, and the rows of each sample.
pub(super) type HeadFactors<T> = (T, T, Vec<Range<usize>>);

impl<B: Backend> HeadRows<B> {
    /// At the rows that the forward pass has of the last layer.
    pub fn new(model: &Model<B>, forward: &Forward<B>) -> Result<Self, BackendError> {
        let layout = &forward.layout;
        let (scored, spans) = match forward.last_rows {
            LastRows::All => (layout.scored_rows.clone(), layout.spans.clone()),
            LastRows::Scored => ((0..layout.scored_rows.len() as u32).collect(), layout.scored_spans.clone()),
        };
        let (rows, vocab) = (model.backend().size(&forward.hidden).0, model.decoder().vocab_size);
        let grad = model.backend().tensor(vec![0.0; rows * vocab], rows, vocab)?;
        Ok(Self { x: forward.hidden.clone(), grad: Some(grad), scored, next: 0, spans })
    }

    /// Adds the gradients of the next scored rows.
    pub fn add(&mut self, backend: &B, part: &B::Tensor) -> Result<(), BackendError> {
        let end = self.next + backend.size(part).0;
        let rows = self.scored.get(self.next..end).unwrap_or_default();
        if let Some(grad) = self.grad.take() {
            self.grad = Some(backend.scatter_add(grad, rows, part)?);
        }
        self.next = end;
        Ok(())
    }

    pub fn finish(self) -> Option<HeadFactors<B::Tensor>> {
        Some((self.x, self.grad?, self.spans))
    }
}
